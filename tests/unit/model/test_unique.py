"""Distinct values and membership: as NumPy has them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.runs import is_in, unique


@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2)))
def test_distinct_values_are_those_of_numpy(rows: list[list[int]]) -> None:
    values = np.array(rows, np.int64).reshape(-1, 2)
    assert unique(values).tolist() == np.unique(values).tolist()
    assert unique(values[:, 0].astype(np.uint32)).dtype == np.uint32


@given(st.lists(st.integers(-3, 9)), st.lists(st.integers(-3, 9)))
def test_membership_is_that_of_numpy(values: list[int], others: list[int]) -> None:
    ordered = np.sort(np.array(others, np.int64))
    found = is_in(np.array(values, np.int64), ordered)
    assert found.tolist() == np.isin(np.array(values, np.int64), ordered).tolist()
