"""Runs, groups and sets of numbers, against Python's own loops and NumPy."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.runs import Runs, expand, group_bounds, is_in, running_total, true_runs, unique

values = st.lists(st.integers(0, 2), max_size=20)


@given(values, values)
def test_runs_are_those_of_equal_rows(first: list[int], second: list[int]) -> None:
    rows = list(zip(first, second, strict=False))
    columns = np.array(rows, np.int64).reshape(-1, 2).T
    runs = Runs.of(*columns)
    lengths = [len(list(group)) for _, group in groupby(rows)]
    assert runs.lengths.tolist() == lengths
    assert len(runs) == len(lengths)
    assert [rows[i] for i in runs.heads] == [rows[i] for i in runs.tails]
    assert list(runs) == [(i, i + n) for i, n in zip(runs.heads, lengths, strict=True)]
    assert runs.number.tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]


@given(values, st.lists(st.integers(-9, 9), min_size=20, max_size=20))
def test_sums_and_extremes_of_runs(keys: list[int], amounts: list[int]) -> None:
    runs = Runs.of(np.array(keys, np.int64))
    column = np.array(amounts[: len(keys)], np.int64)
    groups = [amounts[first:beyond] for first, beyond in runs]
    assert runs.sum(column).tolist() == list(map(sum, groups))
    assert runs.max(column).tolist() == list(map(max, groups))
    assert runs.min(column).tolist() == list(map(min, groups))


@pytest.mark.parametrize("length", [0, 1])
def test_of_few_rows(length: int) -> None:
    runs = Runs.split(np.zeros(0, np.bool_), length)
    assert len(runs) == length
    assert runs.heads.tolist() == runs.tails.tolist() == [0] * length


def test_runs_from_their_heads() -> None:
    assert Runs.at(np.array([0, 3]), 5).lengths.tolist() == [3, 2]


@given(st.lists(st.booleans(), max_size=20))
def test_true_runs(marks: list[bool]) -> None:
    bounds = true_runs(np.array(marks, np.bool_)).tolist()
    assert [i for first, beyond in bounds for i in range(first, beyond)] == [
        i for i, mark in enumerate(marks) if mark
    ]
    assert all(first < beyond for first, beyond in bounds)
    assert all(bounds[i][1] < bounds[i + 1][0] for i in range(len(bounds) - 1))


@given(st.lists(st.integers(0, 4), max_size=8))
def test_expand(counts: list[int]) -> None:
    group, place = expand(np.array(counts, np.int64))
    pairs = list(zip(group.tolist(), place.tolist(), strict=True))
    assert pairs == [(i, n) for i, count in enumerate(counts) for n in range(count)]


@given(st.lists(st.integers(0, 5), max_size=12))
def test_group_bounds(numbers: list[int]) -> None:
    numbers.sort()
    bounds = group_bounds(np.array(numbers, np.int32), 6)
    for number in range(6):
        rows = numbers[bounds[number] : bounds[number + 1]]
        assert rows == [n for n in numbers if n == number]


@given(st.lists(st.integers(0, 5), max_size=12), st.data())
def test_running_total(amounts: list[int], data: st.DataObject) -> None:
    total = running_total(np.array(amounts, np.int64))
    first = data.draw(st.integers(0, len(amounts)))
    beyond = data.draw(st.integers(first, len(amounts)))
    assert total[beyond] - total[first] == sum(amounts[first:beyond])


@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2)))
def test_distinct_values_are_those_of_numpy(rows: list[list[int]]) -> None:
    values = np.array(rows, np.int64).reshape(-1, 2)
    assert unique(values).tolist() == np.unique(values).tolist()
    assert unique(values[:, 0].astype(np.uint32)).dtype == np.uint32


@given(st.lists(st.integers(-3, 9)), st.lists(st.integers(-3, 9)))
def test_membership_is_that_of_numpy(values: list[int], others: list[int]) -> None:
    ordered = np.sort(np.array(others, np.int64))
    is_there = is_in(np.array(values, np.int64), ordered)
    assert is_there.tolist() == np.isin(np.array(values, np.int64), ordered).tolist()
