"""How bytes are distributed over access rates, ages, idle times, temperatures or region sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.folding import Latest, fold_some, row_weights
from pydamon.analysis.where import RegionColumns
from pydamon.analysis.workingset import PERCENTILES
from pydamon.core.errors import UsageError
from pydamon.recording import Recorded, Recording

__all__ = ["IDLE_AGES_NS", "By", "Distribution", "Idle", "distribution", "idle"]

By: TypeAlias = Literal["rate", "age", "idle", "temperature", "size"]
"""What to count bytes by: the fields of the same names in filters."""

IDLE_AGES_NS = tuple(s * 10**9 for s in (0, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 86400))
"""0 s, then ages up to a day."""
_INFINITE = 2**63 - 1
_AGES = np.array([*IDLE_AGES_NS, _INFINITE], np.float64)
_EDGES: dict[By, NDArray[np.float64]] = {
    "rate": np.linspace(0, 1, 11),
    "age": _AGES,
    "idle": _AGES,
    "temperature": np.linspace(-100, 100, 21),
    "size": np.append(0, 2.0 ** np.arange(12, 60, 2)),
}
_ZERO_APART = ("rate", "idle")
_DURATIONS = ("age", "idle")
_OPEN = ("age", "idle", "size")
"""Of these there are only as many classes as there are values for."""


@dataclass(frozen=True)
class Distribution:
    """Mean bytes over the time that was recorded, in classes of `by`.

    Class i holds values from `low[i]` to below `high[i]`, shape (classes,), in the unit of `by`: ns
    for ages and idle times, 0 to 1 for rates, -100 to 100 for temperatures, bytes for sizes. Where
    both are the same, it holds just that value; the last class includes its upper end. `regions`
    is the mean number of regions. `percentiles` are pairs of a percentage and a value: of so many
    of the bytes it was at most that.
    """

    by: By
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size_bytes: NDArray[np.float64]
    regions: NDArray[np.float64]
    percentiles: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Idle:
    """Bytes that have not been accessed for `ages_ns` or longer: shape (ages,) each.

    `last_bytes` counts the last snapshot: what reclaiming memory of that age would free then.
    `mean_bytes` is the mean over the time that was recorded, so what a policy that always does so
    would keep free, if none of it were accessed again. `total_bytes` and `mean_total_bytes` are
    what was monitored, `longest_ns` is the longest idle time found.
    """

    ages_ns: NDArray[np.int64]
    last_bytes: NDArray[np.int64]
    mean_bytes: NDArray[np.float64]
    total_bytes: int
    mean_total_bytes: float
    longest_ns: int


def distribution(recording: Recorded, by: By = "rate") -> Distribution:
    """The distribution of the recorded bytes by one of their properties.

    Raises `UsageError` for an unknown one, `RecordingError` where there are no snapshots.
    """
    if by not in get_args(By):
        raise UsageError(f"there is no distribution by {by!r}: one of {', '.join(get_args(By))}")
    classes = _Classes(by)
    outline = fold_some(recording, classes)
    return classes.distribution(outline.recorded_ns)


class _Classes:
    """Sums of bytes and of regions, times ns, by class."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._low, self._high = _EDGES[by][:-1], _EDGES[by][1:]
        self._zero_apart = by in _ZERO_APART
        if self._zero_apart:
            # Class 0 is what is 0, and the next one begins behind it.
            self._low, self._high = np.append(0.0, self._low), np.append(0.0, self._high)
        self._sums = np.zeros((2, len(self._low)))
        self._quantiles = _Quantiles()

    def add(self, part: Recording) -> None:
        columns = RegionColumns(part)
        values, weight = columns.values(self._by), row_weights(part)
        size = columns.values("size") * weight
        place = np.searchsorted(self._low, values, side="right") - 1
        if self._zero_apart:
            place[values == 0] = 0
        count = len(self._low)
        self._sums += [np.bincount(place, one, count) for one in (size, weight)]
        self._quantiles.add(values, size)

    def distribution(self, recorded_ns: float) -> Distribution:
        size_bytes, regions = self._sums / recorded_ns
        beyond = len(self._low)
        if self._by in _OPEN:
            beyond = max(int(np.flatnonzero(regions).max(initial=0)), self._zero_apart) + 1
        high = self._high[:beyond].copy()
        if self._by in _DURATIONS:
            high[-1] = _INFINITE
        return Distribution(
            self._by,
            self._low[:beyond],
            high,
            size_bytes[:beyond],
            regions[:beyond],
            self._quantiles.percentiles(PERCENTILES),
        )


