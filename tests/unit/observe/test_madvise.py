"""Advice about long ranges is divided among calls (a private module)."""

from __future__ import annotations

import itertools
import mmap
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._observe.linux import madvise
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.madvise import MADV_COLD, advise

PAGE = 4096
pages = st.integers(0, 1 << 20)


@given(st.lists(st.tuples(pages, st.integers(0, 20_000)), max_size=20))
def test_pieces_cover_the_ranges_and_are_short(rows: list[tuple[int, int]]) -> None:
    ranges = np.array(rows, np.uint64).reshape(-1, 2) * np.uint64(PAGE)
    pieces, owners = madvise._pieces(ranges)
    limit = madvise._CALL_BYTES
    assert len(pieces) == 0 or pieces[:, 1].max() <= limit
    for index, (start, length) in enumerate(ranges.tolist()):
        mine = pieces[owners == index].tolist()
        assert mine[0][0] == start
        assert sum(size for _, size in mine) == length
        for (begin, size), (following, _) in itertools.pairwise(mine):
            assert begin + size == following
            assert following % limit == 0
            assert following % HUGE_BYTES == 0


def test_refused_rows_are_those_of_the_ranges() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        if reason := madvise.may_advise(pidfd):
            pytest.skip(f"process_madvise: {reason}")
        with mmap.mmap(-1, 80 << 20) as memory:
            address = np.frombuffer(memory, np.uint8).ctypes.data
            whole, odd = (address, 80 << 20), (address + 1, PAGE)
            ranges = np.array([whole, odd, whole, odd], np.uint64)
            assert advise(pidfd, ranges, MADV_COLD).tolist() == [1, 3]
            assert advise(pidfd, ranges[:1], MADV_COLD).tolist() == []
            assert advise(pidfd, ranges[:0], MADV_COLD).tolist() == []
    finally:
        os.close(pidfd)
