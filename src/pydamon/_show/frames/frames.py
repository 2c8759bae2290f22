"""A second or so of monitoring, small enough to keep many: spans of addresses with a rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target

__all__ = [
    "IDLE_NS",
    "MOST_SPANS",
    "SUMS",
    "Frame",
    "RateSpans",
    "Timing",
    "fold",
    "joined",
    "union",
]

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


MOST_SPANS = 1000
"""As many does a union have, however many it is made of, if names allow it."""

_LEVELS = (64, 16, 4, 1)
"""Rates count as alike within 1 / so many; fewer where there would be too many spans."""
_NEGLIGIBLE = 1e-9
_PAGE_BITS = 46
"""An address has at most 57 bits, of which 12 are within a page; one more for its end."""


@dataclass(frozen=True, eq=False)
class RateSpans:
    """Sorted by target and address, without overlap; one entry a span in each column.

    `target` and `name` are indices into lists that somebody else has, `start` and `end` bytes,
    `rate` is 0 to 1, and NaN where nobody had looked yet.
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    rate: NDArray[np.float32]
    name: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start)

    def of_target(self, index: int) -> RateSpans:
        """Those of one target."""
        first, beyond = np.searchsorted(self.target, (index, index + 1)).tolist()
        rows = slice(first, beyond)
        return RateSpans(
            self.target[rows], self.start[rows], self.end[rows], self.rate[rows], self.name[rows]
        )

    def renumbered(self, target: NDArray[np.int32], name: NDArray[np.int32]) -> RateSpans:
        """The same with other indices: i becomes target[i], and name[i]. Their order is lost."""
        return replace(self, target=target[self.target], name=name[self.name])

    def blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end of what the spans, which are of one target, fill without a gap."""
        if not len(self):
            return self.start, self.end
        apart = self.start[1:] != self.end[:-1]
        return self.start[np.append(True, apart)], self.end[np.append(apart, True)]


def union(parts: Sequence[RateSpans], weights: Sequence[float]) -> RateSpans:
    """Spans of all that any part covers, with the mean rate of those parts that know it.

    The spans of a part may be in any order. Borders are rounded to pages; neighbours of the same
    name become one where their rates are alike.
    """
    low = [_place(part.target, part.start) for part in parts]
    high = [_place(part.target, part.end) for part in parts]
    edges = np.unique(np.concatenate(low + high))
    if len(edges) < 2:
        return _EMPTY
    first = [np.searchsorted(edges, places) for places in low]
    beyond = [np.searchsorted(edges, places) for places in high]
    weight = np.repeat(np.array(weights, np.float64), [len(part) for part in parts])
    rate = np.concatenate([part.rate for part in parts])
    seen = ~np.isnan(rate)
    known = _filled(first, beyond, weight * seen, len(edges))
    heat = _filled(first, beyond, weight * np.where(seen, rate, 0), len(edges))
    name = np.full(len(edges) - 1, -1, np.int32)
    for part, begin, end in zip(reversed(parts), reversed(first), reversed(beyond), strict=True):
        # The newest name; what the last part covers is nearly always all.
        lengths = end - begin
        cells = np.repeat(begin - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        names = np.repeat(part.name, lengths)
        unknown = name[cells] < 0
        name[cells[unknown]] = names[unknown]
        if (name >= 0).all():
            break
    covered = np.flatnonzero(name >= 0)
    # What rounding leaves of a sum of equal numbers is not an access.
    mean = np.full(len(covered), np.nan)
    is_known = known[covered] > _NEGLIGIBLE * weight.max(initial=0)
    np.divide(heat[covered], known[covered], out=mean, where=is_known)
    mean = np.clip(np.round(mean, 6), 0, 1)
    return _joined(edges[covered], edges[covered + 1], mean, name[covered])


def _place(target: NDArray[np.int32], address: NDArray[np.int64]) -> NDArray[np.int64]:
    """Target and page as one number."""
    return (target.astype(np.int64) << _PAGE_BITS) + address // PAGE_SIZE


def _filled(
    first: list[NDArray[np.intp]],
    beyond: list[NDArray[np.intp]],
    weight: NDArray[np.float64],
    edges: int,
) -> NDArray[np.float64]:
    """How much weight lies on each cell between two edges."""
    begun = np.bincount(np.concatenate(first), weight, edges)
    over = np.bincount(np.concatenate(beyond), weight, edges)
    filled: NDArray[np.float64] = np.cumsum(begun - over)[:-1]
    return filled


def _joined(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    rate: NDArray[np.float64],
    name: NDArray[np.int32],
) -> RateSpans:
    """Neighbours that are alike as one."""
    apart = (low[1:] != high[:-1]) | (name[1:] != name[:-1])
    heads = np.arange(len(low))
    for levels in _LEVELS:
        level = np.nan_to_num(np.ceil(rate * levels), nan=-1)
        heads = np.flatnonzero(np.append(True, apart | (level[1:] != level[:-1])))
        if len(heads) <= MOST_SPANS:
            break
    size = (high - low).astype(np.float64)
    start, end = low[heads], high[np.append(heads[1:], len(low)) - 1]
    mean = np.add.reduceat(rate * size, heads) / np.add.reduceat(size, heads)
    pages = (1 << _PAGE_BITS) - 1
    return RateSpans(
        (start >> _PAGE_BITS).astype(np.int32),
        (start & pages) * PAGE_SIZE,
        (end & pages) * PAGE_SIZE,
        mean.astype(np.float32),
        name[heads],
    )


_EMPTY = RateSpans(
    np.empty(0, np.int32),
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)
