"""Stamps: a byte says when a page was last accessed, however long that has been."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pydamon._observe.pages.look_times import ABSENT, FIRST, UNKNOWN, LookTimes

SECOND = 10**9


@given(st.lists(st.integers(1, 100), min_size=1, max_size=2000), st.integers(1, 3600))
def test_a_stamp_keeps_its_time_to_a_part_of_its_age(gaps: list[int], unit_s: int) -> None:
    times, now_ns = LookTimes(), 0
    stamp_of: dict[int, int] = {}  # of each look that a page was last accessed before
    for number, gap in enumerate(gaps):
        now_ns += gap * unit_s * SECOND // 100
        stamp_of[now_ns] = times.add(now_ns)
        if times.must_merge:
            merged = times.merge()
            assert merged[ABSENT] == ABSENT
            assert merged[FIRST] == FIRST
            assert merged[UNKNOWN] == UNKNOWN
            stamp_of = {ns: int(merged[stamp]) for ns, stamp in stamp_of.items()}
        if number % 97:
            continue
    assert times.end_ns == now_ns
    assert stamp_of[now_ns] == times.last
    latest_ns, middle_ns = times.latest_ns(), times.middle_ns()
    longest_gap = max(gaps) * unit_s * SECOND // 100
    least_ns, most_ns = times.ages_ns()
    assert (least_ns <= most_ns).all()
    for ns, stamp in stamp_of.items():
        assert ns <= latest_ns[stamp], "a page must never seem older than it is"
        assert latest_ns[stamp] - ns <= 0.25 * (now_ns - ns)
        assert abs(middle_ns[stamp] - ns) <= 0.25 * (now_ns - ns) + longest_gap


def test_the_order_of_stamps_is_that_of_looks() -> None:
    times = LookTimes()
    stamps = np.arange(256, dtype=np.uint8)
    for look in range(1, 5000):
        times.add(look * SECOND)
        if times.must_merge:
            stamps = times.merge()
            assert (np.diff(stamps[: times.last + 1].astype(int)) >= 0).all()
    assert times.last < 255
