"""Bytes over time: one value for each target of each snapshot, and for all targets together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of
from pydamon._data.recording import Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._data.recording.grouping import new_snapshots
from pydamon._model.classify import RegionClasses
from pydamon._model.runs import Runs, group_bounds, running_total
from pydamon._model.snapshot import Target

__all__ = [
    "Amount",
    "Amounts",
    "TimeSeries",
    "TimeSeriesFold",
    "region_counts",
    "sum_per_target",
    "total_bytes",
    "touched_bytes",
    "unseen_bytes",
]

Amounts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Bytes of each target of each snapshot: of the target itself, and for sums over targets."""
Amount: TypeAlias = Callable[[Recording, RegionClasses], Amounts]
"""Computes the amounts of a chunk. Amounts for sums count memory that targets share once."""


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """Amounts over time, of one target, or of all together if `target` is `None`.

    `start_ns`, `end_ns` and each of `amounts` have one entry for each snapshot of the target.
    """

    target: Target | None
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    amounts: tuple[NDArray[np.int64], ...]


class TimeSeriesFold:
    """Some amounts over time, as a fold: it keeps a row for each target of each snapshot."""

    def __init__(self, *amounts: Amount) -> None:
        self._amounts = amounts
        self._numbers = TargetNumbers()
        self._columns: list[list[NDArray[np.int64]]] = [[] for _ in range(3 + 2 * len(amounts))]
        """Target number, start and end, and then the two columns of each amount."""
        self._is_twin = [False, False, False, *[False, True] * len(amounts)]
        """Whether a column equals the one before: amounts for sums, where nothing is shared."""

    def add(self, chunk: Recording) -> None:
        added: list[NDArray[np.int64]] = [
            self._numbers.per_target(chunk).astype(np.int64),
            chunk.per_target("start_ns"),
            chunk.per_target("end_ns"),
        ]
        classes = classes_of(chunk, with_pages=False)
        for amount in self._amounts:
            added += amount(chunk, classes)
        for place, (column, values) in enumerate(zip(self._columns, added, strict=True)):
            column.append(values)
            self._is_twin[place] &= values is added[place - 1]

    def _join(self) -> None:
        """Make each column one array; only one or two are in memory twice on the way."""
        for place, column in enumerate(self._columns):
            if self._is_twin[place]:
                column[:] = self._columns[place - 1]
            else:
                column[:] = [np.concatenate(column or [np.empty(0, np.int64)])]

    def _sort(self) -> None:
        """Put the rows in the order of time."""
        start_ns, end_ns = self._columns[1][0], self._columns[2][0]
        if (end_ns[1:] >= end_ns[:-1]).all():
            return
        order = np.lexsort((start_ns, end_ns))
        for place, column in enumerate(self._columns):
            is_twin = self._is_twin[place]
            column[:] = self._columns[place - 1] if is_twin else [column[0][order]]

    def series(self) -> Iterator[TimeSeries]:
        """The series of all targets together, then of each."""
        self._join()
        self._sort()
        number, start_ns, end_ns, *amounts = (column[0] for column in self._columns)
        targets = self._numbers.targets
        own, for_sums = amounts[::2], amounts[1::2]
        begins = new_snapshots(start_ns, end_ns, number)
        snapshots = Runs.split(begins[1:], len(begins))
        summed = own if len(targets) == 1 else for_sums
        if len(snapshots) == len(begins):
            yield TimeSeries(None, start_ns, end_ns, tuple(summed))
        else:
            yield TimeSeries(
                None,
                snapshots.min(start_ns),
                snapshots.max(end_ns),
                tuple(snapshots.sum(amount) for amount in summed),
            )
        by_target = np.argsort(number, kind="stable")
        bounds = group_bounds(number[by_target], len(targets))
        for index, target in enumerate(targets):
            # A single target has the rows of all together: no copies then.
            rows: slice | NDArray[np.intp] = slice(None)
            if len(targets) > 1:
                rows = by_target[bounds[index] : bounds[index + 1]]
            columns = tuple(amount[rows] for amount in own)
            yield TimeSeries(target, start_ns[rows], end_ns[rows], columns)


def touched_bytes(recording: Recording, classes: RegionClasses) -> Amounts:
    """How much was accessed of each target of each snapshot."""
    once, own = classes.once(), classes.accessed
    return sum_per_target(recording, own, own if once is classes else once.accessed)


def unseen_bytes(recording: Recording, classes: RegionClasses) -> Amounts:
    """How much no probe had looked at yet of each target of each snapshot."""
    return sum_per_target(recording, classes.unseen, classes.once().unseen)


def total_bytes(recording: Recording, classes: RegionClasses) -> Amounts:
    """How much memory the regions of each target of each snapshot have."""
    return sum_per_target(recording, classes.total, classes.once().total)


def region_counts(recording: Recording, _: RegionClasses) -> Amounts:
    """The number of regions of each target of each snapshot."""
    counts = np.diff(recording.target_offsets)
    return counts, counts


def sum_per_target(
    recording: Recording, own: NDArray[np.int64], once: NDArray[np.int64]
) -> Amounts:
    """Sums over the regions of each target of each snapshot; twins if the columns are the same."""
    sums = _sums(recording, own)
    return sums, sums if own is once else _sums(recording, once)


def _sums(recording: Recording, values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(running_total(values)[recording.target_offsets])
