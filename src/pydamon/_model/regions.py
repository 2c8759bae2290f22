"""The region table: every region of every target, one array a column."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pydamon._model.errors import UsageError
from pydamon._model.unique import unique

__all__ = ["PAGE_SIZE", "Cut", "Ranges", "RegionTable", "cut_at", "order_keys", "reset_age"]

PAGE_SIZE = 4096

Ranges = NDArray[np.int64]
"""Address ranges of one target: shape (n, 2), bytes, half open, sorted, without overlap."""


@dataclass(slots=True, eq=False)
class RegionTable:
    """Regions sorted by target and address, as a struct of arrays of one length.

    Addresses are bytes, half open. `nr_accesses`, `last_nr_accesses` (that of the previous
    aggregation, both in samples) and `age_ns` (for how long the rate has held) are real numbers in
    here, so that the size-weighted means that a merge makes keep their sums; `Snapshot` truncates
    them, as the kernel does.

    `touched`, `early`, `unobservable`, `resident`, `seen`, `doubt` and `repeated` are shares of the
    region's bytes, 0 to 1: what is known to be accessed in an aggregation and in the first quarter
    of one (NaN: nothing is known), what the probe could not watch, what is in memory (NaN: not
    known), what somebody has looked at since it was mapped, where samples have contradicted
    `touched` since it was found, and what of `resident` counts in another target, too (NaN: not
    known). `missed` counts samples since the last one that found an access. `border` is an address
    inside the region on whose two sides samples found different things, 0 for none.
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.float64]
    last_nr_accesses: NDArray[np.float64]
    age_ns: NDArray[np.float64]
    touched: NDArray[np.float64]
    early: NDArray[np.float64]
    unobservable: NDArray[np.float64]
    missed: NDArray[np.float64]
    resident: NDArray[np.float64]
    seen: NDArray[np.float64]
    doubt: NDArray[np.float64]
    repeated: NDArray[np.float64]
    border: NDArray[np.int64]

    @classmethod
    def of(cls, target: ArrayLike, start: ArrayLike, end: ArrayLike) -> Self:
        """A table of fresh regions: nothing looked at or counted yet, age 0.

        Raises `UsageError` for regions that are empty, overlap, or are out of order.
        """
        starts = np.array(start, dtype=np.int64, ndmin=1)
        n = len(starts)
        nothing = np.zeros((7, n))
        table = cls(
            np.broadcast_to(np.asarray(target, dtype=np.int32), (n,)).copy(),
            starts,
            np.array(end, dtype=np.int64, ndmin=1),
            nothing[0],
            nothing[1],
            nothing[2],
            np.full(n, np.nan),
            np.full(n, np.nan),
            nothing[3],
            nothing[4],
            np.full(n, np.nan),
            nothing[5],
            nothing[6],
            np.full(n, np.nan),
            np.zeros(n, np.int64),
        )
        table.check()
        return table

    def __len__(self) -> int:
        return len(self.start)

    @property
    def size(self) -> NDArray[np.int64]:
        """Bytes of each region."""
        return self.end - self.start

    def adjacent(self) -> NDArray[np.bool_]:
        """For each pair of neighbours (n - 1 of them): same target, and no gap between them."""
        touching: NDArray[np.bool_] = self.end[:-1] == self.start[1:]
        touching &= self.target[:-1] == self.target[1:]
        return touching

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """A new table of the regions that *index* picks."""
        return type(self)(*(column[index] for column in self._columns()))

    def check(self) -> None:
        """Raise `UsageError` unless regions are nonempty, sorted and without overlap."""
        if len({len(column) for column in self._columns()}) != 1:
            raise UsageError("the columns of a region table differ in length")
        if (self.start < 0).any() or (self.start >= self.end).any():
            raise UsageError("a region starts at or after its end")
        step = np.diff(self.target)
        if (step < 0).any() or ((self.end[:-1] > self.start[1:]) & (step == 0)).any():
            raise UsageError("regions overlap or are out of order")

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def order_keys(target: NDArray[np.int32], address: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in the order of targets and of the pages that addresses are in."""
    return (target.astype(np.int64) << 44) + address // PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Cut:
    """Pieces of regions, in their order: of which one each is, and from where to where."""

    index: NDArray[np.intp]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


def cut_at(
    target: NDArray[np.int32],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    borders: dict[int, NDArray[np.int64]],
) -> Cut:
    """The pieces of regions (sorted by target and address) that *borders* of their target make.

    Borders are addresses in bytes, in any order; those outside all regions change nothing.
    """
    inside = np.zeros(len(start), np.intp)
    first = np.zeros(len(start), np.intp)
    sorted_borders = [unique(borders[number]) for number in borders]
    base = 0
    for number, addresses in zip(borders, sorted_borders, strict=True):
        low, high = np.searchsorted(target, (number, number + 1))
        first[low:high] = np.searchsorted(addresses, start[low:high], side="right")
        behind = np.searchsorted(addresses, end[low:high], side="left")
        inside[low:high] = np.maximum(behind - first[low:high], 0)
        first[low:high] += base
        base += len(addresses)
    index = np.repeat(np.arange(len(start)), 1 + inside)
    order = np.arange(len(index)) - np.repeat(np.cumsum(1 + inside) - 1 - inside, 1 + inside)
    out_start, out_end = start[index], end[index]
    if base:
        all_borders = np.concatenate(sorted_borders)
        later, sooner = order > 0, order < inside[index]
        out_start[later] = all_borders[first[index[later]] + order[later] - 1]
        out_end[sooner] = all_borders[first[index[sooner]] + order[sooner]]
    return Cut(index, out_start, out_end)


def reset_age(table: RegionTable, target: int, ranges: Ranges) -> RegionTable:
    """The table with an age of 0 for what lies in *ranges*, cut where they begin and end."""
    cut = cut_at(table.target, table.start, table.end, {target: ranges.ravel()})
    table = table.take(cut.index)
    table.start, table.end = cut.start, cut.end
    at = np.searchsorted(ranges[:, 0], table.start, side="right") - 1
    inside = (table.target == target) & (at >= 0) & (table.start < ranges[at, 1])
    table.age_ns[inside] = 0.0
    return table
