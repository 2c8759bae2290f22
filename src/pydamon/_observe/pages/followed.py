"""The pages that are followed: a stamp for each, in blocks of 2 MiB.

Where there is too much memory to follow all of it, a pseudo-random part of the blocks stands for
the rest: *spatial sampling*, as in "Efficient MRC Construction with SHARDS" (FAST 2015). A block
is in or out by a hash of its place, so that it stays for as long as the target has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_ages import BLOCK_PAGES, BUCKETS, AgeSums
from pydamon._model.ranges import (
    EMPTY,
    PAGE_SIZE,
    Ranges,
    from_order_keys,
    keyed,
    order_keys,
    subtract,
)
from pydamon._model.runs import Runs, expand, group_bounds
from pydamon._model.stretches import Stretches
from pydamon._observe.pages.look_times import ABSENT, UNKNOWN

__all__ = ["FollowedPages", "RegionSums", "Returns"]

_BLOCK_SHIFT = 9
_MIX = np.uint64(0x9E3779B97F4A7C15)
_LARGE_PAGES, _ROWS_AT_ONCE = 2**12, 64
"""Regions with more pages are counted one by one, all others so many at once."""
_PAGES_AT_ONCE = _LARGE_PAGES * _ROWS_AT_ONCE
"""To count takes 8 bytes a page."""
_STAMPS = 256
_LEAST_PAGES = 1 / 8
"""Less than so much of a page, spread over buckets, does not count."""
_MOST_MOVES = 64
"""So many pieces of memory that are gone are looked for elsewhere."""


class RegionSums(NamedTuple):
    """The ages of the pages of regions, and which share of each region is in memory.

    That is NaN where not all pages of a region are followed.
    """

    ages: AgeSums
    in_memory: NDArray[np.float64]


class Returns:
    """Pages that were accessed again after a rest: where, and how long the rest was."""

    def __init__(self) -> None:
        self._keys: list[NDArray[np.int64]] = []
        self._buckets: list[NDArray[np.int64]] = []

    def add(self, keys: NDArray[np.int64], buckets: NDArray[np.int64]) -> None:
        """Note the order keys of pages, and the buckets of their idle times."""
        self._keys.append(keys)
        self._buckets.append(buckets)

    def take(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All that were noted, which are forgotten then."""
        none = np.zeros(0, np.int64)
        keys, buckets = (np.concatenate([none, *parts]) for parts in (self._keys, self._buckets))
        self._keys, self._buckets = [], []
        return keys, buckets


