"""Exact scanning: where page tables are, and every accessed bit in them, a table at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetGoneError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import EMPTY, intersect, join, keyed, order_keys
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.spots import SPOT_BYTES
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.madvise import clear_ranges
from pydamon._observe.linux.pages import PageFlags
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.ebpf.btf import GONE
from pydamon._observe.probes.ebpf.machine import Machine

__all__ = ["PageRows", "Scanner", "file_ranges", "populated"]

_BLOCK_SHIFT = 21
_PRESENT, _LEAF_BIT = np.uint64(1), np.uint64(1 << 7)
_USER_ENTRIES = 256
"""Of the highest level: the other half is the kernel's."""


def populated(machine: Machine, count: int) -> list[Ranges]:
    """Where each of the first *count* targets has page tables or huge pages: whole 2 MiB."""
    if not count:
        return []
    targets = np.arange(count)
    addresses = np.zeros(count, np.int64)
    sizes = np.zeros(count, np.int64)
    shift = machine.top_shift
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    while len(addresses):
        targets, addresses, is_whole = _entries(machine, targets, addresses, shift)
        is_whole |= shift == _BLOCK_SHIFT
        sizes = np.full(int(is_whole.sum()), 1 << shift, np.int64)
        found.append((targets[is_whole], addresses[is_whole], sizes))
        targets, addresses = targets[~is_whole], addresses[~is_whole]
        shift -= 9
    target, start, size = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((start, target))
    target, bounds = target[order], np.stack([start, start + size], axis=1)[order]
    parts = np.searchsorted(target, np.arange(count + 1))
    return [join(bounds[low:high]) for low, high in pairwise(parts)]


