"""Exact scanning: every accessed bit of a range, a page table at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pydamon.core.errors import TargetGoneError
from pydamon.core.ranges import intersect
from pydamon.core.regions import PAGE_SIZE, Ranges
from pydamon.core.spots import SPOT_BYTES
from pydamon.probes import madvise
from pydamon.probes.base import PageBits
from pydamon.probes.ebpf.layout import GONE
from pydamon.probes.ebpf.machine import Machine
from pydamon.probes.pageflags import PageFlags

__all__ = ["Scanner"]

_TABLE_BYTES = 512 * PAGE_SIZE
_PAGE_SHIFT = 12
_SPOT_PAGES = SPOT_BYTES // PAGE_SIZE
_MAPPED, _ACCESSED, _LEAF = 1 | 1 << 8, 1 << 5, 1 << 7
"""Bits of an entry; mapped is PRESENT or PROTNONE, which sampler.bpf.c explains."""
_GAP_BYTES = 128 * PAGE_SIZE
"""Two ranges are cleared as one over a gap up to this: 60 ns a page in it, 10 us a range more."""


class Scanner:
    """Reads and clears the accessed bits of one target.

    Only *runs* are cleared, ranges of its memory without a gap: one mapping that cannot be
    advised, such as the kernel's own pages, makes the kernel refuse a whole range.
    """

    def __init__(self, machine: Machine, target: int, pidfd: int, runs: Ranges) -> None:
        self._machine = machine
        self._target = target
        self._pidfd = pidfd
        self._runs = runs

    def read(self, start: int, end: int) -> PageBits:
        """The bits of [start, end); nothing is changed.

        Raises `TargetGoneError` where the target has no memory any more.
        """
        first = start // _TABLE_BYTES
        count = -(-end // _TABLE_BYTES) - first
        bits, huge = self._copied(np.arange(first, first + count) * _TABLE_BYTES)
        skip = (start - first * _TABLE_BYTES) // PAGE_SIZE
        wanted = slice(skip, skip + (end - start) // PAGE_SIZE)
        flat = bits.reshape(-1)[wanted]
        present = (flat & _MAPPED) != 0
        return PageBits(
            start,
            present,
            np.repeat(huge, 512)[wanted],
            present & ((flat & _ACCESSED) != 0),
            np.zeros(len(flat), np.bool_),
        )

    def read_spots(self, spots: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pages of each spot are accessed, shape (n, 64), and which lie in a huge page."""
        bits, huge = self._copied(spots)
        part = spots % _TABLE_BYTES // SPOT_BYTES
        mine = bits.reshape(len(spots), 512 // _SPOT_PAGES, _SPOT_PAGES)[
            np.arange(len(spots)), part
        ]
        return ((mine & _MAPPED) != 0) & ((mine & _ACCESSED) != 0), huge

    def _copied(self, addresses: NDArray[np.int64]) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
        """The low bits of the page table that each address goes through, and which are huge pages.

        Shapes (n, 512) and (n,): all that matters is in the lowest 2 of an entry's 8 bytes.
        """
        bits = np.zeros((len(addresses), 512), np.uint16)
        huge = np.zeros(len(addresses), np.bool_)
        targets = np.full(len(addresses), self._target)
        for at, tables, parents in self._machine.copies(targets, addresses, _PAGE_SHIFT):
            part = slice(at, at + len(parents))
            if (parents == GONE).any():
                raise TargetGoneError("its memory is gone: it has exited, or called exec")
            bits[part] = tables.view(np.uint16)[:, ::4]
            huge[part] = (parents & np.uint64(_LEAF)) != 0
            whole = (parents == 0) | huge[part]
            bits[part][whole] = parents[whole, None].astype(np.uint16)
        return bits, huge

    def clear_spots(
        self,
        spots: NDArray[np.int64],
        accessed: NDArray[np.bool_],
        whole: NDArray[np.bool_],
        flags: PageFlags,
    ) -> NDArray[np.bool_]:
        """Clear the spots with anything *accessed*; which of them could not be cleared.

        *whole* are those where all of 2 MiB must be cleared, lest a large folio is split.
        """
        stuck = np.zeros(len(spots), np.bool_)
        wanted = np.flatnonzero(accessed.any(axis=1))
        start = np.where(whole, spots // _TABLE_BYTES * _TABLE_BYTES, spots)[wanted]
        length = np.where(whole, _TABLE_BYTES, SPOT_BYTES)[wanted]
        start, first = np.unique(start, return_index=True)
        ranges = np.stack([start, start + length[first]], axis=1)
        self._advise_cold(ranges)
        after, _ = self.read_spots(spots[wanted])
        before = accessed[wanted]
        # Nothing at all was cleared: all of it was touched again at once, or none of it can be.
        for index in np.flatnonzero((after & before).sum(axis=1) == before.sum(axis=1)):
            page = int(spots[wanted[index]]) + int(np.argmax(before[index])) * PAGE_SIZE
            stuck[wanted[index]] = not flags.can_be_cleared(page)
        return stuck

    def clear(
        self, bits: PageBits, block: int, flags: PageFlags, stuck_before: NDArray[np.bool_]
    ) -> PageBits:
        """Clear what *bits* found accessed, in whole blocks; *bits* with what could not be.

        Pages that were *stuck_before* are not tried again.
        """
        known = bits.accessed & stuck_before
        wanted = replace(bits, accessed=bits.accessed & ~known)
        unobservable = known
        ranges = _ranges_of(wanted, block)
        if len(ranges):
            refused = self._advise_cold(ranges)
            end = bits.start + len(bits.accessed) * PAGE_SIZE
            stuck = self.read(bits.start, end).accessed & wanted.accessed
            unobservable = known.copy()
            for first, last in _runs(stuck):
                address = bits.start + first * PAGE_SIZE
                unobservable[first:last] = ~flags.exclusive(address, last - first)
            for low, high in refused.tolist():
                first = max(0, (low - bits.start) // PAGE_SIZE)
                unobservable[first : (high - bits.start) // PAGE_SIZE] = True
            unobservable &= stuck | known
        return replace(bits, accessed=bits.accessed & ~unobservable, unobservable=unobservable)

    def _advise_cold(self, ranges: Ranges) -> Ranges:
        """Clear what of *ranges* is mapped; the ranges that were refused."""
        mapped = intersect(ranges, self._runs)
        iovecs = np.stack([mapped[:, 0], mapped[:, 1] - mapped[:, 0]], axis=1).astype(np.uint64)
        return mapped[madvise.advise(self._pidfd, iovecs, madvise.MADV_COLD)]


def _runs(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """First and last + 1 index of each run of True: shape (n, 2)."""
    edges = np.flatnonzero(np.diff(marks, prepend=False, append=False))
    return edges.reshape(-1, 2)


def _ranges_of(bits: PageBits, block: int) -> Ranges:
    """Ranges that hold every accessed page, in whole blocks and huge pages."""
    origin = bits.start // _TABLE_BYTES * _TABLE_BYTES
    before = (bits.start - origin) // PAGE_SIZE
    padding = (before, -(before + len(bits.accessed)) % 512)
    accessed = np.pad(bits.accessed, padding).reshape(-1, 512)
    huge = np.pad(bits.huge, padding).reshape(-1, 512).any(axis=1)
    per_table = _TABLE_BYTES // block
    wanted = np.logical_or.reduce(accessed.reshape(-1, per_table, 512 // per_table), axis=2)
    wanted |= (huge & wanted.any(axis=1))[:, None]
    runs = _runs(wanted.reshape(-1)) * block
    if not len(runs):
        return np.empty((0, 2), np.int64)
    apart = np.append(True, runs[1:, 0] - runs[:-1, 1] > _GAP_BYTES)
    start = runs[apart, 0]
    end = runs[np.append(apart[1:], True), 1]
    return np.stack([origin + start, origin + end], axis=1)
