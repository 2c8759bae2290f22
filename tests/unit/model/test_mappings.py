"""Names of memory: which mapping fills most of a range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.mappings import Mapping, MappingTable


def table(*bounds: tuple[int, int]) -> MappingTable:
    return MappingTable(tuple(Mapping(start, end, "rw-p", "[anon]") for start, end in bounds))


def largest(mappings: MappingTable, *ranges: tuple[int, int]) -> list[int]:
    columns = np.array(ranges, np.int64).reshape(-1, 2)
    found: list[int] = mappings.largest_in(columns[:, 0], columns[:, 1]).tolist()
    return found


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
    for (start, end), found in zip(wanted, largest(table(*bounds), *wanted), strict=True):
        overlaps = [max(0, min(end, stop) - max(start, begin)) for begin, stop in bounds]
        if found == -1:
            assert not any(overlaps)
        else:
            assert overlaps[found] == max(overlaps) > 0