class FollowedPages:
    """The stamps of the pages of all targets, and where those pages lie."""

    def __init__(self, *, by_address: bool = False) -> None:
        self.share = 1.0
        """The part of all blocks that is followed."""
        self._by_address = by_address
        """Whether a part has the same addresses in all targets, all over their memory."""
        self._ranges = EMPTY
        """The memory of all targets, as ranges of order keys."""
        self._moved: list[tuple[int, NDArray[np.uint8]]] = []
        """Order keys of memory that may have come from elsewhere, and the stamps it had there."""
        self._vanished: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
        """Pages that the last look did not find any more: their sorted order keys, and stamps."""
        self._blocks = np.zeros(0, np.int64)
        """The order keys of the first pages, divided by `BLOCK_PAGES`: sorted."""
        self._stamps = np.zeros((0, BLOCK_PAGES), np.uint8)
        self._busy = np.zeros((0, BLOCK_PAGES // 8), np.uint8)
        """A bit for each page: whether it is accessed all the time."""
        self._versions: NDArray[np.uint8] | None = None
        """See `versions`: shape (blocks, BLOCK_PAGES); `None` while all are 0."""

    def __len__(self) -> int:
        """How many pages are followed."""
        return self._stamps.size

    def fit(self, ranges: Sequence[Ranges]) -> None:
        """Follow the memory that each target has now; what stays keeps its stamps."""
        keys = keyed(ranges)
        moves = _moves(self._ranges, keys)
        self._moved = [(new, self._stamps_before(old, pages)) for old, new, pages in moves]
        self._ranges = keys
        blocks = _sampled(_blocks_of(keys), self.share, by_address=self._by_address)
        if np.array_equal(blocks, self._blocks):
            return
        stamps = np.full((len(blocks), BLOCK_PAGES), ABSENT, np.uint8)
        row, inside = self._rows_of(blocks)
        stamps[inside] = self._stamps[row[inside]]
        busy = np.zeros((len(blocks), BLOCK_PAGES // 8), np.uint8)
        busy[inside] = self._busy[row[inside]]
        if self._versions is not None:
            versions = np.zeros_like(stamps)
            versions[inside] = self._versions[row[inside]]
            self._versions = versions
        self._blocks, self._stamps, self._busy = blocks, stamps, busy

    def ranges(self, targets: int) -> list[Ranges]:
        """The followed memory of so many targets."""
        stretches = self.stretches
        bounds = np.stack([stretches.start, stretches.end], axis=1)
        return [bounds[low:high] for low, high in pairwise(group_bounds(stretches.target, targets))]

    def count(self, ranges: Sequence[Ranges]) -> int:
        """How many blocks would be followed if all were."""
        return len(_blocks_of(keyed(ranges)))

    def restore_moved(self, part: slice, old: NDArray[np.bool_]) -> None:
        """Give pages in a part of all that came from elsewhere (mremap) the stamps they had there.

        *old* says which are in memory without having been accessed: pages that are new have their
        accessed bit set, by the fault that made them.
        """
        for key, stamps_there in self._moved:
            keys = np.arange(key, key + len(stamps_there))
            inside = self._rows_of(keys >> _BLOCK_SHIFT)[1]
            places, stamps = self.places_of(keys), stamps_there[inside]
            known = (places >= part.start) & (places < part.stop) & (stamps != UNKNOWN)
            places, stamps = places[known], stamps[known]
            moved = old[places - part.start] & (self.flat[places] == ABSENT)
            self.flat[places[moved]] = stamps[moved]

    def vanish(self, part: slice, absent: NDArray[np.bool_]) -> None:
        """The *absent* pages in a part of all are not in memory any more.

        A look may find them gone before anybody knows where they have moved: so `fit` still knows
        their stamps until `forget_vanished`.
        """
        stamps = self.flat[part]
        places = np.flatnonzero(absent & (stamps != ABSENT))
        if len(places):
            self._vanished.append((self.keys_at(part.start + places), stamps[places]))
            stamps[places] = ABSENT
            if self._versions is not None:
                self._versions.reshape(-1)[part][places] = 0

    def forget_moved(self) -> None:
        """No page comes from elsewhere any more, until `fit` says so."""
        self._moved = []

    def forget_vanished(self) -> None:
        """Another look begins."""
        self._vanished = []

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Give each target its new number; targets with the number -1 are gone."""
        target, address = from_order_keys(self._blocks << _BLOCK_SHIFT)
        number = numbers[target]
        kept = np.flatnonzero(number >= 0)
        blocks = order_keys(number[kept], address[kept]) >> _BLOCK_SHIFT
        self._ranges, self._moved, self._vanished = EMPTY, [], []
        order = np.argsort(blocks)
        rows = kept[order]
        self._blocks, self._stamps, self._busy = (
            blocks[order],
            self._stamps[rows],
            self._busy[rows],
        )
        if self._versions is not None:
            self._versions = self._versions[rows]

    @property
    def stretches(self) -> Stretches:
        """All followed memory: its flat arrays have the pages in the order of the stamps."""
        runs = Runs.split(np.diff(self._blocks) != 1, len(self._blocks))
        target, start = from_order_keys(self._blocks[runs.heads] << _BLOCK_SHIFT)
        size = runs.lengths.astype(np.int64) * BLOCK_PAGES * PAGE_SIZE
        return Stretches(target.astype(np.int32), start, start + size)

    def merge(self, stamps: NDArray[np.uint8]) -> None:
        """Give each page its new stamp, by the old one."""
        self._stamps = stamps[self._stamps]
        self._vanished = [(keys, stamps[before]) for keys, before in self._vanished]

    def places_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in a flat array the pages with these order keys stand; without those that are not
        followed."""
        row, inside = self._rows_of(keys >> _BLOCK_SHIFT)
        return row[inside] * BLOCK_PAGES + (keys[inside] & (BLOCK_PAGES - 1))

    def _rows_of(self, blocks: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where the blocks are, or would be; and whether they are there."""
        row = np.searchsorted(self._blocks, blocks)
        inside = row < len(self._blocks)
        inside[inside] = self._blocks[row[inside]] == blocks[inside]
        return row, inside

    def keys_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The order keys of the pages at some places of a flat array."""
        first: NDArray[np.int64] = self._blocks[places >> _BLOCK_SHIFT] << _BLOCK_SHIFT
        return first + (places & (BLOCK_PAGES - 1))

    @property
    def flat(self) -> NDArray[np.uint8]:
        """The stamps of all pages, which may be set."""
        return self._stamps.reshape(-1)

    @property
    def busy(self) -> NDArray[np.bool_]:
        """Which pages (flat) are accessed all the time."""
        return np.unpackbits(self._busy.reshape(-1), bitorder="little").view(np.bool_)

    @busy.setter
    def busy(self, pages: NDArray[np.bool_]) -> None:
        self._busy = np.packbits(pages, bitorder="little").reshape(-1, BLOCK_PAGES // 8)

    @property
    def versions(self) -> NDArray[np.uint8] | None:
        """Which of the pages that forked processes have at an address each page (flat) is.

        Those with the same version are one page; 0 is a page that no other target has. `None` if no
        page is another target's, too.
        """
        return None if self._versions is None else self._versions.reshape(-1)

    @versions.setter
    def versions(self, pages: NDArray[np.uint8] | None) -> None:
        self._versions = None if pages is None else pages.reshape(-1, BLOCK_PAGES)

    def busy_in(self, part: slice) -> NDArray[np.bool_]:
        """The same of a part of all pages, which holds whole blocks."""
        rows = slice(part.start // BLOCK_PAGES, part.stop // BLOCK_PAGES)
        return np.unpackbits(self._busy[rows].reshape(-1), bitorder="little").view(np.bool_)

    def stamps_in(self, start_key: int, pages: int) -> NDArray[np.uint8]:
        """The stamps of so many pages from an order key on; `ABSENT` where none are followed."""
        stamps = np.full(pages, ABSENT, np.uint8)
        low, high = start_key >> _BLOCK_SHIFT, (start_key + pages - 1) >> _BLOCK_SHIFT
        rows = slice(*np.searchsorted(self._blocks, [low, high + 1]).tolist())
        for block, row in zip(self._blocks[rows].tolist(), self._stamps[rows], strict=True):
            at = (block << _BLOCK_SHIFT) - start_key
            first, beyond = max(at, 0), min(at + BLOCK_PAGES, pages)
            stamps[first:beyond] = row[first - at : beyond - at]
        return stamps

    def _stamps_before(self, start_key: int, pages: int) -> NDArray[np.uint8]:
        """The same, as it was before the last look."""
        stamps = self.stamps_in(start_key, pages)
        for keys, before in self._vanished:
            first, beyond = np.searchsorted(keys, [start_key, start_key + pages])
            stamps[keys[first:beyond] - start_key] = before[first:beyond]
        return stamps

    def sums(
        self,
        regions: Ranges,
        spread: NDArray[np.float64],
        returns: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> RegionSums:
        """Add up the ages in regions, which are sorted ranges of order keys.

        *spread* says which part of the pages of each stamp counts in each bucket: shape
        (256, `BUCKETS`).
        """
        counts = self._by_stamp(regions)
        pages = regions[:, 1] - regions[:, 0]
        in_memory = np.where(counts.sum(axis=1) == pages, 1 - counts[:, ABSENT] / pages, np.nan)
        counts[:, [ABSENT, UNKNOWN]] = 0
        resident = _spread_out(counts, spread).reshape(-1)
        keys, bucket = returns
        inside = np.searchsorted(regions[:, 0], keys, side="right") - 1
        known = (inside >= 0) & (keys < regions[inside, 1] if len(regions) else False)
        cells = inside[known] * BUCKETS + bucket[known]
        returned = np.bincount(cells, minlength=len(resident))
        cell = np.flatnonzero((resident >= _LEAST_PAGES) | (returned > 0))
        page_bytes = PAGE_SIZE / self.share
        resident_bytes, returned_bytes = (
            np.rint(pages[cell] * page_bytes).astype(np.int64) for pages in (resident, returned)
        )
        ages = AgeSums(cell // BUCKETS, cell % BUCKETS, resident_bytes, returned_bytes)
        return RegionSums(ages, in_memory)

    def _by_stamp(self, regions: Ranges) -> NDArray[np.int64]:
        """How many pages of each region have each stamp: shape (regions, 256)."""
        edges = self._edges(regions.reshape(-1))
        # Between two regions there may be pages that belong to neither: every second row.
        counts = np.zeros((2 * len(regions), _STAMPS), np.int64)
        first, lengths = edges, np.diff(edges, append=edges[-1:])
        large = lengths > _LARGE_PAGES
        for row in np.flatnonzero(large[::2]).tolist():
            pages = self.flat[first[2 * row] :][: lengths[2 * row]]
            for at in range(0, len(pages), _PAGES_AT_ONCE):
                chunk = pages[at : at + _PAGES_AT_ONCE]
                counts[2 * row] += np.bincount(chunk, minlength=_STAMPS)
        for low, high in _without(large):
            part = slice(low, high)
            rows = np.repeat(np.arange(high - low, dtype=np.int32), lengths[part])
            stamps = self.flat[first[low] :][: len(rows)]
            cells = np.bincount(rows * _STAMPS + stamps, minlength=(high - low) * _STAMPS)
            counts[part] = cells.reshape(-1, _STAMPS)
        return counts[::2]

    def _edges(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in a flat array the first page is that does not come before each key."""
        row, inside = self._rows_of(keys >> _BLOCK_SHIFT)
        return row * BLOCK_PAGES + np.where(inside, keys & (BLOCK_PAGES - 1), 0)


def _without(large: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of rows that are not large, each of not too many."""
    for first, beyond in Runs.of(large):
        if not large[first]:
            yield from pairwise([*range(first, beyond, _ROWS_AT_ONCE), beyond])


def _moves(before: Ranges, now: Ranges) -> list[tuple[int, int, int]]:
    """Memory that may have moved: its old and its new order key, and how many pages.

    Each piece that is gone may be the beginning of a new one of its target that is as large: the
    smallest such piece.
    """
    gone, new = subtract(before, now), subtract(now, before)
    moves, taken = [], np.zeros(len(new), np.bool_)
    new_target, _ = from_order_keys(new[:, 0])
    old_target, _ = from_order_keys(gone[:, 0])
    size = new[:, 1] - new[:, 0]
    by_size = np.argsort(gone[:, 0] - gone[:, 1], kind="stable")[:_MOST_MOVES].tolist()
    for index in by_size:
        pages = int(gone[index, 1] - gone[index, 0])
        fits = np.flatnonzero((new_target == old_target[index]) & (size >= pages) & ~taken)
        if len(fits):
            place = int(fits[np.argmin(size[fits])])
            taken[place] = True
            moves.append((int(gone[index, 0]), int(new[place, 0]), pages))
    return moves


def _blocks_of(keys: Ranges) -> NDArray[np.int64]:
    first, beyond = keys[:, 0] >> _BLOCK_SHIFT, ((keys[:, 1] - 1) >> _BLOCK_SHIFT) + 1
    row, place = expand(beyond - first)
    blocks = first[row] + place
    return blocks[np.append(True, blocks[1:] != blocks[:-1])] if len(blocks) else blocks


def _sampled(blocks: NDArray[np.int64], share: float, *, by_address: bool) -> NDArray[np.int64]:
    if share >= 1:
        return blocks
    if not by_address:
        return blocks[_mixed(blocks) < np.uint64(share * 2**32)]
    # One of so many neighbours: what is the same in a row of blocks is told with little error.
    places = from_order_keys(blocks << _BLOCK_SHIFT)[1] // (BLOCK_PAGES * PAGE_SIZE)
    most = round(1 / share)
    chosen = _mixed(places // most).astype(np.int64) % most
    sampled: NDArray[np.int64] = blocks[places % most == chosen]
    return sampled


def _mixed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A pseudo-random number below 2**32 for each number."""
    mixed = numbers.astype(np.uint64) * _MIX
    mixed ^= mixed >> np.uint64(29)
    mixed *= _MIX
    return mixed >> np.uint64(32)


def _spread_out(counts: NDArray[np.int64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix product, of which most factors are 0: NumPy's own keeps all CPUs busy with it."""
    bucket, stamp = np.nonzero(spread.T)
    products = counts[:, stamp] * spread[stamp, bucket]
    sums = np.zeros((len(counts), spread.shape[1]))
    if len(bucket):
        begins = np.flatnonzero(np.diff(bucket, prepend=-1))
        sums[:, bucket[begins]] = np.add.reduceat(products, begins, axis=1)
    return sums
