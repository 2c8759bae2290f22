"""Exact scanning: read and clear the accessed bits of every page, a page table at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import (
    EMPTY,
    PAGE_SIZE,
    Ranges,
    contains,
    from_order_keys,
    intersect,
    join,
    keyed,
    order_keys,
    touches,
)
from pydamon._model.runs import Runs, expand, unique
from pydamon._model.spots import SPOT_BYTES
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.arch import (
    HUGE_BYTES,
    PAGE_SHIFT,
    TABLE_BYTES,
    TABLE_ENTRIES,
)
from pydamon._observe.linux.page_tables import PAGE_TABLES
from pydamon._observe.linux.pagemap import ProcessPages
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.base import Accessed
from pydamon._observe.probes.ebpf.btf import GONE
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.readback import CopiedTables, mark_taken
from pydamon._observe.probes.ebpf.stuck import ClearedBefore

__all__ = ["PageRows", "Scanner", "file_ranges"]

_SPOT_PAGES = SPOT_BYTES // PAGE_SIZE
_HUGE_PAGES = HUGE_BYTES // PAGE_SIZE
"""Of a huge page, which several rows stand for where pages have more than 4 KiB."""
_BLOCK_PAGES = 16
"""Clearing 16 neighbours costs what clearing one page does: the flush of the TLB dominates."""
_FAR_PAGES = 256
"""To ask for so many pages more costs what another system call does."""
_GAP_PAGES = 128
"""Ranges with a gap up to this are cleared as one: 60 ns a page of the gap, 10 us a range more."""


class PageRows(NamedTuple):
    """The page tables that map some stretches: a row for each, with 512 entries."""

    stretches: Stretches
    bits: NDArray[np.uint16]
    """The low bits of the entries: shape (rows, 512)."""
    keys: NDArray[np.int64]
    """The order key of the first page of each row."""
    huge: NDArray[np.bool_]
    """Whether a huge page maps the whole row."""
    gone: NDArray[np.bool_]
    """Whether the target of the row is gone."""
    first: NDArray[np.int64]
    """Where the pages of each stretch begin in the flattened rows."""
    counts: NDArray[np.int64]
    """How many rows each stretch has."""

    def flat(self, marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The marks of the stretches' pages (flat), out of marks of shape (rows, 512)."""
        pages = marks.reshape(-1)
        places = zip(self.first.tolist(), self.stretches.pages.tolist(), strict=True)
        parts = [pages[first : first + count] for first, count in places]
        return np.concatenate([np.zeros(0, np.bool_), *parts])

    def spread(self, flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The inverse of `flat`: False for pages of the rows that are in no stretch."""
        marks = np.zeros(self.bits.size, np.bool_)
        for first, pages in zip(self.first.tolist(), self.stretches.slices(), strict=True):
            marks[first : first + pages.stop - pages.start] = flat[pages]
        return marks.reshape(-1, TABLE_ENTRIES)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which pages are mapped: shape (rows, 512)."""
        return PAGE_TABLES.is_mapped(self.bits)

    @property
    def accessed(self) -> NDArray[np.bool_]:
        """Which of them have their accessed bit set: shape (rows, 512)."""
        return PAGE_TABLES.is_accessed(self.bits)

    @property
    def gone_stretches(self) -> NDArray[np.bool_]:
        """Which stretches lie in targets that are gone."""
        heads = np.cumsum(self.counts) - self.counts
        return self.gone[heads] if len(heads) else np.zeros(0, np.bool_)


class SpotBits(NamedTuple):
    """What the page tables say of spots."""

    accessed: NDArray[np.bool_]
    """Which pages have their accessed bit set: shape (n, 64)."""
    huge: NDArray[np.bool_]
    """Which spots lie in a huge page."""
    gone: NDArray[np.bool_]
    """Which targets have no memory any more: they have exited, or called exec."""

    def of(self, index: NDArray[np.bool_]) -> SpotBits:
        """Those of some spots."""
        return SpotBits(*(column[index] for column in self))


class Scanner:
    """Reads and clears the accessed bits of some targets.

    Only memory is cleared: one mapping that cannot be advised, such as the kernel's own pages,
    makes the kernel refuse a whole range. Files are cleared in blocks of 512 pages: the kernel
    splits large folios of which a part is advised.
    """

    def __init__(
        self,
        machine: Machine,
        processes: Sequence[Process],
        mappings: Sequence[MappingTable],
        pages: Sequence[ProcessPages],
        cleared_before: ClearedBefore,
    ) -> None:
        self._machine = machine
        self._processes = processes
        self._pages = pages
        self._cleared_before = cleared_before
        self._memory = keyed([table.runs for table in mappings])
        self._files = keyed([file_ranges(table) for table in mappings])

    def read(self, stretches: Stretches, *, sparing: bool = False) -> PageRows:
        """Read the entries of all pages; this changes nothing. *sparing* is for `mark_taken`."""
        first_table = stretches.start // TABLE_BYTES
        counts = -(-stretches.end // TABLE_BYTES) - first_table
        stretch, place = expand(counts)
        targets = stretches.target[stretch]
        addresses = (first_table[stretch] + place) * TABLE_BYTES
        bits, huge, gone = self._copied(targets, addresses, sparing=sparing)
        skipped = stretches.start // PAGE_SIZE - first_table * TABLE_ENTRIES
        return PageRows(
            stretches,
            bits,
            order_keys(targets, addresses),
            huge,
            gone,
            (np.cumsum(counts) - counts) * TABLE_ENTRIES + skipped,
            counts,
        )

    def clear(
        self, rows: PageRows, accessed: NDArray[np.bool_], skipped: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Clear the pages that were *accessed*, in whole blocks, except for the *skipped* ones.

        Returns which accessed pages could not be cleared, the skipped ones included. All are flat.
        """
        stuck = accessed & skipped
        wanted = rows.spread(accessed & ~stuck)
        index = np.flatnonzero(wanted.any(axis=1))
        if not len(index):
            return stuck
        coarse = rows.huge | self._in_files(rows.keys)
        keys = rows.keys[index]
        blocks = _blocks_of(wanted[index], keys, coarse[index], rows.huge[index])
        refused = self._advise_cold(blocks)
        bits, _, _ = self._copied(*from_order_keys(keys), wanted[index])
        left = np.zeros_like(wanted)
        left[index] = wanted[index] & PAGE_TABLES.is_accessed(bits)
        return stuck | self._cannot_be_cleared(rows.stretches, rows.flat(left), refused)

    def cleared_with(self, rows: PageRows, accessed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The accessed pages of some rows that are cleared along with some (flat): (rows, 512)."""
        marks = rows.spread(accessed)
        coarse = (rows.huge | self._in_files(rows.keys)) & marks.any(axis=1)
        marks[coarse] = rows.accessed[coarse]
        return marks

    def tables_at(
        self, targets: NDArray[np.int64] | NDArray[np.int32], addresses: NDArray[np.int64]
    ) -> Accessed:
        """The page tables that map some addresses: keys, and which pages are accessed (n, 512)."""
        addresses = addresses // TABLE_BYTES * TABLE_BYTES
        bits, huge, _ = self._copied(targets, addresses)
        return _with_whole_pages(order_keys(targets, addresses), bits, huge)

    def copied_tables(self) -> Callable[[], Accessed]:
        """What tells the same later, of the tables that a program has copied already."""
        machine = self._machine
        count = machine.control.n_copied
        places = machine.places[:count].copy()
        tables, parents = machine.tables[:count].copy(), machine.parents[:count].copy()
        reads_back = machine.reads_back and not machine.taken_seldom

        def told() -> Accessed:
            addresses = places["addr"].astype(np.int64) // TABLE_BYTES * TABLE_BYTES
            bits, huge, _ = self._low_bits(tables, parents, None, reads_back=reads_back)
            return _with_whole_pages(order_keys(places["target"], addresses), bits, huge)

        if not reads_back:
            return told
        accessed = told()  # what another monitor took may be back, or gone, later
        return lambda: accessed

    def tables_around(self, targets: NDArray[np.int32], spots: NDArray[np.int64]) -> Accessed:
        """The same of what is cleared along with spots, which are sorted."""
        of_spots = order_keys(targets, spots // TABLE_BYTES * TABLE_BYTES)
        keys, row = np.unique(of_spots, return_inverse=True)
        bits, huge, _ = self._copied(*from_order_keys(keys))
        in_spot = np.zeros((len(keys), TABLE_ENTRIES // _SPOT_PAGES), np.bool_)
        in_spot[row, spots % TABLE_BYTES // SPOT_BYTES] = True
        in_spot[huge | self._in_files(keys)] = True
        bits[~in_spot.repeat(_SPOT_PAGES, axis=1)] = 0
        return _with_whole_pages(keys, bits, huge)

    def read_spots(self, targets: NDArray[np.int32], spots: NDArray[np.int64]) -> SpotBits:
        """Read the entries of spots; this changes nothing."""
        part = spots % TABLE_BYTES // SPOT_BYTES
        wanted = np.arange(TABLE_ENTRIES) // _SPOT_PAGES == part[:, None]
        bits, huge, gone = self._copied(targets, spots, wanted)
        by_spot = bits.reshape(len(spots), TABLE_ENTRIES // _SPOT_PAGES, _SPOT_PAGES)
        of_spots = by_spot[np.arange(len(spots)), part]
        return SpotBits(PAGE_TABLES.is_accessed(of_spots), huge, gone)

    def clear_spots(
        self, targets: NDArray[np.int32], spots: NDArray[np.int64], read: SpotBits
    ) -> NDArray[np.bool_]:
        """Clear spots, each with an accessed page; returns which of them could not be cleared.

        Around a large folio, which the kernel would split otherwise, 2 MiB are cleared.
        """
        of_file = self._in_files(order_keys(targets, spots // TABLE_BYTES * TABLE_BYTES))
        length = np.where(read.huge, HUGE_BYTES, np.where(of_file, TABLE_BYTES, SPOT_BYTES))
        keys, first = np.unique(order_keys(targets, spots // length * length), return_index=True)
        self._advise_cold(np.stack([keys, keys + length[first] // PAGE_SIZE], axis=1))
        after = self.read_spots(targets, spots).accessed & read.accessed
        # Where nothing was cleared, all of it was touched again at once, or it cannot be cleared.
        stuck: NDArray[np.bool_] = after.sum(axis=1) == read.accessed.sum(axis=1)
        for index in np.flatnonzero(stuck).tolist():
            page = int(spots[index]) + int(np.argmax(read.accessed[index])) * PAGE_SIZE
            stuck[index] = not self._pages[int(targets[index])].can_be_cleared(page)
        return stuck

    def _copied(
        self,
        targets: NDArray[np.int64] | NDArray[np.int32],
        addresses: NDArray[np.int64],
        wanted: NDArray[np.bool_] | None = None,
        *,
        sparing: bool = False,
    ) -> tuple[NDArray[np.uint16], NDArray[np.bool_], NDArray[np.bool_]]:
        """Copy the page table that maps each address of a target.

        Returns the low bits of its entries, shape (n, 512), since the lowest 2 of their 8 bytes
        have all that matters; and whether it is a huge page, and whether the target is gone, shapes
        (n,). Accesses that another monitor took are read back; where only some pages are *wanted*
        (shape (n, 512)), for those alone.
        """
        bits = np.zeros((len(addresses), TABLE_ENTRIES), np.uint16)
        huge, gone = np.zeros((2, len(addresses)), np.bool_)
        for at, tables, parents in self._machine.copies(targets, addresses, PAGE_SHIFT):
            part = slice(at, at + len(parents))
            of_part = None if wanted is None else wanted[part]
            bits[part], huge[part], gone[part] = self._low_bits(
                tables, parents, of_part, reads_back=self._machine.reads_back, sparing=sparing
            )
        return bits, huge, gone

    def _low_bits(
        self,
        tables: NDArray[np.uint64],
        parents: NDArray[np.uint64],
        wanted: NDArray[np.bool_] | None,
        *,
        reads_back: bool,
        sparing: bool = False,
    ) -> tuple[NDArray[np.uint16], NDArray[np.bool_], NDArray[np.bool_]]:
        """The same of copied tables, and the entries that lead to them."""
        bits = self._machine.low_bits(tables)
        gone = parents == GONE
        huge = PAGE_TABLES.is_leaf(parents) & ~gone
        whole = (parents == 0) | huge
        bits[whole] = parents[whole, None].astype(np.uint16)
        if reads_back:
            copied = CopiedTables(tables, parents, whole | gone)
            mark_taken(self._machine, bits, copied, wanted, sparing=sparing)
        bits[gone] = 0
        return bits, huge, gone

    def _in_files(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows hold a part of a file: many file systems cache them in large folios."""
        return touches(self._files, keys, keys + TABLE_ENTRIES)

    def _advise_cold(self, ranges: Ranges) -> Ranges:
        """Clear the memory in *ranges* of order keys; returns the ranges that were refused."""
        memory = intersect(ranges, self._memory)
        target, start = from_order_keys(memory[:, 0])
        iovecs = np.stack([start, (memory[:, 1] - memory[:, 0]) * PAGE_SIZE], axis=1)
        refused = [EMPTY]
        for first, beyond in Runs.of(target):
            process = self._processes[int(target[first])]
            rows = self._machine.clear_ranges(process, iovecs[first:beyond].astype(np.uint64))
            refused.append(memory[first + rows])
        return np.concatenate(refused)

    def _cannot_be_cleared(
        self, stretches: Stretches, left: NDArray[np.bool_], refused: Ranges
    ) -> NDArray[np.bool_]:
        """Which of the pages that are *left* accessed (flat) were not just touched again."""
        stuck = np.zeros(len(left), np.bool_)
        places = np.flatnonzero(left)
        keys = stretches.keys_at(places)
        order = np.argsort(keys, kind="stable")  # stretches may begin anywhere, and go round
        places, keys = places[order], keys[order]
        asked = self._cleared_before.doubtful(keys)
        exclusive = np.ones(len(keys), np.bool_)
        exclusive[asked] = self._exclusive(keys[asked])
        if not exclusive.all():  # something has changed: a fork, perhaps
            exclusive = self._exclusive(keys)
        self._cleared_before.remember(keys[exclusive])
        stuck[places] = ~exclusive | contains(refused, keys)
        return stuck

    def _exclusive(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether no other process maps each of some pages, in the order of their keys."""
        exclusive = np.zeros(len(keys), np.bool_)
        targets, addresses = from_order_keys(keys)
        for first, beyond in Runs.split(np.diff(keys) > _FAR_PAGES, len(keys)):
            low, count = int(keys[first]), int(keys[beyond - 1] - keys[first]) + 1
            pages = self._pages[int(targets[first])].exclusive(int(addresses[first]), count)
            exclusive[first:beyond] = pages[keys[first:beyond] - low]
        return exclusive


def _with_whole_pages(
    keys: NDArray[np.int64], bits: NDArray[np.uint16], huge: NDArray[np.bool_]
) -> Accessed:
    """Keys of rows, and which of their pages are accessed: all rows of a huge page, if of one."""
    accessed = PAGE_TABLES.is_accessed(bits)
    if HUGE_BYTES == TABLE_BYTES or not huge.any():
        return keys, accessed
    row, place = expand(np.where(huge, _HUGE_PAGES // TABLE_ENTRIES, 1))
    first = np.where(huge, keys // _HUGE_PAGES * _HUGE_PAGES, keys)
    every_key, index = np.unique(first[row] + place * TABLE_ENTRIES, return_index=True)
    return every_key, accessed[row[index]]


def _blocks_of(
    wanted: NDArray[np.bool_],
    keys: NDArray[np.int64],
    coarse: NDArray[np.bool_],
    huge: NDArray[np.bool_],
) -> Ranges:
    """Ranges (of keys) that hold every wanted page of some rows, in whole blocks or whole rows.

    All rows of a huge page belong together.
    """
    by_block = wanted.reshape(len(wanted), -1, _BLOCK_PAGES)
    blocks = np.logical_or.reduce(by_block, axis=2)
    blocks[coarse] = True
    row, block = np.nonzero(blocks)
    of_huge = keys[huge] // _HUGE_PAGES * _HUGE_PAGES
    in_huge = (of_huge[:, None] + np.arange(0, _HUGE_PAGES, _BLOCK_PAGES)).ravel()
    start = unique(np.concatenate([keys[row] + block * _BLOCK_PAGES, in_huge]))
    return join(np.stack([start, start + _BLOCK_PAGES], axis=1), _GAP_PAGES)


def file_ranges(mappings: MappingTable) -> Ranges:
    """Where files are mapped: many file systems cache them in large folios."""
    return mappings.bounds[[m.name.startswith("/") for m in mappings.mappings]]
