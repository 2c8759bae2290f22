"""How bytes are distributed over access rates, ages, idle times, temperatures or region sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.cold_sums import ColdSums, MappingKeys
from pydamon._data.analysis.folding import classes_of, fold_with_outline, region_weights
from pydamon._data.analysis.idle import IDLE_AGES_NS
from pydamon._data.analysis.where import RegionColumns
from pydamon._data.analysis.working_set import PERCENTILES
from pydamon._data.recording import AnyRecording, Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError
from pydamon._model.page_ages import IDLE_EDGES_NS
from pydamon._model.runs import Runs, unique

__all__ = ["By", "Distribution", "distribution"]

By: TypeAlias = Literal["rate", "age", "idle", "temperature", "size"]
"""Properties to count bytes by: the fields of the same names in filters."""

_INFINITE = 2**63 - 1
_AGES = np.array([*IDLE_AGES_NS, _INFINITE], np.float64)
_EDGES: dict[By, NDArray[np.float64]] = {
    "rate": np.linspace(0, 1, 11),
    "age": _AGES,
    "idle": _AGES,
    "temperature": np.linspace(-100, 100, 21),
    "size": np.append(0, 2.0 ** np.arange(12, 60, 2)),
}
_WITH_ZERO_CLASS = ("rate", "idle")
"""These have a class for the value 0 alone."""
_DURATIONS = ("age", "idle")
_WITHOUT_END = ("age", "idle", "size")
"""These have only as many classes as there are values for."""
_QUANTILE_BITS = 12
_PAGE_AGES = unique(np.append(np.array(IDLE_AGES_NS, np.int64), IDLE_EDGES_NS))
"""The ages at which bytes by the ages of pages are counted."""


@dataclass(frozen=True)
class Distribution(Displayable):
    """Bytes in classes of access rate, age, idle time, temperature or size: see `distribution`.

    Bytes are means over the time that was recorded, of resident memory where that is known. Those
    by idle time come from the ages of pages where the recording has any: see `mappings`.

    Attributes
    ----------
    by : str
        The property that bytes are counted by.
    low, high : ndarray, shape (classes,)
        Class i holds values from `low[i]` to below `high[i]`, or the single value that both are.
        The last class includes its upper end. Ages and idle times are in ns, rates from 0 to 1,
        temperatures from -100 to 100, sizes in bytes.
    size_bytes : ndarray, shape (classes,)
        The bytes in each class.
    regions : ndarray, shape (classes,)
        The mean number of regions in each class.
    percentiles : tuple of (float, float)
        Pairs of a percentage from 0 to 100 and a value: so many percent of the bytes had at most
        that value.
    unseen_bytes, unobservable_bytes, undated_bytes : float
        Bytes in no class: unseen by any probe, unobservable, and cold for an unknown time.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> rates = pydamon.analysis.distribution(recording, "rate")
    >>> rates.low[:3].round(1).tolist()
    [0.0, 0.0, 0.1]
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


def distribution(recording: AnyRecording, by: By = "rate") -> Distribution:
    """Compute how the recorded bytes are distributed over one of their properties.

    Parameters
    ----------
    recording
        The recording.
    by
        The property: `"rate"`, `"age"`, `"idle"`, `"temperature"` or `"size"` (of regions).

    Returns
    -------
    Distribution
        The bytes in classes of that property.

    Raises
    ------
    UsageError
        If there is no such property.
    RecordingError
        If there are no snapshots, or no age is known and the property depends on it.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> rates = pydamon.analysis.distribution(recording, "rate")
    >>> pydamon.format_size(rates.size_bytes.sum())
    '256 MiB'
    """
    if by not in get_args(By):
        raise UsageError(f"there is no distribution by {by!r}: one of {', '.join(get_args(By))}")
    sums = _ClassSums(by)
    outline = fold_with_outline(recording, sums)
    return sums.distribution(outline.recorded_ns)


