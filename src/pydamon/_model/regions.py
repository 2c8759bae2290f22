"""The region table: every region of every target, one array a column."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pydamon._model.accessed_within import WITHIN_INTERVALS
from pydamon._model.errors import UsageError
from pydamon._model.ranges import PAGE_SIZE, Ranges, contains, cut_at, locate, order_keys

__all__ = [
    "EVIDENCE",
    "LOOKS",
    "MEANS",
    "PAGE_SIZE",
    "Ranges",
    "RegionTable",
    "concatenate",
    "join_regions",
    "reset_age",
]

LOOKS = 8
"""How often survival sampling looks at an epoch's pages at most; the last look, which stands for
those that did not come, is at the epoch's end."""
EVIDENCE = 2 + 2 * LOOKS
"""The columns of `RegionTable.evidence`."""


@dataclass(slots=True, eq=False)
class RegionTable:
    """Regions sorted by target and address, as a struct of arrays of one length.

    Addresses are bytes, half open. `nr_accesses`, `last_nr_accesses` (that of the previous
    aggregation, both in samples) and `age_ns` (for how long the rate has held) are real numbers
    here, so that the size-weighted means that a merge makes keep their sums; `Snapshot` truncates
    them, as the kernel does.

    These columns are shares of the region's bytes, from 0 to 1:

    `touched`
        What is accessed in one aggregation; NaN where nothing is known.
    `touched_early`
        What is accessed in the first quarter of an aggregation; NaN where nothing is known.
    `heat`
        What each look of a survey saw accessed, on average over looks that came sooner and later:
        the more, the more often it is. NaN where nothing is known.
    `unobservable`
        What the probe could not watch.
    `resident`
        What is in memory; NaN where nothing is known.
    `seen`
        What anybody has looked at since it was mapped.
    `contradicted`
        Where samples have contradicted `touched` since the last exact look.
    `repeated`
        What of `resident` counts in another target, too; NaN where nothing is known.

    `deviation` is the standard deviation of `nr_accesses`, in samples; NaN where nothing is known.
    `evidence` is what survival sampling has seen: a row of `Survival.rows` for each region.
    `accessed_within` are the shares accessed within the times of `WITHIN_INTERVALS`, a row for each
    region; NaN where nothing is known.

    `misses_since_hit` counts samples since the last one that found an access. `split_hint` is an
    address inside the region on whose two sides samples found different things, 0 for none.
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.float64]
    last_nr_accesses: NDArray[np.float64]
    age_ns: NDArray[np.float64]
    touched: NDArray[np.float64]
    touched_early: NDArray[np.float64]
    heat: NDArray[np.float64]
    unobservable: NDArray[np.float64]
    misses_since_hit: NDArray[np.float64]
    resident: NDArray[np.float64]
    seen: NDArray[np.float64]
    contradicted: NDArray[np.float64]
    repeated: NDArray[np.float64]
    deviation: NDArray[np.float64]
    evidence: NDArray[np.float64]
    accessed_within: NDArray[np.float64]
    split_hint: NDArray[np.int64]

    @classmethod
    def of(cls, target: ArrayLike, start: ArrayLike, end: ArrayLike) -> Self:
        """A table of fresh regions: nothing is known or counted yet, and their age is 0.

        Raises `UsageError` for regions that are empty, overlap, or are out of order.
        """
        starts = np.array(start, dtype=np.int64, ndmin=1)
        n = len(starts)
        columns: dict[str, NDArray[Any]] = {name: np.zeros(n) for name in MEANS}
        columns |= {name: np.full(n, np.nan) for name in _UNKNOWN_AT_FIRST}
        columns["evidence"] = np.zeros((n, EVIDENCE))
        columns["accessed_within"] = np.full((n, len(WITHIN_INTERVALS)), np.nan)
        table = cls(
            target=np.broadcast_to(np.asarray(target, dtype=np.int32), (n,)).copy(),
            start=starts,
            end=np.array(end, dtype=np.int64, ndmin=1),
            split_hint=np.zeros(n, np.int64),
            **columns,
        )
        table.check()
        return table

    def __len__(self) -> int:
        return len(self.start)

    @property
    def size(self) -> NDArray[np.int64]:
        """Bytes of each region."""
        return self.end - self.start

    @property
    def ranges(self) -> Ranges:
        """Start and end of each region, whatever its target."""
        return np.stack([self.start, self.end], axis=1)

    @property
    def keys(self) -> Ranges:
        """The regions as ranges of `order_keys`."""
        bounds = (order_keys(self.target, address) for address in (self.start, self.end))
        return np.stack(list(bounds), axis=1)

    def adjacent(self) -> NDArray[np.bool_]:
        """Whether two neighbours have the same target and no gap between them: shape (n - 1,)."""
        touching: NDArray[np.bool_] = self.end[:-1] == self.start[1:]
        touching &= self.target[:-1] == self.target[1:]
        return touching

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """A new table of the regions that *index* picks."""
        return type(self)(*(column[index] for column in self._columns()))

    def at(self, target: NDArray[np.int32], address: NDArray[np.int64]) -> NDArray[np.intp]:
        """The region that each address of a target is in; -1 for none."""
        return locate(self.keys, order_keys(target, address))

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


_UNKNOWN_AT_FIRST = (
    *("touched", "touched_early", "heat"),
    *("resident", "repeated", "deviation"),
)
MEANS = tuple(
    field.name
    for field in fields(RegionTable)
    if field.name not in ("target", "start", "end", "split_hint")
)
"""The columns that say something of each byte: a region made of several has their mean by size."""


def concatenate(tables: list[RegionTable]) -> RegionTable:
    """One table of several; they must be in the order of their targets."""
    if not tables:
        return RegionTable.of([], [], [])
    return RegionTable(
        *(
            np.concatenate([getattr(table, field.name) for table in tables])
            for field in fields(RegionTable)
        )
    )


def join_regions(table: RegionTable, heads: NDArray[np.intp]) -> RegionTable:
    """One region for each run of regions that begins at one of *heads*; means by size."""
    if len(heads) == len(table):
        return table
    weight = table.size.astype(np.float64)
    total = np.add.reduceat(weight, heads)
    # Transposed, because some columns have a row for each region.
    means = {
        name: (np.add.reduceat(getattr(table, name).T * weight, heads, axis=-1) / total).T
        for name in MEANS
    }
    tails = np.append(heads[1:], len(table)) - 1
    return RegionTable(
        target=table.target[heads],
        start=table.start[heads],
        end=table.end[tails],
        split_hint=np.maximum.reduceat(table.split_hint, heads),
        **means,
    )


def reset_age(table: RegionTable, target: int, ranges: Ranges) -> RegionTable:
    """The table with an age of 0 for what lies in *ranges*, cut where they begin and end."""
    cut = cut_at(table.target, table.start, table.end, {target: ranges.ravel()})
    table = table.take(cut.index)
    table.start, table.end = cut.start, cut.end
    table.age_ns[(table.target == target) & contains(ranges, table.start)] = 0.0
    return table
