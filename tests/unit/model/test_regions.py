"""The region table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from pydamon._model.errors import UsageError
from pydamon._model.regions import RegionTable
from tests.strategies import COUNTERS, FRESH, tables


def test_fresh_regions() -> None:
    table = RegionTable.of([0, 1], [0, 10], [10, 2**56])
    assert len(table) == 2
    assert table.size.tolist() == [10, 2**56 - 10]
    assert table.target.dtype == np.int32
    for name, value in FRESH.items():
        np.testing.assert_array_equal(getattr(table, name), [value, value])


def test_one_target_for_all() -> None:
    assert RegionTable.of(3, [0, 10], [10, 20]).target.tolist() == [3, 3]
    assert RegionTable.of(3, 0, 10).target.tolist() == [3]


def test_does_not_share_what_it_was_given() -> None:
    start = np.array([0, 10], np.int64)
    table = RegionTable.of(0, start, start + 10)
    start[0] = 5
    assert table.start.tolist() == [0, 10]
    table.target[0] = 1
    assert table.target.tolist() == [1, 0]


def test_empty() -> None:
    table = RegionTable.of([], [], [])
    assert (len(table), len(table.size), len(table.adjacent())) == (0, 0, 0)


@pytest.mark.parametrize(
    ("target", "start", "end", "message"),
    [
        (0, [0, 5], [6, 8], "overlap"),
        (0, [6, 0], [8, 5], "out of order"),
        ([1, 0], [0, 5], [5, 8], "out of order"),
        (0, [5], [5], "starts at or after its end"),
        (0, [5], [4], "starts at or after its end"),
        (0, [-1], [4], "starts at or after its end"),
        (0, [1, 2], [2], "differ in length"),
    ],
)
def test_refuses(target: int | list[int], start: list[int], end: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RegionTable.of(target, start, end)


@pytest.mark.parametrize("name", ["target", "start", *COUNTERS])
def test_check_finds_a_column_of_another_length(name: str) -> None:
    table = RegionTable.of(0, [0, 10], [10, 20])
    setattr(table, name, getattr(table, name)[:1])
    with pytest.raises(UsageError, match="differ in length"):
        table.check()


def test_adjacent() -> None:
    table = RegionTable.of([0, 0, 0, 1], [0, 4, 9, 10], [4, 8, 10, 12])
    assert table.adjacent().tolist() == [True, False, False]


@given(tables())
def test_take(table: RegionTable) -> None:
    odd = np.arange(len(table)) % 2 == 1
    by_mask, by_index = table.take(odd), table.take(np.flatnonzero(odd))
    for name in ("target", "start", "end", *COUNTERS):
        expected = getattr(table, name)[1::2].tolist()
        assert getattr(by_mask, name).tolist() == expected
        assert getattr(by_index, name).tolist() == expected


def test_take_does_not_share() -> None:
    table = RegionTable.of(0, [0, 10], [10, 20])
    table.take(np.array([0, 1])).age_ns[:] = 7
    assert table.age_ns.tolist() == [0, 0]


def test_tables_compare_by_identity() -> None:
    table = RegionTable.of(0, [0, 10], [10, 20])
    assert table == table  # noqa: PLR0124
    assert table != RegionTable.of(0, [0, 10], [10, 20])
