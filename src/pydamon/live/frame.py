"""A second or so of monitoring, small enough to keep many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon.core.snapshot import Target
from pydamon.live.spans import RateSpans, union

__all__ = ["IDLE_NS", "SUMS", "Frame", "Timing", "fold", "joined"]

IDLE_NS = 10 * 10**9
"""Memory that has not been accessed for so long is idle."""

SUMS = ("total", "hot", "warm", "cold", "idle", "unobservable", "unseen", "touched", "heat")
"""The columns of `Frame.sums`: bytes as in `analysis.Bytes`, those accessed, and bytes x rate."""

Key: TypeAlias = tuple[str, int, int, str]
"""What a target is, whatever it is called by now: `Target.key`."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a frame is (Unix time), and how it was measured.

    `measured_ns` is the time of its windows, one for each of its `snapshots`; the monitor used
    `cpu_ns` for them.
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
        """What the monitor used of one CPU."""
        return self.cpu_ns / max(1, self.end_ns - self.start_ns)


@dataclass(frozen=True, eq=False)
class Frame:
    """What was seen in a short time: means over the windows in there.

    `spans` index `targets` and `names`, which are those of mappings. `sums` has one row for all
    mappings of a name in a target, which `sum_target` and `sum_name` index, and the columns `SUMS`.
    """

    timing: Timing
    targets: tuple[Target, ...]
    names: tuple[str, ...]
    spans: RateSpans
    sum_target: NDArray[np.int32]
    sum_name: NDArray[np.int32]
    sums: NDArray[np.float64]

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
        """The bytes that an aggregation found accessed, by the target's key."""
        return self._by_target("touched")

    @cached_property
    def unseen(self) -> dict[Key, float]:
        """The bytes that nobody had looked at yet, by the target's key."""
        return self._by_target("unseen")

    def _by_target(self, column: str) -> dict[Key, float]:
        sums = np.bincount(self.sum_target, self.sums[:, SUMS.index(column)], len(self.targets))
        return {t.key: float(size) for t, size in zip(self.targets, sums, strict=True)}

    def spans_of(self, target: Target) -> RateSpans:
        """The spans of one target: none, if it is not in there."""
        keys = [one.key for one in self.targets]
        index = keys.index(target.key) if target.key in keys else len(keys)
        return self.spans.of_target(index)


def joined(timings: Sequence[Timing]) -> Timing:
    """The timing of several neighbours, of one at least, together."""
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
    """One frame of neighbouring ones: their means, by the time that each has measured."""
    targets = {target.key: target for frame in frames for target in frame.targets}
    numbers = {key: index for index, key in enumerate(targets)}
    names = tuple(sorted({name for frame in frames for name in frame.names}))
    codes = {name: index for index, name in enumerate(names)}
    weights = [float(max(1, frame.timing.measured_ns)) for frame in frames]
    parts, keys = [], []
    for frame in frames:
        target = np.array([numbers[one.key] for one in frame.targets], np.int32)
        name = np.array([codes[one] for one in frame.names], np.int32)
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
    )
