"""Pages that several targets map: each counts in the target that used it last.

Targets see a shared page in different ways: it is in the page table of one and not of another, and
one uses it all the time while the others do not. In sums over targets the page counts once. If it
counted in a fixed target, it would be lost where that target has never touched it, and idle where
that target alone leaves it idle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import (
    EMPTY,
    PAGE_SIZE,
    Ranges,
    from_order_keys,
    keyed,
    locate,
    order_keys,
    overlaps,
)
from pydamon._model.runs import Runs, expand, running_total, unique
from pydamon._observe.pages.followed import FollowedPages
from pydamon._observe.pages.look_times import ABSENT, UNKNOWN

__all__ = ["PartOfTarget", "Rows", "SharedPages", "repeated_now"]

_PIECE_PAGES = 2**13
"""Files, and address spaces that were forked, are taken in pieces of so many pages, in which a page
has its own slot."""
_PIECES_AT_ONCE, _PAGES_AT_ONCE = 64, 2**19
_FEW = 16
"""Of a version that has not one page in so many, its pages alone are gone through."""
_LONG_ROW_PAGES = 256
"""Parts of mappings are taken one by one if they have more pages in the mean."""
_NOT_KNOWN, _JUST_USED, _ALWAYS_USED = 253, 254, 255
"""Ranks above those of older stamps. Whether a page that cannot be watched is in use is not known:
so no older use by another target counts."""

_Rank: TypeAlias = Callable[[slice | NDArray[np.int64]], NDArray[np.uint8]]
"""Tells the ranks of the pages at some places of a flat array."""


PartOfTarget: TypeAlias = tuple[int, int, Hashable, int]
"""Start and end (bytes); of what it may have the same pages as others, and from which page on."""


class Rows(NamedTuple):
    """Parts of targets: where their pages stand in flat arrays, in which slots, and how many."""

    first: NDArray[np.int64]
    slot: NDArray[np.int64]
    pages: NDArray[np.int64]

    @property
    def are_long(self) -> bool:
        """Whether it takes less time to go through them one by one."""
        return bool(len(self.pages) and self.pages.mean() > _LONG_ROW_PAGES)

    def take(self, index: NDArray[np.bool_]) -> Self:
        """Those that *index* picks."""
        return type(self)(*(column[index] for column in self))

    def marked(self, marks: NDArray[np.bool_]) -> Self:
        """Their pages that are marked (flat), each as a row, in the order of places."""
        places = np.flatnonzero(marks)
        by_place = np.argsort(self.first)
        row = by_place[np.searchsorted(self.first[by_place], places, side="right") - 1]
        inside = (places >= self.first[row]) & (places < self.first[row] + self.pages[row])
        places, row = places[inside], row[inside]
        slots = self.slot[row] + places - self.first[row]
        return type(self)(places, slots, np.ones(len(places), np.int64))

    def parts(self) -> list[tuple[slice, slice]]:
        """The places and the slots of each row."""
        return [
            (slice(first, first + pages), slice(slot, slot + pages))
            for first, slot, pages in np.stack(self, axis=1).tolist()
        ]

    def each_page(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The place and the slot of each page."""
        if len(self.pages) == self.pages.sum():
            return self.first, self.slot
        row, place = expand(self.pages)
        return self.first[row] + place, self.slot[row] + place


