"""A second or so of monitoring, small enough to keep many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.snapshot import Target
from pydamon._show.frames.ages import AGE_EDGES_NS, AgeSplit
from pydamon._show.frames.spans import RateSpans, union

__all__ = ["IDLE_NS", "SUMS", "Frame", "Timing", "fold", "joined"]

IDLE_NS = 10 * 10**9
"""Memory is idle when it has not been accessed for this long."""

SUMS = ("total", "hot", "warm", "cold", "idle", "unobservable", "unseen", "touched", "heat")
"""The columns of `Frame.sums`: bytes as in `analysis.Bytes`, accessed bytes, and bytes x rate."""

Key: TypeAlias = tuple[str, int, int, str]
"""`Target.key`: the identity of a target, whatever its name is by now."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a frame is (Unix time), and how it was measured.

    Parameters
    ----------
    start_ns, end_ns
        When it begins and ends.
    snapshots
        How many aggregations it sums up.
    measured_ns
        The time of their windows together.
    sampling_ns
        The sampling interval of the last aggregation.
    cpu_ns
        CPU time that the monitor used.
    late_ticks
        Samples that could not be taken in time.

    Examples
    --------
    >>> timing = Timing(0, 10**9, 10, 10**9, 5_000_000, cpu_ns=10**7, late_ticks=0)
    >>> timing.window_ns, timing.cpu_share
    (100000000, 0.01)
    """

    start_ns: int
    end_ns: int
    snapshots: int
    measured_ns: int
    sampling_ns: int
    cpu_ns: int
    late_ticks: int

    @property
    def window_ns(self) -> int:
        """How long an aggregation really took."""
        return self.measured_ns // max(1, self.snapshots)

    @property
    def cpu_share(self) -> float:
        """The share of one CPU that the monitor used."""
        return self.cpu_ns / max(1, self.end_ns - self.start_ns)


@dataclass(frozen=True, eq=False)
class Frame:
    """What a monitor saw in a short time: means over the windows in it.

    Parameters
    ----------
    timing
        When it was, and what it cost.
    targets, names
        The targets, and the names of their mappings, that the columns index.
    spans
        The addresses, with their access rates.
    sum_target, sum_name
        Target and name of each row of `sums`.
    sums
        Bytes of all mappings of a name in a target: shape (rows, len(SUMS)).
    ages
        How long the memory of each target has been idle.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.live import frame_of
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     frame = frame_of(list(mon.run("2s")))
    >>> [pydamon.format_size(size) for size in frame.working_sets.values()]
    ['4 MiB']
    """

    timing: Timing
    targets: tuple[Target, ...]
    names: tuple[str, ...]
    spans: RateSpans
    sum_target: NDArray[np.int32]
    sum_name: NDArray[np.int32]
    sums: NDArray[np.float64]
    ages: AgeSplit

    @property
    def start_ns(self) -> int:
        """When it begins, in Unix time."""
        return self.timing.start_ns

    @property
    def end_ns(self) -> int:
        """When it ends, in Unix time."""
        return self.timing.end_ns

    @cached_property
    def working_sets(self) -> dict[Key, float]:
        """The mean bytes accessed in an aggregation, by the target's key."""
        return self._by_target("touched")

    @cached_property
    def unseen(self) -> dict[Key, float]:
        """The bytes that no probe had looked at yet, by the target's key."""
        return self._by_target("unseen")

    def _by_target(self, column: str) -> dict[Key, float]:
        sums = np.bincount(self.sum_target, self.sums[:, SUMS.index(column)], len(self.targets))
        return {t.key: float(size) for t, size in zip(self.targets, sums, strict=True)}

    def age_sizes(self, target: Target) -> NDArray[np.float64] | None:
        """The resident bytes of a target by age, as in `AgeSplit`; `None` where it is not there."""
        index = self._index(target)
        return None if index is None else self.ages.sizes[index]

    def followed_share(self, target: Target) -> float:
        """The part of a target that is followed page by page; 0 where its ages are of regions."""
        index = self._index(target)
        return 0.0 if index is None else float(self.ages.followed_share[index])

    def _index(self, target: Target) -> int | None:
        keys = [known.key for known in self.targets]
        return keys.index(target.key) if target.key in keys else None

    def spans_of(self, target: Target) -> RateSpans:
        """The spans of one target: empty where it is not in the frame."""
        index = self._index(target)
        return self.spans.of_target(len(self.targets) if index is None else index)


def joined(timings: Sequence[Timing]) -> Timing:
    """The timing of neighbouring frames together.

    Parameters
    ----------
    timings
        At least one, in the order of time.

    Returns
    -------
    Timing
        From the start of the first to the end of the last.

    Examples
    --------
    >>> second = Timing(0, 10**9, 10, 10**9, 5_000_000, 10**7, 0)
    >>> joined([second, second]).snapshots
    20
    """
    return Timing(
        timings[0].start_ns,
        timings[-1].end_ns,
        sum(timing.snapshots for timing in timings),
        sum(timing.measured_ns for timing in timings),
        timings[-1].sampling_ns,
        sum(timing.cpu_ns for timing in timings),
        sum(timing.late_ticks for timing in timings),
    )


def fold(frames: Sequence[Frame]) -> Frame:
    """One frame in place of neighbouring frames.

    Parameters
    ----------
    frames
        At least one, in the order of time.

    Returns
    -------
    Frame
        Their means, each weighted by the time that it measured.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> from pydamon.live import frame_of
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     frames = [frame_of([snapshot]) for snapshot in mon.run("2s")]
    >>> fold(frames).timing.snapshots == len(frames)
    True
    """
    targets = {target.key: target for frame in frames for target in frame.targets}
    target_index = {key: index for index, key in enumerate(targets)}
    names = tuple(sorted({name for frame in frames for name in frame.names}))
    name_index = {name: index for index, name in enumerate(names)}
    weights = [float(max(1, frame.timing.measured_ns)) for frame in frames]
    parts, keys = [], []
    for frame in frames:
        target = np.array([target_index[known.key] for known in frame.targets], np.int32)
        name = np.array([name_index[known] for known in frame.names], np.int32)
        parts.append(frame.spans.renumbered(target, name))
        keys.append(target[frame.sum_target].astype(np.int64) * len(names) + name[frame.sum_name])
    used, place = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.zeros((len(used), len(SUMS)))
    shares = np.repeat(np.array(weights) / sum(weights), [len(frame.sums) for frame in frames])
    np.add.at(sums, place, np.concatenate([frame.sums for frame in frames]) * shares[:, None])
    return Frame(
        joined([frame.timing for frame in frames]),
        tuple(targets.values()),
        names,
        union(parts, weights),
        (used // max(1, len(names))).astype(np.int32),
        (used % max(1, len(names))).astype(np.int32),
        sums,
        _folded_ages(frames, target_index, np.array(weights) / sum(weights)),
    )


def _folded_ages(
    frames: Sequence[Frame], target_index: dict[Key, int], weights: NDArray[np.float64]
) -> AgeSplit:
    """The mean split of frames; how much of a target is followed is as of the newest frame."""
    sizes = np.zeros((len(target_index), len(AGE_EDGES_NS) + 2))
    followed_share = np.zeros(len(target_index))
    for frame, weight in zip(frames, weights.tolist(), strict=True):
        rows = [target_index[target.key] for target in frame.targets]
        sizes[rows] += frame.ages.sizes * weight
        followed_share[rows] = frame.ages.followed_share
    return AgeSplit(sizes, followed_share)
