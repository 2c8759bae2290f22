"""Stretches of memory, and flat arrays of their pages."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from pydamon._model.ranges import PAGE_SIZE, order_keys
from pydamon._model.regions import RegionTable
from pydamon._model.stretches import Stretches
from tests.strategies import tables


def stretches_of(table: RegionTable) -> Stretches:
    """A stretch for each region, of at most eight pages."""
    end = np.minimum(table.end, table.start + 8 * PAGE_SIZE)
    return Stretches(table.target, table.start, end)


def test_stretches_say_where_their_pages_are() -> None:
    stretches = Stretches.of([(0, 0, 3 * PAGE_SIZE), (2, 8 * PAGE_SIZE, 9 * PAGE_SIZE)])
    assert stretches.pages.tolist() == [3, 1]
    assert stretches.offsets.tolist() == [0, 3, 4]
    assert stretches.slices() == [slice(0, 3), slice(3, 4)]
    assert stretches.of_pages(np.array([True, False])).tolist() == [True] * 3 + [False]
    assert stretches.take(np.array([1])).keys.tolist() == [[(2 << 44) + 8, (2 << 44) + 9]]


@given(tables())
def test_places_and_keys_are_inverse(table: RegionTable) -> None:
    stretches = stretches_of(table)
    places = np.arange(int(stretches.offsets[-1]))
    keys = stretches.keys_at(places)
    assert stretches.place_of(keys).tolist() == places.tolist()
    expected = [
        key
        for target, start, end in zip(stretches.target, stretches.start, stretches.end, strict=True)
        for key in order_keys(np.array([target]), np.arange(start, end, PAGE_SIZE)).tolist()
    ]
    assert keys.tolist() == expected


@given(tables(), tables())
def test_pages_in_ranges(table: RegionTable, other: RegionTable) -> None:
    stretches = stretches_of(table)
    shrunk = stretches.keys[::2].copy()
    shrunk[:, 0] += 1
    keys = stretches.keys_at(np.arange(int(stretches.offsets[-1])))
    for ranges in (other.keys, shrunk[shrunk[:, 0] < shrunk[:, 1]]):
        inside = [any(low <= key < high for low, high in ranges.tolist()) for key in keys.tolist()]
        assert stretches.pages_in(ranges).tolist() == inside