class SharedPages:
    """The pages of files that several targets map, in the memory that each has now."""

    def __init__(self, mappings: Sequence[MappingTable], ranges: Sequence[Ranges]) -> None:
        rows = _shared_rows(self._parts(mappings), keyed(ranges))
        self._keys = rows[:, :2]
        """Order keys of parts of targets: by piece of a file, then by target."""
        self._slot = rows[:, 3] * _PIECE_PAGES + rows[:, 2]
        self._batches = _batches(rows)
        pieces = int(rows[-1, 3]) + 1 if len(rows) else 0
        self._last_used = np.zeros((self._most_versions, pieces * _PIECE_PAGES), np.uint8)
        """The stamp of the last use by any target, by version and slot."""
        self._by_key = np.argsort(self._keys[:, 0])

    _most_versions = 1
    """So many different pages may have one slot."""

    def __len__(self) -> int:
        return len(self._keys)

    def _parts(self, mappings: Sequence[MappingTable]) -> Sequence[Iterable[PartOfTarget]]:
        """What each target may have in common with others."""
        return [
            [
                (mapping.start, mapping.end, mapping.file, mapping.offset // PAGE_SIZE)
                for mapping in table.mappings
                if mapping.shares_pages
            ]
            for table in mappings
        ]

    def _versions(self, pages: FollowedPages) -> Sequence[NDArray[np.bool_] | None]:
        """Which pages (flat) are of each version; `None` for all."""
        del pages
        return [None]

    @property
    def targets(self) -> NDArray[np.int64]:
        """The targets that have any such pages."""
        return unique(from_order_keys(self._keys[:, 0])[0])

    def find_repeated(self, pages: FollowedPages, last: int) -> Ranges:
        """Pages in memory that count in another target, as ranges of order keys.

        *last* is the stamp of the last interval between two looks. Of several targets that used a
        page then, one that uses it all the time comes before others, and a lower one before a
        higher one.
        """
        if not len(self):
            return EMPTY
        rank_of = np.arange(256, dtype=np.uint8)
        rank_of[last:] = _JUST_USED
        rank_of[UNKNOWN] = _NOT_KNOWN
        busy, repeated = pages.busy, np.zeros(len(pages), np.bool_)

        def rank(
            version: NDArray[np.bool_] | None, places: slice | NDArray[np.int64]
        ) -> NDArray[np.uint8]:
            ranks = rank_of[pages.flat[places]]
            ranks[(ranks == _JUST_USED) & busy[places]] = _ALWAYS_USED
            if version is not None:
                ranks[~version[places]] = ABSENT
            return ranks

        for number, version in enumerate(self._versions(pages)):
            for batch in self._batches:
                of_pieces, rows = self._rows(batch, pages)
                best = self._last_used[number, of_pieces]
                best[:] = ABSENT
                if version is not None and _FEW * np.count_nonzero(version) < len(pages):
                    rows = rows.marked(version)
                count = _count_by_row if rows.are_long else _count_by_page
                count(partial(rank, version), rows, best, repeated)
                best[best == _NOT_KNOWN] = ABSENT
                best[best >= _JUST_USED] = last
        return _ranges_of(repeated, pages)

    def _rows(self, batch: slice, pages: FollowedPages) -> tuple[slice, Rows]:
        """The slots of all pieces of a batch, and its rows, which have slots of these."""
        of_pieces = self._slots_of(batch)
        first = pages.places_of(self._keys[batch, 0])
        lengths = self._keys[batch, 1] - self._keys[batch, 0]
        return of_pieces, Rows(first, self._slot[batch] - of_pieces.start, lengths)

    def last_used(
        self, keys: NDArray[np.int64], version: NDArray[np.uint8] | int = 1
    ) -> NDArray[np.uint8]:
        """When any target used the pages with these order keys, as stamps of the last look.

        Versions count from 1. `ABSENT` where that is not known, and for pages that are not shared.
        """
        stamps = np.full(len(keys), ABSENT, np.uint8)
        by_key = self._keys[self._by_key]
        row = locate(by_key, keys)
        inside = row >= 0
        of_row = self._by_key[row[inside]]
        slots = self._slot[of_row] + keys[inside] - self._keys[of_row, 0]
        number = np.broadcast_to(version, keys.shape)[inside].astype(np.int64) - 1
        stamps[inside] = np.where(number >= 0, self._last_used[number, slots], ABSENT)
        return stamps

    def _slots_of(self, batch: slice) -> slice:
        """The slots of all pieces of a batch."""
        first, last = (self._slot[[batch.start, batch.stop - 1]] // _PIECE_PAGES).tolist()
        return slice(first * _PIECE_PAGES, (last + 1) * _PIECE_PAGES)


def repeated_now(repeated: Ranges, numbers: NDArray[np.int64], by_mapping: Ranges) -> Ranges:
    """The *repeated* order keys after targets have got other *numbers*; -1 for those that are gone.

    Targets that nobody has looked at have what mappings say.
    """
    target, address = from_order_keys(repeated[:, 0])
    number = numbers[target]
    first = order_keys(number, address)
    moved = np.stack([first, first + repeated[:, 1] - repeated[:, 0]], axis=1)
    is_new = ~np.isin(from_order_keys(by_mapping[:, 0])[0], numbers)
    now = np.concatenate([moved[number >= 0], by_mapping[is_new]])
    return now[np.argsort(now[:, 0])]


def _count_by_page(
    rank: _Rank, rows: Rows, best: NDArray[np.uint8], repeated: NDArray[np.bool_]
) -> None:
    """Set the *best* rank of each slot, and mark the pages (flat) that count in another row.

    A page counts in the first of all rows that have it with the best rank.
    """
    places, slots = rows.each_page()
    ranks = rank(places)
    there = np.flatnonzero(ranks != ABSENT)
    places, slots, ranks = places[there], slots[there], ranks[there]
    np.maximum.at(best, slots, ranks)
    owner = np.full(len(best), -1)
    at = np.flatnonzero(ranks == best[slots])[::-1]
    owner[slots[at]] = at  # the last write counts: that of the first row
    elsewhere = np.ones(len(ranks), np.bool_)
    elsewhere[owner[owner >= 0]] = False
    repeated[places[elsewhere]] = True


def _count_by_row(
    rank: _Rank, rows: Rows, best: NDArray[np.uint8], repeated: NDArray[np.bool_]
) -> None:
    """The same, many times as fast where rows are long."""
    parts = [(places, slots, rank(places)) for places, slots in rows.parts()]
    for _, slots, ranks in parts:
        np.maximum(best[slots], ranks, out=best[slots])
    is_taken = best == ABSENT
    for places, slots, ranks in parts:
        counts = (ranks == best[slots]) & ~is_taken[slots]
        is_taken[slots] |= counts
        repeated[places] |= (ranks != ABSENT) & ~counts


def _shared_rows(parts: Sequence[Iterable[PartOfTarget]], memory: Ranges) -> NDArray[np.int64]:
    """Parts of targets in memory: start and end (order keys), first page in its piece, and piece.

    Only pieces of files that are there more than once; sorted by piece, then by target.
    """
    numbers: dict[Hashable, int] = {}
    found = [
        (target, start, end, numbers.setdefault(name, len(numbers)), page)
        for target, parts_of_target in enumerate(parts)
        for start, end, name, page in parts_of_target
    ]
    target, start, end, file, page = np.array(found, np.int64).reshape(-1, 5).T
    keys = np.stack([order_keys(target, start), order_keys(target, end)], axis=1)
    in_memory = overlaps(keys, memory)
    file, page = file[in_memory.row], page[in_memory.row] + in_memory.start - keys[in_memory.row, 0]
    # Parts that go on in another piece are cut there.
    first, beyond = page // _PIECE_PAGES, (page + in_memory.size - 1) // _PIECE_PAGES
    row, place = expand(beyond - first + 1)
    piece = first[row] + place
    low = np.maximum(page[row], piece * _PIECE_PAGES)
    high = np.minimum((page + in_memory.size)[row], (piece + 1) * _PIECE_PAGES)
    low_key = in_memory.start[row] + low - page[row]
    order = np.lexsort((low_key, piece, file[row]))
    runs = Runs.of(file[row][order], piece[order])
    several = runs.lengths > 1
    kept = order[several[runs.number]] if len(order) else order
    number = np.repeat(np.arange(np.count_nonzero(several)), runs.lengths[several])
    columns = (low_key, low_key + high - low, low % _PIECE_PAGES)
    return np.stack([*(column[kept] for column in columns), number], axis=1)


def _batches(rows: NDArray[np.int64]) -> list[slice]:
    """Rows of whole pieces, of not too many pages at once."""
    if not len(rows):
        return []
    runs = Runs.of(rows[:, 3])
    pages = running_total(runs.sum(rows[:, 1] - rows[:, 0]))[:-1]
    batch = Runs.of(np.arange(len(runs)) // _PIECES_AT_ONCE, pages // _PAGES_AT_ONCE)
    return [slice(low, high) for low, high in pairwise(runs.bounds[batch.bounds].tolist())]


def _ranges_of(marks: NDArray[np.bool_], pages: FollowedPages) -> Ranges:
    """The marked pages (flat) as ranges of order keys."""
    begins, ends = marks.copy(), marks.copy()
    begins[1:] &= ~marks[:-1]
    ends[:-1] &= ~marks[1:]
    gaps = pages.stretches.offsets[1:-1]
    begins[gaps], ends[gaps - 1] = marks[gaps], marks[gaps - 1]
    first, last = (pages.keys_at(np.flatnonzero(places)) for places in (begins, ends))
    return np.stack([first, last + 1], axis=1)
