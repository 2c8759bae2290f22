"""What is mapped where in a process, and which memory several mappings share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import EMPTY, joined
from pydamon._model.regions import Ranges

__all__ = ["Mapping", "MappingTable", "repeated"]

_TOP = 2**63 - 1
"""Above it is no region, but [vsyscall], which every x86-64 process lists."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping: bytes [start, end), permissions as in /proc/PID/maps, and what is mapped.

    `name` is a file's path, or a name in brackets: `[heap]`, `[stack]`, `[anon]`, ... `file` tells
    the file (or shared memory) that is mapped from all others while it is there, by its device and
    inode, and `offset` is where in it the mapping begins; empty and 0 where nothing is known.
    """

    start: int
    end: int
    perms: str
    name: str
    file: str = ""
    offset: int = 0

    @property
    def is_memory(self) -> bool:
        """Whether it is memory that the program can use.

        What nobody may access, such as the address space that an allocator reserves, is not; nor
        are the pages of the kernel that every process sees.
        """
        return self.name not in _OF_THE_KERNEL and not self.perms.startswith("---")

    @property
    def shares_pages(self) -> bool:
        """Whether whoever else maps the same part of the file has the same pages.

        What may be written privately may have pages of its own.
        """
        return bool(self.file) and (self.perms.endswith("s") or "w" not in self.perms)


_OF_THE_KERNEL = frozenset({"[vsyscall]", "[vvar]", "[vvar_vclock]", "[vdso]"})


@dataclass(frozen=True)
class MappingTable:
    """The mappings of a process, sorted by address."""

    mappings: tuple[Mapping, ...] = field(default=())

    @cached_property
    def _start(self) -> NDArray[np.int64]:
        return np.array([min(m.start, _TOP) for m in self.mappings], np.int64)

    @cached_property
    def _end(self) -> NDArray[np.int64]:
        return np.array([min(m.end, _TOP) for m in self.mappings], np.int64)

    @cached_property
    def runs(self) -> NDArray[np.int64]:
        """Ranges that memory fills without a gap: shape (n, 2), bytes, sorted."""
        bounds = np.array(
            [(m.start, m.end) for m in self.mappings if m.is_memory], np.int64
        ).reshape(-1, 2)
        apart = np.append(True, bounds[1:, 0] != bounds[:-1, 1])[: len(bounds)]
        return np.stack([bounds[apart, 0], bounds[np.append(apart[1:], True)[: len(bounds)], 1]], 1)

    def largest_in(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each range the index of the mapping that fills most of it; -1 where none does."""
        found = np.full(len(start), -1, np.int64)
        if not self.mappings:
            return found
        first = np.searchsorted(self._end, start, side="right")
        beyond = np.searchsorted(self._start, end, side="left")
        counts = np.maximum(beyond - first, 0)
        if not counts.any():
            return found
        pair_range = np.repeat(np.arange(len(start)), counts)
        offset = np.arange(len(pair_range)) - np.repeat(np.cumsum(counts) - counts, counts)
        pair_mapping = first[pair_range] + offset
        overlap = np.minimum(self._end[pair_mapping], end[pair_range]) - np.maximum(
            self._start[pair_mapping], start[pair_range]
        )
        # By range, then by overlap: the last pair of each range is its largest mapping.
        order = np.lexsort((overlap, pair_range))
        last = np.append(np.diff(pair_range[order]) > 0, True)
        found[pair_range[order][last]] = pair_mapping[order][last]
        return found


def repeated(tables: Sequence[MappingTable]) -> list[Ranges]:
    """For each target the memory whose pages another mapping has, too, and counts.

    Of mappings of the same part of a file the first counts: that of the lowest target.
    """
    rows = [
        (mapping.file, mapping.offset, target, mapping.start, mapping.end)
        for target, table in enumerate(tables)
        for mapping in table.mappings
        if mapping.shares_pages
    ]
    found: list[list[tuple[int, int]]] = [[] for _ in tables]
    file, counted_to = "", 0
    # In the order of their offsets, what has been counted of a file before a mapping begins at or
    # before it, and has no gap within it.
    for name, offset, target, start, end in sorted(rows):
        if name != file:
            file, counted_to = name, 0
        again = min(end - start, counted_to - offset)
        if again > 0:
            found[target].append((start, start + again))
        counted_to = max(counted_to, offset + end - start)
    return [
        joined(np.array(sorted(one), np.int64).reshape(-1, 2)) if one else EMPTY for one in found
    ]
