"""Ranges against sets of bytes, and which memory several mappings have between them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.mappings import Mapping, MappingTable, repeated
from pydamon._model.ranges import (
    EMPTY,
    Stretches,
    close_gaps,
    covered,
    intersect,
    joined,
    size_of,
    subtract,
    union,
)
from pydamon._model.regions import PAGE_SIZE, Ranges


@st.composite
def ranges(draw: st.DrawFn) -> Ranges:
    """Some ranges below 100; neighbours may touch."""
    points = sorted(draw(st.sets(st.integers(0, 99), max_size=12)))
    rows = list(zip(points[::2], points[1::2], strict=False))
    touching = draw(st.booleans())
    if touching and len(rows) > 1:
        rows = [(low, rows[i + 1][0]) for i, (low, _) in enumerate(rows[:-1])] + rows[-1:]
    return np.array(rows, np.int64).reshape(-1, 2)


def bytes_of(some: Ranges) -> set[int]:
    return {byte for low, high in some.tolist() for byte in range(low, high)}


def is_sorted(some: Ranges) -> bool:
    return bool((some[:, 0] < some[:, 1]).all() and (some[:-1, 1] <= some[1:, 0]).all())


@given(ranges(), ranges())
def test_intersect(some: Ranges, others: Ranges) -> None:
    both = intersect(some, others)
    assert bytes_of(both) == bytes_of(some) & bytes_of(others)
    assert is_sorted(both)


@given(ranges(), ranges())
def test_union_and_subtract(some: Ranges, others: Ranges) -> None:
    every = union(np.concatenate([others, some]))
    assert bytes_of(every) == bytes_of(some) | bytes_of(others)
    assert size_of(every) == len(bytes_of(every))
    assert (every[1:, 0] > every[:-1, 1]).all()
    left = subtract(some, others)
    assert bytes_of(left) == bytes_of(some) - bytes_of(others)
    assert is_sorted(left)


@given(ranges(), st.integers(1, 6))
def test_close_gaps_covers_everything_in_few_ranges(some: Ranges, most: int) -> None:
    closed = close_gaps(some, most)
    assert len(closed) <= most
    assert bytes_of(closed) >= bytes_of(some)
    assert is_sorted(closed)
    if len(joined(some)) <= most:
        assert bytes_of(closed) == bytes_of(some)
    assert bytes_of(joined(some)) == bytes_of(some)
    assert len(joined(some)) <= len(some)


@given(ranges(), ranges())
def test_covered(some: Ranges, others: Ranges) -> None:
    found = covered(others, some[:, 0], some[:, 1]).tolist()
    assert found == [len(bytes_of(some[i : i + 1]) & bytes_of(others)) for i in range(len(some))]


def test_stretches_say_where_their_pages_are() -> None:
    stretches = Stretches.of([(0, 0, 3 * PAGE_SIZE), (2, 8 * PAGE_SIZE, 9 * PAGE_SIZE)])
    assert stretches.pages.tolist() == [3, 1]
    assert stretches.offsets.tolist() == [0, 3, 4]
    assert stretches.of_pages(np.array([True, False])).tolist() == [True] * 3 + [False]
    assert stretches.take(np.array([1])).keys.tolist() == [[(2 << 44) + 8, (2 << 44) + 9]]


def table(*mappings: tuple[int, int, str, str, int]) -> MappingTable:
    """Mappings of (start, end, perms, file, offset)."""
    return MappingTable(
        tuple(Mapping(low, high, perms, "/x", file, at) for low, high, perms, file, at in mappings)
    )


def test_a_file_that_several_map_counts_once() -> None:
    first = table((100, 200, "r-xp", "8:1 7", 0), (500, 600, "rw-s", "0:5 3", 50))
    second = table(
        (1100, 1250, "r-xp", "8:1 7", 50),  # 50 of it are new
        (1300, 1400, "rw-p", "8:1 7", 0),  # may have pages of its own
        (1500, 1600, "rw-s", "0:5 3", 150),  # another part
        (1700, 1800, "r--s", "8:2 7", 0),  # another file
    )
    found = repeated([first, second, first])
    assert [one.tolist() for one in found] == [
        [],
        [[1100, 1150]],
        [[100, 200], [500, 600]],
    ]
    assert repeated([]) == []


def test_a_file_that_is_mapped_twice_by_one_counts_once() -> None:
    (found,) = repeated([table((100, 200, "rw-s", "0:5 3", 0), (300, 350, "rw-s", "0:5 3", 20))])
    assert found.tolist() == [[300, 350]]


def test_what_no_file_is_behind_is_never_shared() -> None:
    (one, two) = repeated([table((100, 200, "r--p", "", 0)), table((100, 200, "r--p", "", 0))])
    assert one.tolist() == two.tolist() == EMPTY.tolist()
