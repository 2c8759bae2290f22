"""What the pages of owners are in: bytes that are hot, warm or idle, summed up by owner.

The facts about memory are amounts of bytes in pieces of the address space. A piece is a run of
pages of equal age, or, where single pages have no ages, a region, over which its bytes are spread
evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.owners import OwnedRanges
from pydamon._model.page_map import UNKNOWN_NS, PageMap
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.runs import is_in, unique

__all__ = ["CLASSES", "MemoryFacts", "sums_by_owner"]

CLASSES = ("followed", "resident", "hot", "warm", "idle", "shared")
"""The amounts: memory of which anything is known, what of it is resident, and the bytes that were
accessed since the look before, within the idle time, and not for so long. `shared` is what of hot
and warm bytes lies on pages that several owners have: any of them may have accessed these."""
_HOT, _WARM, _IDLE, _SHARED = (CLASSES.index(name) for name in ("hot", "warm", "idle", "shared"))
_ROWS_AT_ONCE = 2**18


@dataclass(frozen=True, eq=False)
class MemoryFacts:
    """Amounts of bytes in pieces of memory, which are sorted by address and do not overlap.

    *amounts* has a row for each of `CLASSES` but the last: shape (5, pieces).
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    amounts: NDArray[np.float64]
    page_bytes: int = PAGE_SIZE

    @classmethod
    def of_map(cls, page_map: PageMap, idle_ns: int) -> Self:
        """The facts of a map of pages; idle memory is that of at least *idle_ns*."""
        runs = page_map.runs()
        size = (runs.end - runs.start).astype(np.float64)
        age_ns = runs.idle_ns
        is_idle = age_ns >= max(1, idle_ns)
        is_hot = age_ns == 0
        is_warm = (age_ns > 0) & ~is_idle
        is_resident = (age_ns >= 0) | (age_ns == UNKNOWN_NS)
        of_class = np.ones_like(is_hot), is_resident, is_hot, is_warm, is_idle
        amounts = np.array([size * marks for marks in of_class])
        return cls(runs.start, runs.end, amounts, page_map.page_bytes)

    @property
    def totals(self) -> NDArray[np.float64]:
        """The amounts of all pieces: shape (5,)."""
        totals: NDArray[np.float64] = self.amounts.sum(axis=1)
        return totals

    def within(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float64]:
        """The amounts in each [start, end): shape (5, n)."""
        if not len(self.start):
            return np.zeros((len(self.amounts), len(start)))
        return self._below(end) - self._below(start)

    def used_shares(self, page: NDArray[np.int64]) -> NDArray[np.float64]:
        """Which part of each page, by its number, is hot or warm."""
        address = page * self.page_bytes
        within = self.within(address, address + self.page_bytes)
        shares: NDArray[np.float64] = (within[_HOT] + within[_WARM]) / self.page_bytes
        return shares

    @cached_property
    def _before(self) -> NDArray[np.float64]:
        """The amounts before each piece: shape (5, pieces)."""
        before: NDArray[np.float64] = np.cumsum(self.amounts, axis=1) - self.amounts
        return before

    def _below(self, address: NDArray[np.int64]) -> NDArray[np.float64]:
        """The amounts below each address: shape (5, n)."""
        piece = np.maximum(np.searchsorted(self.start, address, side="right") - 1, 0)
        size = self.end[piece] - self.start[piece]
        share = np.clip((address - self.start[piece]) / np.maximum(size, 1), 0, 1)
        below: NDArray[np.float64] = self._before[:, piece] + self.amounts[:, piece] * share
        return below


class OwnerSums(NamedTuple):
    """Sums of bytes by owner and by group.

    *by_owner* has the allocated bytes, and then those of `CLASSES`: shape (7, owners). *by_group*
    has those of `CLASSES` without the last: shape (5, groups).
    """

    by_owner: NDArray[np.float64]
    by_group: NDArray[np.float64]


def sums_by_owner(
    ranges: OwnedRanges,
    facts: MemoryFacts,
    owners: int,
    *,
    young_since_ns: int,
    containers: frozenset[int] = frozenset(),
    group_at: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
    groups: int = 0,
) -> OwnerSums:
    """The bytes of each of so many owners, and of so many groups of addresses.

    *group_at* tells the group of each address, or -1.

    What an owner has only had since *young_since_ns* or later has not been idle for it for long: it
    is warm. All bytes on an idle page are idle, whoever has them.
    """
    sums = np.zeros((1 + len(CLASSES), owners))
    by_group = np.zeros((len(CLASSES) - 1, groups))
    used_pages, used_share = _shared_pages(ranges, facts, containers)
    for rows in _slices(len(ranges.start)):
        start, end, owner = ranges.start[rows], ranges.end[rows], ranges.owner[rows]
        amounts = facts.within(start, end)
        if group_at is not None:
            group = group_at(start)
            by_group += [np.bincount(group + 1, row, groups + 1)[1:] for row in amounts]
        young = ranges.since_ns[rows] > young_since_ns
        amounts[_WARM, young] += amounts[_IDLE, young]
        amounts[_IDLE, young] = 0
        shared = _on_shared_pages(start, end, used_pages, used_share, facts.page_bytes)
        for row, values in enumerate((end - start, *amounts, shared)):
            sums[row] += np.bincount(owner, values, owners)
    sums[1 + _SHARED, sorted(containers)] = 0
    return OwnerSums(sums, by_group)


def _slices(rows: int) -> Iterator[slice]:
    return (slice(first, first + _ROWS_AT_ONCE) for first in range(0, rows, _ROWS_AT_ONCE))


def _shared_pages(
    ranges: OwnedRanges, facts: MemoryFacts, containers: frozenset[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The pages that several owners have, and which part of each is in use."""
    numbers = np.array(sorted(containers), np.int32)
    parts = [np.zeros(0, np.int64)]
    last = ranges.pick(slice(0, 0))
    for rows in _slices(len(ranges.start)):
        some = ranges.pick(rows)
        if len(numbers):
            some = some.pick(~np.isin(some.owner, numbers))
        # Within a page, ranges follow one another: two owners are neighbours somewhere.
        page = np.append(last.start, some.start)[1:] // facts.page_bytes
        end, owner = np.append(last.end, some.end), np.append(last.owner, some.owner)
        shared = ((end[:-1] - 1) // facts.page_bytes == page) & (owner[1:] != owner[:-1])
        parts.append(unique(page[shared]))
        last = some.pick(slice(-1, None)) if len(some.start) else last
    pages = unique(np.concatenate(parts))
    used_share = facts.used_shares(pages)
    return pages[used_share > 0], used_share[used_share > 0]


def _on_shared_pages(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    pages: NDArray[np.int64],
    used_share: NDArray[np.float64],
    page_bytes: int,
) -> NDArray[np.float64]:
    """How many bytes in use of each range lie on shared pages: its first and its last may be."""
    first, last = start // page_bytes, (end - 1) // page_bytes
    on_first = np.minimum(end, (first + 1) * page_bytes) - start
    on_last = np.where(last > first, end - last * page_bytes, 0)
    amount = np.zeros(len(start))
    if not len(pages):
        return amount
    for page, size in ((first, on_first), (last, on_last)):
        marks = is_in(page, pages)
        place = np.searchsorted(pages, page[marks])
        amount[marks] += size[marks] * used_share[place]
    return amount