class _ClassSums:
    """Sums of bytes and of regions, times ns, by class."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._low, self._high = _EDGES[by][:-1], _EDGES[by][1:]
        self._has_zero_class = by in _WITH_ZERO_CLASS
        if self._has_zero_class:
            self._low, self._high = np.append(0.0, self._low), np.append(0.0, self._high)
        self._sums = np.zeros((2, len(self._low)))
        self._unknown = dict.fromkeys(("unseen", "unobservable", "undated"), 0.0)
        self._quantiles = _Quantiles()
        self._numbers = TargetNumbers()
        self._cold = ColdSums(_PAGE_AGES)

    def add(self, chunk: Recording) -> None:
        columns, weight = RegionColumns(chunk), region_weights(chunk)
        own = classes_of(chunk, with_pages=self._by == "idle")
        if self._by == "idle":
            self._cold.add(MappingKeys.of(chunk, self._numbers), weight, own, own.once())
        else:
            self._numbers.per_target(chunk)
        classes = own.over(len(self._numbers))
        values = columns.values(self._by)
        if self._by == "size":
            self._count(values, classes.total * weight, weight)
            return
        for name in ("unseen", "unobservable"):
            self._unknown[name] += float((getattr(classes, name) * weight).sum())
        if self._by != "idle":
            amount = (classes.accessed + classes.cold) * weight
            self._count(values, amount, weight, values == 0)
            return
        # The accessed bytes are the class of 0. The other bytes of their regions are idle, too,
        # but such a region counts in one class only.
        is_used, every = classes.accessed > 0, np.ones(len(weight), np.bool_)
        zeros = np.zeros(len(weight))
        self._count(zeros, classes.accessed * weight, np.where(is_used, weight, 0), every)
        self._count(values, classes.cold * weight, np.where(is_used, 0, weight), ~every)

    def _count(
        self,
        values: NDArray[Any],
        amount: NDArray[np.float64],
        regions: NDArray[np.float64],
        is_zero: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add bytes and regions, both times ns, to the classes of their values."""
        known = ~np.isnan(values)
        self._unknown["undated"] += float(amount[~known].sum())
        values, amount, regions = values[known], amount[known], regions[known]
        place = np.searchsorted(self._low, values, side="right") - 1
        if self._has_zero_class and is_zero is not None:
            place[is_zero[known]] = 0
        count = len(self._low)
        self._sums += [np.bincount(place, weight, count) for weight in (amount, regions)]
        has_bytes = amount > 0
        self._quantiles.add(values[has_bytes], amount[has_bytes])

    def _count_pages(self) -> None:
        """Let the ages of pages say how many bytes were idle for how long."""
        cold = self._cold.rows(int(len(self._numbers) > 1)).sum(axis=0)[1:]
        place = np.searchsorted(_PAGE_AGES, self._low[1:])
        self._sums[0, 1:] = np.add.reduceat(cold, place)
        self._unknown["undated"] = 0.0
        values, amount = np.append(0, _PAGE_AGES), np.append(self._sums[0, 0], cold)
        self._quantiles = _Quantiles()
        self._quantiles.add(values[amount > 0], amount[amount > 0])

    def distribution(self, recorded_ns: float) -> Distribution:
        if self._cold.has_pages:
            self._count_pages()
        size_bytes, regions = self._sums / recorded_ns
        class_count = len(self._low)
        if self._by in _WITHOUT_END:
            last = int(np.flatnonzero(regions + size_bytes).max(initial=0))
            class_count = max(last, self._has_zero_class) + 1
        high = self._high[:class_count].copy()
        if self._by in _DURATIONS:
            high[-1] = _INFINITE
        unknown = {f"{name}_bytes": sums / recorded_ns for name, sums in self._unknown.items()}
        return Distribution(
            self._by,
            self._low[:class_count],
            high,
            size_bytes[:class_count],
            regions[:class_count],
            self._quantiles.percentiles(PERCENTILES),
            **unknown,
        )


class _Quantiles:
    """Percentiles of values that count as much as their weights.

    Values that agree in 12 bits are taken together, so that no more than some 10,000 are kept. Each
    percentile is a value that was seen.
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
        runs = Runs.of(np.floor(fraction * 2**_QUANTILE_BITS), exponent)
        self._values = values[runs.tails]
        self._weights = runs.sum(weights)

    def percentiles(self, marks: Sequence[float]) -> tuple[tuple[float, float], ...]:
        if len(self._values) == 0:
            return ()
        total = np.cumsum(self._weights)
        place = np.searchsorted(total, np.array(marks) / 100 * total[-1])
        values = self._values[np.minimum(place, len(total) - 1)].tolist()
        return tuple(
            (mark, value if mark else self._least)
            for mark, value in zip(marks, values, strict=True)
        )
