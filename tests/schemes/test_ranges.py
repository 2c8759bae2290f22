"""Sets of addresses: the same bytes as sets of numbers say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pydamon.core.regions import Ranges
from pydamon.schemes.ranges import common, size_of, union, without

_ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=8)


def _ranges(rows: list[tuple[int, int]]) -> Ranges:
    return np.array([(start, start + size) for start, size in rows], np.int64).reshape(-1, 2)


def _bytes(ranges: Ranges) -> set[int]:
    return {byte for start, end in ranges.tolist() for byte in range(start, end)}


@given(_ROWS, _ROWS)
def test_sets_of_addresses(rows: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    mine, theirs = union(_ranges(rows)), _ranges(others)
    assert _bytes(mine) == _bytes(_ranges(rows))
    assert size_of(mine) == len(_bytes(mine))
    assert (mine[1:, 0] > mine[:-1, 1]).all()
    assert _bytes(common(mine, theirs)) == _bytes(mine) & _bytes(theirs)
    assert _bytes(without(mine, union(theirs))) == _bytes(mine) - _bytes(theirs)
