"""The mappings of a process, and the memory that several mappings share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import EMPTY, Ranges, intersect, join, overlaps, union
from pydamon._model.runs import Runs

__all__ = ["Mapping", "MappingTable", "forked_ranges", "of_one_origin", "repeated_ranges"]

_TOP = 2**63 - 1
"""The highest address of a signed integer: only [vsyscall], which every x86-64 process lists, lies
above it."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of an address space.

    Parameters
    ----------
    start, end
        The addresses in bytes, half open.
    perms
        The permissions as in `/proc/PID/maps`, such as `"rw-p"`.
    name
        The path of a file, or a name in brackets: `[heap]`, `[stack]`, `[anon]`, ...
    file
        Identifies the mapped file (or shared memory) while it is mapped, by its device and inode;
        empty where there is none.
    offset
        Where in the file the mapping begins, in bytes.

    Examples
    --------
    >>> from pydamon import Mapping
    >>> Mapping(0x1000, 0x3000, "rw-p", "[heap]").is_memory
    True
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

        Address space that nobody may access, such as an allocator's reserve, is not; nor are the
        kernel's pages that every process maps.
        """
        return self.name not in _OF_THE_KERNEL and not self.perms.startswith("---")

    @property
    def shares_pages(self) -> bool:
        """Whether every process that maps the same part of the file maps the same pages.

        A private mapping that may be written can have pages of its own.
        """
        return bool(self.file) and (self.perms.endswith("s") or "w" not in self.perms)


_OF_THE_KERNEL = frozenset({"[vsyscall]", "[vvar]", "[vvar_vclock]", "[vdso]"})


@dataclass(frozen=True)
class MappingTable:
    """The mappings of a process.

    Parameters
    ----------
    mappings
        Sorted by address.

    Examples
    --------
    >>> from pydamon import Mapping, MappingTable
    >>> heap, file = Mapping(0, 8192, "rw-p", "[heap]"), Mapping(8192, 12288, "r--p", "/x")
    >>> MappingTable((heap, file)).runs.tolist()
    [[0, 12288]]
    """

    mappings: tuple[Mapping, ...] = field(default=())

    @cached_property
    def bounds(self) -> Ranges:
        """Start and end of every mapping: shape (n, 2), bytes, sorted."""
        rows = [(min(m.start, _TOP), min(m.end, _TOP)) for m in self.mappings]
        return np.array(rows, np.int64).reshape(-1, 2)

    @cached_property
    def runs(self) -> Ranges:
        """Ranges that memory fills without a gap: shape (n, 2), bytes, sorted."""
        return join(self.bounds[[m.is_memory for m in self.mappings]])

    @cached_property
    def private(self) -> Ranges:
        """Where pages can be the process's own: shape (n, 2), bytes, sorted, without gaps."""
        return join(self.bounds[[m.is_memory and not m.shares_pages for m in self.mappings]])

    @cached_property
    def origin(self) -> tuple[int, int] | None:
        """The same for all processes that were forked from one program; `None` if not known.

        exec puts the stack and the kernel's code at random addresses, which fork keeps. Where they
        are not random, other programs may have the same origin.
        """
        stack = next((m.end for m in self.mappings if m.name == "[stack]"), 0)
        vdso = next((m.start for m in self.mappings if m.name == "[vdso]"), 0)
        return (stack, vdso) if stack or vdso else None

    def largest_in(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index of the mapping that fills most of each range; -1 where none does."""
        largest = np.full(len(start), -1, np.int64)
        pairs = overlaps(np.stack([start, end], axis=1), self.bounds)
        # By range, then by overlap: the last pair of each range has its largest mapping.
        order = np.lexsort((pairs.size, pairs.row))
        last = order[Runs.of(pairs.row[order]).tails]
        largest[pairs.row[last]] = pairs.other[last]
        return largest


def repeated_ranges(tables: Sequence[MappingTable]) -> list[Ranges]:
    """For each target the memory whose pages another mapping has and counts, too.

    Of several mappings of the same part of a file, that of the lowest target counts it.
    """
    rows = [
        (mapping.file, mapping.offset, target, mapping.start, mapping.end)
        for target, table in enumerate(tables)
        for mapping in table.mappings
        if mapping.shares_pages
    ]
    repeated: list[list[tuple[int, int]]] = [[] for _ in tables]
    file, counted_to = "", 0
    # In the order of offsets, the counted part of a file has no gap, and begins at or before each
    # mapping that follows.
    for name, offset, target, start, end in sorted(rows):
        if name != file:
            file, counted_to = name, 0
        again = min(end - start, counted_to - offset)
        if again > 0:
            repeated[target].append((start, start + again))
        counted_to = max(counted_to, offset + end - start)
    return [join(np.array(sorted(ranges), np.int64).reshape(-1, 2)) for ranges in repeated]


def of_one_origin(tables: Sequence[MappingTable], ranges: Sequence[Ranges]) -> list[Ranges]:
    """The ranges of each target that has the same origin as another one; else none."""
    targets = Counter(table.origin for table in tables)
    targets[None] = 0
    return [
        of_target if targets[table.origin] > 1 else EMPTY
        for table, of_target in zip(tables, ranges, strict=True)
    ]


def forked_ranges(tables: Sequence[MappingTable]) -> list[Ranges]:
    """For each target the private memory that a lower target may share with it since a fork."""
    known: dict[tuple[int, int], Ranges] = {}
    forked = []
    for table in tables:
        before = EMPTY if table.origin is None else known.get(table.origin, EMPTY)
        forked.append(intersect(table.private, before))
        if table.origin is not None:
            known[table.origin] = union(np.concatenate([before, table.private]))
    return forked
