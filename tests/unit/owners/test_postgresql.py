"""Tests of what is made of PostgreSQL's answers; private names, because the provider is private."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from pydamon import Mapping, MappingTable
from pydamon._owners.postgresql.layout import (
    BUFFER_ROW,
    RelationNames,
    SharedAllocation,
    buffer_owners,
    main_segment,
    other_shared_memory,
)

BLOCK = 8192
ALLOCATIONS = [
    SharedAllocation("XLOG Ctl", 0x100, 0x1000),
    SharedAllocation("Buffer Blocks", 0x1400, 4 * BLOCK),
    SharedAllocation("(not allocated)", 0x1400 + 4 * BLOCK, 0x200),
]
SEGMENT = Mapping(0x7F0000000000, 0x7F0000010000, "rw-s", "/dev/zero (deleted)", "00:01 7")
NAMES = RelationNames(
    {
        (5, 1663, 100): ("shop", "public.orders", "table"),
        (5, 1663, 101): ("shop", "public.orders", "index orders_pkey"),
    },
    {5: "shop"},
)


def sent(*rows: tuple[int, int, int, int, int]) -> NDArray[np.void]:
    """The buffers as the server sends them."""
    return np.frombuffer(b"".join(struct.pack(">5q", *row) for row in rows), BUFFER_ROW)


def test_buffers_have_the_paths_of_their_relations() -> None:
    buffers = sent(
        (1, 5, 1663, 100, 0), (2, 5, 1663, 101, 0), (3, 5, 1663, 100, 2), (4, 0, 0, 0, -1)
    )
    owners = buffer_owners(buffers, NAMES, SEGMENT, ALLOCATIONS, BLOCK)
    first = SEGMENT.start + 0x1400
    assert owners.start.tolist() == [first + number * BLOCK for number in range(4)]
    assert (owners.end - owners.start == BLOCK).all()
    assert [owners.paths[row] for row in owners.owner] == [
        ("shared buffers", "shop", "public.orders", "table"),
        ("shared buffers", "shop", "public.orders", "index orders_pkey"),
        ("shared buffers", "shop", "public.orders", "table", "visibility map"),
        ("shared buffers", "(free)"),
    ]
    assert len(owners.paths) == 4
    assert owners.is_shared


def test_files_without_a_name_are_told_by_their_number() -> None:
    buffers = sent((1, 5, 1663, 999, 0), (2, 0, 1664, 1260, 0), (3, 9, 1663, 7, 0))
    owners = buffer_owners(buffers, NAMES, SEGMENT, ALLOCATIONS, BLOCK)
    assert [owners.paths[row][1:] for row in owners.owner] == [
        ("shop", "file 999"),
        ("(shared catalogs)", "file 1260"),
        ("database 9", "file 7"),
    ]


def test_numbers_of_32_unsigned_bits() -> None:
    buffers = sent((1, 2**32 - 1, 1663, 2**32 - 2, 0))
    owners = buffer_owners(buffers, NAMES, SEGMENT, ALLOCATIONS, BLOCK)
    assert owners.paths == (("shared buffers", f"database {2**32 - 1}", f"file {2**32 - 2}"),)


def test_the_main_segment_is_the_shared_mapping_that_is_large_enough() -> None:
    table = MappingTable(
        (
            Mapping(0x1000, 0x2000, "rw-s", "/SYSV002423a7 (deleted)", "00:01 1"),
            Mapping(0x10000, 0x90000, "rw-p", "[anon]"),
            SEGMENT,
        )
    )
    assert main_segment(table, ALLOCATIONS) == SEGMENT
    large = [*ALLOCATIONS, SharedAllocation("more", 0, 1 << 30)]
    assert main_segment(table, large) is None


def test_the_rest_of_shared_memory_has_the_names_of_its_allocations() -> None:
    rows = other_shared_memory(SEGMENT, ALLOCATIONS)
    assert [(row.path[-1], row.start - SEGMENT.start, row.end - row.start) for row in rows] == [
        ("XLOG Ctl", 0x100, 0x1000),
        ("(not allocated)", 0x1400 + 4 * BLOCK, 0x200),
    ]
