"""From PostgreSQL's own views to owners of its shared memory: pure functions.

`pg_shmem_allocations` says where in the main segment each structure lies, `pg_buffercache` which
block of which relation each buffer holds. The buffers lie one behind the other in "Buffer Blocks",
and buffer 1 is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.owners import ALWAYS_NS, FOREVER_NS, OwnedInterval, Owners

__all__ = [
    "BUFFER_ROW",
    "FREE",
    "RelationNames",
    "SharedAllocation",
    "buffer_owners",
    "main_segment",
    "other_shared_memory",
]

Path = tuple[str, ...]

_BLOCKS = "Buffer Blocks"
_SEGMENT_NAMES = ("/dev/zero", "/SYSV", "/anon_hugepage", "/dev/shm/PostgreSQL", "[anon_shmem")
"""How the main segment is called in /proc/PID/maps: by mmap, by shmget, with huge pages."""
_FORKS = {0: "", 1: "free space map", 2: "visibility map", 3: "init fork"}
_NO_FORK = -1
FREE = "(free)"
"""The label of buffers that hold nothing."""

_BUFFER_COLUMNS = ("buffer", "database", "tablespace", "relation", "fork")
BUFFER_ROW = np.dtype([(name, ">i8") for name in _BUFFER_COLUMNS])
"""What the server sends of a buffer: numbers in network order."""


class SharedAllocation(NamedTuple):
    """A row of `pg_shmem_allocations`: `offset` counts from the start of the main segment."""

    name: str
    offset: int
    size: int


class RelationNames(NamedTuple):
    """The path of a file of a database, by database, tablespace and file number."""

    paths: dict[tuple[int, int, int], Path]
    databases: dict[int, str]

    def path_of(self, database: int, tablespace: int, relation: int, fork: int) -> Path:
        """The labels of a relation's fork; a file that no table has is told by its number."""
        place = self.paths.get((database, tablespace, relation))
        if place is None:
            name = self.databases.get(database, f"database {database}")
            place = (name if database else "(shared catalogs)", f"file {relation}")
        label = _FORKS.get(fork, f"fork {fork}")
        return ("shared buffers", *place, *([label] if label else []))


def main_segment(mappings: MappingTable, allocations: Sequence[SharedAllocation]) -> Mapping | None:
    """The mapping of the main shared memory segment, whose size the allocations tell."""
    needed = max((row.offset + row.size for row in allocations), default=0)
    shared = [
        mapping
        for mapping in mappings.mappings
        if mapping.perms == "rw-s"
        and mapping.name.startswith(_SEGMENT_NAMES)
        and mapping.end - mapping.start >= needed
    ]
    return max(shared, key=lambda mapping: mapping.end - mapping.start, default=None)


def buffer_owners(
    buffers: NDArray[np.void],
    names: RelationNames,
    segment: Mapping,
    allocations: Sequence[SharedAllocation],
    block_bytes: int,
) -> Owners:
    """The owner of each buffer."""
    blocks = next(row for row in allocations if row.name == _BLOCKS)
    number, *columns = (buffers[name].astype(np.int64) for name in _BUFFER_COLUMNS)
    owner, first = _grouped(columns)
    keys = np.stack([column[first] for column in columns], axis=1)
    paths = tuple(_path_of(key, names) for key in keys.tolist())
    start = segment.start + blocks.offset + (number - 1) * block_bytes
    return Owners(
        paths=paths,
        start=start.astype(np.uint64),
        end=(start + block_bytes).astype(np.uint64),
        owner=owner.astype(np.int32),
        since_ns=np.full(len(start), ALWAYS_NS),
        until_ns=np.full(len(start), FOREVER_NS),
        is_shared=True,
    )


def _grouped(
    columns: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each row's group, the same for equal rows, and the first row of each group."""
    group = np.zeros(len(columns[0]), np.int64)
    first = group[:1]
    for column in columns:
        values, number = np.unique(column, return_inverse=True)
        _, first, group = np.unique(
            group * len(values) + number.reshape(-1), return_index=True, return_inverse=True
        )
        group = group.reshape(-1)
    return group, first


def _path_of(key: list[int], names: RelationNames) -> Path:
    database, tablespace, relation, fork = key
    if fork == _NO_FORK:
        return ("shared buffers", FREE)
    return names.path_of(database, tablespace, relation, fork)


def other_shared_memory(
    segment: Mapping, allocations: Sequence[SharedAllocation]
) -> list[OwnedInterval]:
    """What else lies in the segment, by the name of its allocation."""
    return [
        OwnedInterval(
            ("shared memory", row.name),
            segment.start + row.offset,
            segment.start + row.offset + row.size,
        )
        for row in allocations
        if row.name != _BLOCKS
    ]
