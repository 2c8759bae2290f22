"""Ranges against sets of bytes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.ranges import (
    EMPTY,
    PAGE_SIZE,
    Ranges,
    address_at,
    amount_within,
    bytes_below,
    close_gaps,
    contains,
    covered,
    cut_at,
    from_order_keys,
    intersect,
    join,
    keyed,
    locate,
    order_keys,
    overlaps,
    size_of,
    subtract,
    touches,
    union,
)
from pydamon._model.regions import RegionTable
from tests.strategies import tables


@st.composite
def ranges(draw: st.DrawFn) -> Ranges:
    """Some ranges below 100; neighbours may touch."""
    points = sorted(draw(st.sets(st.integers(0, 99), max_size=12)))
    rows = list(zip(points[::2], points[1::2], strict=False))
    touching = draw(st.booleans())
    if touching and len(rows) > 1:
        rows = [(low, rows[i + 1][0]) for i, (low, _) in enumerate(rows[:-1])] + rows[-1:]
    return np.array(rows, np.int64).reshape(-1, 2)


EVERYWHERE = np.arange(101, dtype=np.int64)


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
def test_overlaps_are_all_pairs_with_common_bytes(some: Ranges, others: Ranges) -> None:
    pairs = overlaps(some, others)
    rows = zip(*(c.tolist() for c in (pairs.row, pairs.other, pairs.size)), strict=True)
    assert list(rows) == [
        (i, j, len(common))
        for i in range(len(some))
        for j in range(len(others))
        if (common := bytes_of(some[i : i + 1]) & bytes_of(others[j : j + 1]))
    ]


@given(ranges(), ranges())
def test_union_and_subtract(some: Ranges, others: Ranges) -> None:
    every = union(np.concatenate([others, some]))
    assert bytes_of(every) == bytes_of(some) | bytes_of(others)
    assert size_of(every) == len(bytes_of(every))
    assert (every[1:, 0] > every[:-1, 1]).all()
    left = subtract(some, others)
    assert bytes_of(left) == bytes_of(some) - bytes_of(others)
    assert is_sorted(left)


@given(ranges(), st.integers(0, 10))
def test_join_closes_small_gaps(some: Ranges, gap: int) -> None:
    joined = join(some, gap)
    assert is_sorted(joined)
    assert (joined[1:, 0] - joined[:-1, 1] > gap).all()
    filled = bytes_of(joined) - bytes_of(some)
    gaps = zip(some[:-1, 1].tolist(), some[1:, 0].tolist(), strict=True)
    assert filled == {b for low, high in gaps if high - low <= gap for b in range(low, high)}


@given(ranges(), st.integers(1, 6))
def test_close_gaps_covers_everything_in_few_ranges(some: Ranges, most: int) -> None:
    closed = close_gaps(some, most)
    assert len(closed) <= most
    assert bytes_of(closed) >= bytes_of(some)
    assert is_sorted(closed)
    if len(join(some)) <= most:
        assert bytes_of(closed) == bytes_of(some)


@given(ranges(), ranges())
def test_covered(some: Ranges, others: Ranges) -> None:
    sizes = covered(others, some[:, 0], some[:, 1]).tolist()
    assert sizes == [len(bytes_of(some[i : i + 1]) & bytes_of(others)) for i in range(len(some))]


@given(ranges())
def test_bytes_below_and_its_inverse(some: Ranges) -> None:
    below = bytes_below(some, EVERYWHERE).tolist()
    assert below == [len([b for b in bytes_of(some) if b < at]) for at in EVERYWHERE]
    if len(some):
        assert address_at(some, np.arange(size_of(some))).tolist() == sorted(bytes_of(some))
        assert address_at(some, np.array([size_of(some)])).tolist() == [some[-1, 1]]


@given(ranges())
def test_locate_and_contains(some: Ranges) -> None:
    rows = locate(some, EVERYWHERE).tolist()
    for address, row in zip(EVERYWHERE.tolist(), rows, strict=True):
        assert [row] == [i for i, (low, high) in enumerate(some) if low <= address < high] or (
            row == -1 and address not in bytes_of(some)
        )
    assert (contains(some, EVERYWHERE) == (np.array(rows) >= 0)).all()


@given(ranges(), ranges())
def test_locate_whole_ranges_and_touches(some: Ranges, others: Ranges) -> None:
    whole = locate(some, others[:, 0], others[:, 1]).tolist()
    for (low, high), row in zip(others.tolist(), whole, strict=True):
        inside = [i for i, (start, end) in enumerate(some) if start <= low and high <= end]
        assert [row] == (inside or [-1])
    assert touches(some, others[:, 0], others[:, 1]).tolist() == [
        bool(bytes_of(some) & bytes_of(others[i : i + 1])) for i in range(len(others))
    ]


@given(ranges(), ranges(), st.data())
def test_amounts_are_spread_evenly(some: Ranges, others: Ranges, data: st.DataObject) -> None:
    amounts = data.draw(st.lists(st.integers(0, 99), min_size=len(some), max_size=len(some)))
    within = amount_within(some, np.array(amounts, np.int64), others[:, 0], others[:, 1])
    for (low, high), amount in zip(others.tolist(), within, strict=True):
        assert amount == pytest.approx(
            sum(
                whole * max(0, min(high, end) - max(low, start)) / (end - start)
                for (start, end), whole in zip(some.tolist(), amounts, strict=True)
            )
        )


@given(tables(), st.data())
def test_cut_at_makes_pieces_between_borders(table: RegionTable, data: st.DataObject) -> None:
    points = np.append(table.start, table.end).tolist()
    inside = [(low + high) // 2 for low, high in table.ranges.tolist()]
    addresses = data.draw(st.lists(st.sampled_from([0, *points, *inside]), max_size=6))
    borders = {number: np.array(addresses, np.int64) for number in (0, 2)}
    cut = cut_at(table.target, table.start, table.end, borders)
    expected = [
        (index, *piece)
        for index, (low, high) in enumerate(table.ranges.tolist())
        for piece in _pieces(low, high, addresses if table.target[index] in borders else [])
    ]
    rows = zip(cut.index.tolist(), cut.start.tolist(), cut.end.tolist(), strict=True)
    assert list(rows) == expected


def _pieces(low: int, high: int, borders: list[int]) -> list[tuple[int, int]]:
    points = [low, *sorted({b for b in borders if low < b < high}), high]
    return list(pairwise(points))


@given(tables())
def test_order_keys_rise_with_target_and_address(table: RegionTable) -> None:
    keys = table.keys
    assert is_sorted(keys)
    target, address = from_order_keys(keys[:, 0])
    assert target.tolist() == table.target.tolist()
    assert address.tolist() == table.start.tolist()
    by_target = [table.ranges[table.target == number] for number in range(3)]
    assert keyed(by_target).tolist() == keys.tolist()
    middle = (table.start + table.end) // 2 // PAGE_SIZE * PAGE_SIZE
    assert table.at(table.target, middle).tolist() == list(range(len(table)))
    assert order_keys(table.target, table.start).tolist() == keys[:, 0].tolist()


def test_no_ranges() -> None:
    nowhere = np.array([-1, -1])
    assert locate(EMPTY, np.array([0, 5])).tolist() == nowhere.tolist()
    assert bytes_below(EMPTY, np.array([0, 5])).tolist() == [0, 0]
    assert amount_within(EMPTY, EMPTY[:, 0], np.array([0]), np.array([5])).tolist() == [0]
    assert keyed([]).tolist() == union(EMPTY).tolist() == subtract(EMPTY, EMPTY).tolist() == []