class _Quantiles:
    """Percentiles of values, each of which counts as much as its weight.

    Values that agree in 12 bits are taken together, so that no more than some 10,000 are kept; each
    percentile is one that was seen.
    """

    def __init__(self) -> None:
        self._least = math.inf
        self._values = self._weights = np.empty(0)

    def add(self, values: NDArray[Any], weights: NDArray[np.float64]) -> None:
        values, weights = np.append(self._values, values), np.append(self._weights, weights)
        order = np.argsort(values)
        values, weights = values[order], weights[order]
        self._least = min([self._least, *values[:1].tolist()])
        fraction, exponent = np.frexp(values)
        fraction = np.floor(fraction * 2**12)
        last = np.ones(len(values), np.bool_)
        last[:-1] = (fraction[1:] != fraction[:-1]) | (exponent[1:] != exponent[:-1])
        self._values = values[last]
        self._weights = np.diff(np.cumsum(weights)[last], prepend=0.0)

    def percentiles(self, marks: Sequence[float]) -> tuple[tuple[float, float], ...]:
        if len(self._values) == 0:
            return ()
        total = np.cumsum(self._weights)
        place = np.searchsorted(total, np.array(marks) / 100 * total[-1])
        found = self._values[np.minimum(place, len(total) - 1)].tolist()
        return tuple(
            (mark, value if mark else self._least) for mark, value in zip(marks, found, strict=True)
        )


def idle(recording: Recorded, ages_ns: tuple[int, ...] = IDLE_AGES_NS) -> Idle:
    """Bytes by idle time; raises `RecordingError` where there are no snapshots.

    What could not be observed counts as accessed. Raises `UsageError` for ages below 0.
    """
    if any(age < 0 for age in ages_ns):
        raise UsageError("an age is not negative")
    ages = np.array(sorted(set(ages_ns)), np.int64)
    every, latest = _IdleSums(ages), Latest(2)
    outline = fold_some(recording, every, latest)
    last = _IdleSums(ages, weighted=False)
    last.add(latest.recording(latest.last_whole))
    return Idle(
        ages,
        last.at_least().round().astype(np.int64),
        every.at_least() / outline.recorded_ns,
        int(last.total),
        every.total / outline.recorded_ns,
        every.longest_ns,
    )


class _IdleSums:
    """Sums of bytes by idle time: times ns if they are *weighted*."""

    def __init__(self, ages_ns: NDArray[np.int64], *, weighted: bool = True) -> None:
        self._ages_ns = ages_ns
        self._weighted = weighted
        self._reached = np.zeros(len(ages_ns) + 1)
        self.total = 0.0
        self.longest_ns = 0

    def add(self, part: Recording) -> None:
        columns = RegionColumns(part)
        weight = row_weights(part) if self._weighted else 1.0
        size = columns.values("size")
        # An age of 0 asks for all that was found idle, not for what is accessed.
        idle_ns = np.where(part.column("nr_accesses") == 0, columns.values("age"), -1)
        reached = np.searchsorted(self._ages_ns, idle_ns, side="right")
        seen = (size - part.column("unobservable_bytes")) * weight
        self._reached += np.bincount(reached, seen, len(self._reached))
        self.total += float((size * weight).sum())
        self.longest_ns = max(self.longest_ns, int(idle_ns.max(initial=0)))

    def at_least(self) -> NDArray[np.float64]:
        """What has been idle for each of the ages: shape (ages,)."""
        summed: NDArray[np.float64] = self._reached[:0:-1].cumsum()[::-1]
        return summed
