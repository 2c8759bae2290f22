"""How bytes are distributed over access rates, ages, idle times, temperatures or region sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import Latest, classes_of, fold_some, row_weights
from pydamon._data.analysis.where import RegionColumns, with_unknown
from pydamon._data.analysis.working_set import PERCENTILES
from pydamon._data.recording import Recorded, Recording
from pydamon._data.recording.targets import TargetNumbers
from pydamon._model.classify import UNKNOWN
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError

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
class Distribution(Displayable):
    """Mean bytes over the time that was recorded, in classes of `by`.

    Class i holds values from `low[i]` to below `high[i]`, shape (classes,), in the unit of `by`: ns
    for ages and idle times, 0 to 1 for rates, -100 to 100 for temperatures, bytes for sizes. Where
    both are the same, it holds just that value; the last class includes its upper end. `regions`
    is the mean number of regions. `percentiles` are pairs of a percentage and a value: of so many
    of the bytes it was at most that.

    Bytes are those that are resident, where that is known. In no class is what nobody knows a value
    of: what is `unseen_bytes` (not looked at yet), `unobservable_bytes`, or `undated_bytes` (not
    accessed, for a time that nobody knows).
    """

    by: By
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    size_bytes: NDArray[np.float64]
    regions: NDArray[np.float64]
    percentiles: tuple[tuple[float, float], ...]
    unseen_bytes: float = 0.0
    unobservable_bytes: float = 0.0
    undated_bytes: float = 0.0


@dataclass(frozen=True)
class Idle(Displayable):
    """Bytes that have not been accessed for `ages_ns` or longer: shape (ages,) each.

    `last_bytes` counts the last snapshot: what reclaiming memory of that age would free then.
    `mean_bytes` is the mean over the time that was recorded, so what a policy that always does so
    would keep free, if none of it were accessed again. `total_bytes` and `mean_total_bytes` are all
    that is resident, `longest_ns` is the longest idle time found.

    Memory that targets share counts once. `unseen_bytes` (not looked at yet), `undated_bytes` (not
    accessed, for a time that nobody knows) and `assumed_bytes` (of `total_bytes`, what may not be
    resident) are of the last snapshot, too.
    """

    ages_ns: NDArray[np.int64]
    last_bytes: NDArray[np.int64]
    mean_bytes: NDArray[np.float64]
    total_bytes: int
    mean_total_bytes: float
    longest_ns: int
    unseen_bytes: int = 0
    undated_bytes: int = 0
    assumed_bytes: int = 0


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
        self._unknown = dict.fromkeys(("unseen", "unobservable", "undated"), 0.0)
        self._quantiles = _Quantiles()
        self._numbers = TargetNumbers()

    def add(self, part: Recording) -> None:
        columns, weight = RegionColumns(part), row_weights(part)
        self._numbers.of_parts(part)
        classes = classes_of(part).over(len(self._numbers))
        if self._by == "size":
            self._count(columns.values("size"), classes.total, weight, weight)
            return
        for name in ("unseen", "unobservable"):
            self._unknown[name] += float((getattr(classes, name) * weight).sum())
        if self._by != "idle":
            values = columns.values(self._by)
            self._count(values, classes.accessed + classes.cold, weight, weight)
            return
        columns.values("idle")  # where no age is known, there is nothing to tell
        idle_ns = with_unknown(classes.idle_ns)
        used, none = classes.accessed > 0, np.zeros(len(weight), np.bool_)
        self._count(none, classes.accessed, weight, np.where(used, weight, 0))
        self._count(idle_ns, classes.cold, weight, np.where(used, 0, weight), none)

    def _count(
        self,
        values: NDArray[Any],
        size: NDArray[np.int64],
        weight: NDArray[np.float64],
        regions: NDArray[np.float64],
        zero: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add bytes, and *regions*, times ns to the classes of their values; *zero* is class 0."""
        known = ~np.isnan(values)
        self._unknown["undated"] += float((size * weight)[~known].sum())
        place = np.searchsorted(self._low, values[known], side="right") - 1
        if self._zero_apart:
            place[(values == 0 if zero is None else zero)[known]] = 0
        values, amount, regions = values[known], (size * weight)[known], regions[known]
        count = len(self._low)
        self._sums += [np.bincount(place, one, count) for one in (amount, regions)]
        some = amount > 0
        self._quantiles.add(values[some], amount[some])

    def distribution(self, recorded_ns: float) -> Distribution:
        size_bytes, regions = self._sums / recorded_ns
        beyond = len(self._low)
        if self._by in _OPEN:
            beyond = (
                max(int(np.flatnonzero(regions + size_bytes).max(initial=0)), self._zero_apart) + 1
            )
        high = self._high[:beyond].copy()
        if self._by in _DURATIONS:
            high[-1] = _INFINITE
        unknown = {f"{name}_bytes": sums / recorded_ns for name, sums in self._unknown.items()}
        return Distribution(
            self._by,
            self._low[:beyond],
            high,
            size_bytes[:beyond],
            regions[:beyond],
            self._quantiles.percentiles(PERCENTILES),
            **unknown,
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

    What could not be observed, or nobody has looked at yet, is not idle. Raises `UsageError` for
    ages below 0.
    """
    if any(age < 0 for age in ages_ns):
        raise UsageError("an age is not negative")
    ages = np.array(sorted(set(ages_ns)), np.int64)
    every, latest = _IdleSums(ages), Latest(2, recording)
    outline = fold_some(recording, every, latest)
    last = _IdleSums(ages, weighted=False)
    last.add(latest.recording(latest.last_whole))
    return Idle(
        ages,
        last.at_least().round().astype(np.int64),
        every.at_least() / outline.recorded_ns,
        int(last.sums["total"]),
        every.sums["total"] / outline.recorded_ns,
        every.longest_ns,
        int(last.sums["unseen"]),
        int(last.sums["undated"]),
        int(last.sums["assumed"]),
    )


class _IdleSums:
    """Sums of bytes by idle time: times ns if they are *weighted*."""

    def __init__(self, ages_ns: NDArray[np.int64], *, weighted: bool = True) -> None:
        self._ages_ns = ages_ns
        self._weighted = weighted
        self._numbers = TargetNumbers()
        self._reached = np.zeros(len(ages_ns) + 1)
        self.sums = dict.fromkeys(("total", "unseen", "assumed", "undated"), 0.0)
        self.longest_ns = 0

    def add(self, part: Recording) -> None:
        self._numbers.of_parts(part)
        classes = classes_of(part).over(len(self._numbers))
        weight = row_weights(part) if self._weighted else 1.0
        undated = np.where(classes.idle_ns == UNKNOWN, classes.cold, 0)
        for name in self.sums:
            amount = undated if name == "undated" else getattr(classes, name)
            self.sums[name] += float((amount * weight).sum())
        # An age of 0 asks for all that is cold.
        idle_ns = np.maximum(classes.idle_ns, 0)
        reached = np.searchsorted(self._ages_ns, idle_ns, side="right")
        self._reached += np.bincount(reached, classes.cold * weight, len(self._reached))
        self.longest_ns = max(self.longest_ns, int(idle_ns[classes.cold > 0].max(initial=0)))

    def at_least(self) -> NDArray[np.float64]:
        """What has been idle for each of the ages: shape (ages,)."""
        summed: NDArray[np.float64] = self._reached[:0:-1].cumsum()[::-1]
        return summed