def _entries(
    machine: Machine, targets: NDArray[np.int64], addresses: NDArray[np.int64], shift: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The entries in use of some tables: target and address of each, and which are huge pages."""
    parts = []
    used_entries = _USER_ENTRIES if shift == machine.top_shift else 512
    for at, tables, parents in machine.copies(targets, addresses, shift):
        there = (parents != 0) & (parents != GONE)
        entries = np.where(there[:, None], tables, np.uint64(0))[:, :used_entries]
        table, index = np.nonzero(entries)
        entry = entries[table, index]
        # What is not present, but not empty either, is a huge page that is being moved.
        is_whole = ((entry & _LEAF_BIT) != 0) | ((entry & _PRESENT) == 0)
        parts.append((targets[at + table], addresses[at + table] + (index << shift), is_whole))
    joint = (np.concatenate(column) for column in zip(*parts, strict=True))
    target, address, is_whole = joint
    return target, address, is_whole


_PTES = 512
_TABLE_BYTES = _PTES * PAGE_SIZE
_PAGE_SHIFT = 12
_SPOT_PAGES = SPOT_BYTES // PAGE_SIZE
_MAPPED, _ACCESSED, _LEAF, _SPECIAL = 1 | 1 << 8, 1 << 5, 1 << 7, 1 << 9
"""Bits of an entry; mapped is PRESENT or PROTNONE, which sampler.bpf.c explains."""
_HUGE_SHIFT = 21
_BLOCK_PAGES = 16
"""Clearing 16 neighbours costs what clearing one page does: the flush of the TLB dominates."""
_GAP_PAGES = 128
"""Two ranges are cleared as one over a gap up to this: 60 ns a page in it, 10 us a range more."""
_KEY_PAGES = np.int64((1 << 44) - 1)
"""The part of a key (`order_keys`) that is a page number; above it stands the target."""


@dataclass(frozen=True)
class PageRows:
    """The entries of the page tables that map some stretches.

    `bits` are the low bits of the entries of each row, shape (rows, 512), and `keys` those of
    their first pages (`order_keys`); `huge` marks rows that one huge page maps, `gone` those of
    targets that are gone. `first` is where the pages of each stretch begin in the flattened rows,
    and `rows` how many rows each has.
    """

    stretches: Stretches
    bits: NDArray[np.uint16]
    keys: NDArray[np.int64]
    huge: NDArray[np.bool_]
    gone: NDArray[np.bool_]
    first: NDArray[np.int64]
    rows: NDArray[np.int64]

    def flat(self, marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What *marks* say of each row and page, shape (rows, 512), for the stretches' pages."""
        pages = marks.reshape(-1)
        bounds = zip(self.first.tolist(), self.stretches.pages.tolist(), strict=True)
        parts = [pages[first : first + count] for first, count in bounds]
        return np.concatenate([np.zeros(0, np.bool_), *parts])

    def spread(self, flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The inverse of `flat`: False for pages of the rows that are in no stretch."""
        marks = np.zeros(self.bits.size, np.bool_)
        offsets = self.stretches.offsets.tolist()
        for first, (begin, end) in zip(self.first.tolist(), pairwise(offsets), strict=True):
            marks[first : first + end - begin] = flat[begin:end]
        return marks.reshape(-1, _PTES)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which pages are mapped: shape (rows, 512)."""
        present: NDArray[np.bool_] = (self.bits & _MAPPED) != 0
        return present

    @property
    def accessed(self) -> NDArray[np.bool_]:
        """Which of them have their accessed bit set: shape (rows, 512)."""
        accessed: NDArray[np.bool_] = self.present & ((self.bits & _ACCESSED) != 0)
        return accessed

    @property
    def gone_stretches(self) -> NDArray[np.bool_]:
        """Which stretches lie in targets that are gone."""
        heads = np.cumsum(self.rows) - self.rows
        return self.gone[heads] if len(heads) else np.zeros(0, np.bool_)


class Scanner:
    """Reads and clears the accessed bits of some targets.

    Only memory is cleared: one mapping that cannot be advised, such as the kernel's own pages,
    makes the kernel refuse a whole range. Files are cleared in blocks of 2 MiB, because the kernel
    splits large folios of which a part is advised.
    """

    def __init__(
        self,
        machine: Machine,
        processes: Sequence[Process],
        mappings: Sequence[MappingTable],
        flags: Sequence[PageFlags],
    ) -> None:
        self._machine = machine
        self._processes = processes
        self._flags = flags
        self._memory = keyed([table.runs for table in mappings])
        self._files = keyed([file_ranges(table) for table in mappings])

    def read(self, stretches: Stretches) -> PageRows:
        """The entries of all pages; nothing is changed."""
        first = stretches.start // _TABLE_BYTES
        rows = -(-stretches.end // _TABLE_BYTES) - first
        within = np.arange(int(rows.sum())) - np.repeat(np.cumsum(rows) - rows, rows)
        targets = np.repeat(stretches.target, rows)
        addresses = (np.repeat(first, rows) + within) * _TABLE_BYTES
        bits, huge, gone = self._copied(targets, addresses)
        skipped = stretches.start // PAGE_SIZE - first * _PTES
        return PageRows(
            stretches,
            bits,
            order_keys(targets, addresses),
            huge,
            gone,
            (np.cumsum(rows) - rows) * _PTES + skipped,
            rows,
        )

    def clear(
        self, found: PageRows, accessed: NDArray[np.bool_], stuck_before: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Clear the pages that were *accessed*, in whole blocks; which could not be cleared.

        Both are flat, as the stretches have them. Pages that were *stuck_before* are not tried.
        """
        stuck = accessed & stuck_before
        wanted = found.spread(accessed & ~stuck)
        rows = np.flatnonzero(wanted.any(axis=1))
        if not len(rows):
            return stuck
        coarse = found.huge | self._in_files(found.keys)
        refused = self._advise_cold(_ranges_of(wanted[rows], found.keys[rows], coarse[rows]))
        keys = found.keys[rows]
        bits, _, _ = self._copied(keys >> 44, (keys & _KEY_PAGES) * PAGE_SIZE, wanted[rows])
        left = np.zeros_like(wanted)
        left[rows] = wanted[rows] & ((bits & _MAPPED) != 0) & ((bits & _ACCESSED) != 0)
        return stuck | self._cannot_be_cleared(found.stretches, found.flat(left), refused)

    def read_spots(
        self, target: int, spots: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pages of each spot are accessed, shape (n, 64), and which lie in a huge page.

        Raises `TargetGoneError` where the target has no memory any more.
        """
        part = spots % _TABLE_BYTES // SPOT_BYTES
        wanted = np.arange(_PTES) // _SPOT_PAGES == part[:, None]
        bits, huge, gone = self._copied(np.full(len(spots), target), spots, wanted)
        if gone.any():
            raise TargetGoneError("its memory is gone: it has exited, or called exec")
        mine = bits.reshape(len(spots), _PTES // _SPOT_PAGES, _SPOT_PAGES)[
            np.arange(len(spots)), part
        ]
        return ((mine & _MAPPED) != 0) & ((mine & _ACCESSED) != 0), huge

    def clear_spots(
        self, target: int, spots: NDArray[np.int64], accessed: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Clear the spots with anything *accessed*; which of them could not be cleared.

        All of 2 MiB is cleared where a large folio would be split otherwise.
        """
        stuck = np.zeros(len(spots), np.bool_)
        wanted = np.flatnonzero(accessed.any(axis=1))
        if not len(wanted):
            return stuck
        _, huge = self.read_spots(target, spots[wanted])
        tables = spots[wanted] // _TABLE_BYTES * _TABLE_BYTES
        targets = np.full(len(wanted), target)
        whole = huge | self._in_files(order_keys(targets, tables))
        start = np.where(whole, tables, spots[wanted])
        length = np.where(whole, _TABLE_BYTES, SPOT_BYTES)
        start, first = np.unique(start, return_index=True)
        keys = order_keys(np.full(len(start), target), start)
        self._advise_cold(np.stack([keys, keys + length[first] // PAGE_SIZE], axis=1))
        after, _ = self.read_spots(target, spots[wanted])
        before = accessed[wanted]
        # Nothing at all was cleared: all of it was touched again at once, or none of it can be.
        for index in np.flatnonzero((after & before).sum(axis=1) == before.sum(axis=1)):
            page = int(spots[wanted[index]]) + int(np.argmax(before[index])) * PAGE_SIZE
            stuck[wanted[index]] = not self._flags[target].can_be_cleared(page)
        return stuck

    def _copied(
        self,
        targets: NDArray[np.int64] | NDArray[np.int32],
        addresses: NDArray[np.int64],
        wanted: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.uint16], NDArray[np.bool_], NDArray[np.bool_]]:
        """The page table that each address of a target goes through.

        The low bits of its entries, shape (n, 512), since all that matters is in the lowest 2 of
        their 8 bytes; and whether it is a huge page, and whether the target is gone, shapes (n,).
        Accesses that another monitor took are read back, where only some pages are *wanted* (shape
        (n, 512)) for those alone.
        """
        bits = np.zeros((len(addresses), _PTES), np.uint16)
        huge, gone = np.zeros((2, len(addresses)), np.bool_)
        for at, tables, parents in self._machine.copies(targets, addresses, _PAGE_SHIFT):
            part = slice(at, at + len(parents))
            bits[part] = tables.view(np.uint16)[:, ::4]
            gone[part] = parents == GONE
            huge[part] = ((parents & np.uint64(_LEAF)) != 0) & ~gone[part]
            whole = (parents == 0) | huge[part]
            bits[part][whole] = parents[whole, None].astype(np.uint16)
            if self._machine.reads_back:
                of_part = None if wanted is None else wanted[part]
                self._read_back(bits[part], tables, parents, whole | gone[part], of_part)
        bits[gone] = 0
        return bits, huge, gone

    def _read_back(
        self,
        bits: NDArray[np.uint16],
        tables: NDArray[np.uint64],
        parents: NDArray[np.uint64],
        without_table: NDArray[np.bool_],
        wanted: NDArray[np.bool_] | None,
    ) -> None:
        """Mark in *bits* as accessed what only another monitor found to be."""
        asked = ((bits & _MAPPED) != 0) & ((bits & (_ACCESSED | _SPECIAL)) == 0)
        if wanted is not None:
            asked &= wanted
        huge = np.flatnonzero(without_table & asked.any(axis=1))
        bits[huge[self._machine.young(parents[huge], _HUGE_SHIFT)]] |= _ACCESSED
        row, page = np.nonzero(asked & ~without_table[:, None])
        young = self._machine.young(tables[row, page])
        bits[row[young], page[young]] |= _ACCESSED

    def _in_files(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which rows hold a part of a file: many file systems cache them in large folios."""
        first = np.searchsorted(self._files[:, 1], keys, side="right")
        return first < np.searchsorted(self._files[:, 0], keys + _PTES)

    def _advise_cold(self, ranges: Ranges) -> Ranges:
        """Clear what of *ranges* (keys) is memory; the ranges that were refused."""
        mapped = intersect(ranges, self._memory)
        start = (mapped[:, 0] & _KEY_PAGES) * PAGE_SIZE
        iovecs = np.stack([start, (mapped[:, 1] - mapped[:, 0]) * PAGE_SIZE], axis=1)
        target = mapped[:, 0] >> 44
        heads = np.flatnonzero(np.diff(target, prepend=-1, append=-1))
        refused = [EMPTY]
        for first, last in pairwise(heads.tolist()):
            process = self._processes[int(target[first])]
            rows = clear_ranges(process, iovecs[first:last].astype(np.uint64))
            refused.append(mapped[first + rows])
        return np.concatenate(refused)

    def _cannot_be_cleared(
        self, stretches: Stretches, left: NDArray[np.bool_], refused: Ranges
    ) -> NDArray[np.bool_]:
        """Which of the pages that are *left* accessed were not just touched again."""
        index = np.flatnonzero(left)
        stuck = np.zeros(len(left), np.bool_)
        if not len(index):
            return stuck
        stretch = np.searchsorted(stretches.offsets, index, side="right") - 1
        keys = stretches.keys[stretch, 0] + index - stretches.offsets[stretch]
        heads = np.append(np.flatnonzero(np.diff(keys, prepend=-2) != 1), len(keys))
        for first, last in pairwise(heads.tolist()):
            key = int(keys[first])
            address = (key & int(_KEY_PAGES)) * PAGE_SIZE
            exclusive = self._flags[key >> 44].exclusive(address, last - first)
            stuck[index[first:last]] = ~exclusive
        if len(refused):
            at = np.searchsorted(refused[:, 0], keys, side="right") - 1
            stuck[index] |= (at >= 0) & (keys < refused[at, 1])
        return stuck


def _ranges_of(
    wanted: NDArray[np.bool_], keys: NDArray[np.int64], coarse: NDArray[np.bool_]
) -> Ranges:
    """Ranges (of keys) that hold every wanted page of some rows, in whole blocks or whole rows."""
    by_block = wanted.reshape(len(wanted), -1, _BLOCK_PAGES)
    blocks = np.logical_or.reduce(by_block, axis=2)
    blocks[coarse] = True
    row, block = np.nonzero(blocks)
    start = np.unique(keys[row] + block * _BLOCK_PAGES)
    apart = np.diff(start) - _BLOCK_PAGES > _GAP_PAGES
    first, last = start[np.append(True, apart)], start[np.append(apart, True)]
    return np.stack([first, last + _BLOCK_PAGES], axis=1)


def file_ranges(mappings: MappingTable) -> Ranges:
    """Where files are mapped: many file systems cache them in large folios."""
    ranges = [(m.start, m.end) for m in mappings.mappings if m.name.startswith("/")]
    return np.array(ranges, np.int64).reshape(-1, 2)
