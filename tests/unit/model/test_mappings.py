"""Which mapping fills most of a range, and which memory several mappings share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.mappings import Mapping, MappingTable, forked_ranges, repeated_ranges
from pydamon._model.ranges import EMPTY


def table(*bounds: tuple[int, int]) -> MappingTable:
    return MappingTable(tuple(Mapping(start, end, "rw-p", "[anon]") for start, end in bounds))


def largest(mappings: MappingTable, *ranges: tuple[int, int]) -> list[int]:
    columns = np.array(ranges, np.int64).reshape(-1, 2)
    indices: list[int] = mappings.largest_in(columns[:, 0], columns[:, 1]).tolist()
    return indices


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 10, -1),
        (0, 11, 0),
        (12, 14, 0),
        (10, 20, 0),
        (18, 25, 1),
        (20, 24, 1),
        (30, 100, -1),
        (30, 101, 2),
        (24, 30, 1),
        (0, 1000, 2),
        (200, 210, -1),
    ],
)
def test_one_range(start: int, end: int, expected: int) -> None:
    assert largest(table((10, 20), (20, 30), (100, 200)), (start, end)) == [expected]


def test_without_mappings_or_ranges() -> None:
    assert largest(table(), (0, 10)) == [-1]
    assert largest(table((0, 10))) == []
    assert largest(table((50, 60)), (0, 10), (70, 80)) == [-1, -1]


def test_vsyscall_is_above_every_region() -> None:
    mappings = table((0x1000, 0x2000), (0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000))
    assert largest(mappings, (0x1000, 0x3000), (2**56 - 4096, 2**56)) == [0, -1]


_steps = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=12)


@given(_steps, st.lists(st.tuples(st.integers(0, 120), st.integers(1, 60)), max_size=8))
def test_is_the_one_with_most_bytes(
    steps: list[tuple[int, int]], ranges: list[tuple[int, int]]
) -> None:
    bounds, at = [], 0
    for gap, size in steps:
        bounds.append((at + gap, at + gap + size))
        at += gap + size
    wanted = [(start, start + size) for start, size in ranges]
    for (start, end), index in zip(wanted, largest(table(*bounds), *wanted), strict=True):
        overlaps = [max(0, min(end, stop) - max(start, begin)) for begin, stop in bounds]
        if index == -1:
            assert not any(overlaps)
        else:
            assert overlaps[index] == max(overlaps) > 0


@given(_steps)
def test_runs_are_joined_mappings(steps: list[tuple[int, int]]) -> None:
    bounds, at = [], 0
    for gap, size in steps:
        bounds.append((at + gap, at + gap + size))
        at += gap + size
    mappings = table(*bounds)
    assert mappings.bounds.tolist() == [list(pair) for pair in bounds]
    inside = [any(low <= byte < high for low, high in bounds) for byte in range(at)]
    runs = mappings.runs.tolist()
    assert [any(low <= byte < high for low, high in runs) for byte in range(at)] == inside
    assert all(before[1] < after[0] for before, after in pairwise(runs))


def files(*mappings: tuple[int, int, str, str, int]) -> MappingTable:
    """Mappings of (start, end, perms, file, offset)."""
    return MappingTable(
        tuple(Mapping(low, high, perms, "/x", file, at) for low, high, perms, file, at in mappings)
    )


def test_a_file_that_several_map_counts_once() -> None:
    first = files((100, 200, "r-xp", "8:1 7", 0), (500, 600, "rw-s", "0:5 3", 50))
    second = files(
        (1100, 1250, "r-xp", "8:1 7", 50),  # 50 of it are new
        (1300, 1400, "rw-p", "8:1 7", 0),  # may have pages of its own
        (1500, 1600, "rw-s", "0:5 3", 150),  # another part
        (1700, 1800, "r--s", "8:2 7", 0),  # another file
    )
    repeated = repeated_ranges([first, second, first])
    assert [ranges.tolist() for ranges in repeated] == [
        [],
        [[1100, 1150]],
        [[100, 200], [500, 600]],
    ]
    assert repeated_ranges([]) == []


def test_a_file_that_a_process_maps_twice_counts_once() -> None:
    twice = files((100, 200, "rw-s", "0:5 3", 0), (300, 350, "rw-s", "0:5 3", 20))
    (repeated,) = repeated_ranges([twice])
    assert repeated.tolist() == [[300, 350]]


def test_memory_without_a_file_is_never_shared() -> None:
    private = files((100, 200, "r--p", "", 0))
    first, second = repeated_ranges([private, private])
    assert first.tolist() == second.tolist() == EMPTY.tolist()


def forked(*bounds: tuple[int, int], stack: int = 1000) -> MappingTable:
    rows = [Mapping(start, end, "rw-p", "[anon]") for start, end in bounds]
    shared = Mapping(500, 600, "r--p", "/lib", "8:1 7")
    return MappingTable((*rows, shared, Mapping(990, stack, "rw-p", "[stack]")))


def test_private_memory_may_be_shared_by_those_of_one_origin() -> None:
    parent, child = forked((0, 100), (100, 200)), forked((0, 100), (150, 300))
    assert parent.private.tolist() == [[0, 200], [990, 1000]]
    assert parent.origin == child.origin == (1000, 0)
    assert table((0, 100)).origin is None
    ranges = [each.tolist() for each in forked_ranges([parent, table((0, 100)), child])]
    assert ranges == [[], [], [[0, 100], [150, 200], [990, 1000]]]
    other = forked((0, 100), stack=1010)
    assert [len(each) for each in forked_ranges([parent, other, table(), table()])] == [0] * 4


def test_the_address_of_the_vdso_tells_programs_apart() -> None:
    stack = Mapping(990, 1000, "rw-p", "[stack]")
    vdso = Mapping(2000, 2002, "r-xp", "[vdso]")
    assert MappingTable((stack, vdso)).origin == (1000, 2000)
    assert MappingTable((stack,)).origin != MappingTable((stack, vdso)).origin
