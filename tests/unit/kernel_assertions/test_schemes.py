"""What the kernel's unit tests assert of schemes, of pydamon's own schemes.

See test_regions.py. The names are private because what carries schemes out is.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import Filter, Goal, Quota, UsageError, Watermarks
from pydamon._act.runtime.candidates import Pages, filtered, passing
from pydamon._act.runtime.pauses import WatermarkState
from pydamon._act.runtime.quota import QuotaState
from pydamon._model.attrs import feedback
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.schemes.matching import FILTERS
from tests.unit.act.snapshots import all_of, bytes_of, snapshot_of

GOAL = 10_000
_inputs = st.floats(GOAL, 1e12)


def of_pages(count: int, anon: set[int]) -> Pages:
    """Pages from address 0 on, some of which are anonymous."""

    def of_kind(rule: Filter) -> Any:
        assert rule.kind == "anon"
        return np.isin(np.arange(count), list(anon))

    return cast(Pages, SimpleNamespace(count=count, start=0, of_kind=of_kind))


def test_a_new_filter_is_what_it_was_told() -> None:
    """damos_test_new_filter: kind, matching and allowing; rejecting is the default."""
    rule = Filter("anon")
    assert (rule.kind, rule.matching, rule.allow) == ("anon", True, False)
    with pytest.raises(UsageError):
        Filter("foo")
    assert "foo" not in FILTERS


@pytest.mark.parametrize(
    ("region", "inside", "outside"),
    [
        ((3, 5), [(3, 5)], []),
        ((1, 2), [], [(1, 2)]),
        ((6, 8), [], [(6, 8)]),
        ((1, 4), [(2, 4)], [(1, 2)]),
        ((2, 8), [(2, 6)], [(6, 8)]),
    ],
    ids=["in the range", "before it", "behind it", "begins before it", "begins in it"],
)
@pytest.mark.parametrize("allow", [False, True])
def test_an_address_filter_cuts_regions(
    region: tuple[int, int],
    inside: list[tuple[int, int]],
    outside: list[tuple[int, int]],
    allow: bool,
) -> None:
    """damos_test_filter_out: a filter of the addresses 2 to 6."""
    rule = Filter("addr", start=2 * PAGE_SIZE, end=6 * PAGE_SIZE, allow=allow)
    kept = bytes_of(filtered(all_of(snapshot_of([(*region, 0, 0)])), [rule]))
    expected = inside if allow else outside
    assert kept == [(0, s * PAGE_SIZE, e * PAGE_SIZE) for s, e in expected]


@pytest.mark.parametrize(
    ("filters", "passes_core", "passes_pages"),
    [
        ([], True, True),
        ([Filter("target", target=9, allow=True)], False, True),
        ([Filter("target", target=9)], True, True),
        ([Filter("target", target=9), Filter("anon", allow=True)], True, False),
        ([Filter("target", target=9, allow=True), Filter("anon", allow=True)], True, False),
        # In any order: filters of regions come first.
        ([Filter("anon", allow=True), Filter("target", target=9, allow=True)], True, False),
        ([Filter("anon"), Filter("target", target=9, allow=True)], True, True),
    ],
)
def test_the_last_filter_says_what_no_filter_concerns(
    filters: list[Filter], passes_core: bool, passes_pages: bool
) -> None:
    """damon_test_set_filters_default_reject.

    Filters of regions let everything pass where filters of pages follow.
    """
    candidates = all_of(snapshot_of([(0, 4, 0, 0)]))
    assert bool(len(filtered(candidates, filters))) == passes_core
    of_page = [rule for rule in filters if not rule.is_core]
    if of_page:
        assert bool(len(passing(of_page, of_pages(4, set())))) == passes_pages


@given(_inputs, st.floats(0, GOAL - 1))
def test_below_the_goal_the_next_input_is_higher(last: float, score: float) -> None:
    """damon_test_feed_loop_next_input, first part."""
    assert feedback(last, score) > last


@given(st.floats(2 * GOAL, 1e12), st.floats(GOAL + 1, 1e9))
def test_above_the_goal_the_next_input_is_lower(last: float, score: float) -> None:
    """damon_test_feed_loop_next_input, second part."""
    assert feedback(last, score) < last


@given(st.floats(2 * GOAL, 1e12), st.floats(0, 2 * GOAL), st.floats(0, 2 * GOAL))
def test_the_farther_from_the_goal_the_larger_the_step(
    last: float, one_score: float, other_score: float
) -> None:
    """damon_test_feed_loop_next_input, third part: 200 of 10,000 moves more than 2,000."""
    low, high = sorted((one_score, other_score))
    assert feedback(last, low) >= feedback(last, high)
    assert feedback(900_000, 200) > feedback(900_000, 2000) > 900_000
    assert feedback(last, GOAL) == last


def test_a_goal_moves_the_quota_towards_it() -> None:
    """damos_quota_goal.py: scores of 0, 15,000, 5,000 and 18,000 move it up, down, up, down."""
    scores = [0.0]
    quota = QuotaState(Quota(goals=[Goal(metric="user_input", target=GOAL)]), lambda: scores[-1])
    now_ns, limit = 0, 0
    for score, goes_up in ((0.0, True), (1.5, False), (0.5, True), (1.8, False)) * 3:
        scores.append(score)
        for _ in range(5):
            before, now_ns = limit, now_ns + quota.quota.reset_ns
            quota.begin(now_ns)
            limit = quota.limit_bytes
            is_least = limit == PAGE_SIZE and not goes_up
            assert before == 0 or is_least or (limit > before) == goes_up


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=20), st.integers(1, 1000))
def test_a_quota_is_never_exceeded(sizes: list[int], quota_pages: int) -> None:
    """damos_quota.py: so many bytes in each reset interval, and full ones are counted."""
    quota = QuotaState(Quota(bytes=quota_pages * PAGE_SIZE, reset="100ms"))
    full = 0
    for window, size in enumerate(sizes):
        quota.begin(window * 100 * 10**6)
        assert quota.exceeded == full
        selected = quota.select(all_of(snapshot_of([(0, size, 0, 0)])), hot_first=False)
        assert selected.size_bytes == min(size, quota_pages) * PAGE_SIZE
        quota.charge(selected.size_bytes, selected.size_bytes, 0)
        full += size >= quota_pages


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=30),
    st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000)).map(sorted),
)
def test_watermarks_have_hysteresis(values: list[int], marks: list[int]) -> None:
    """The kernel has no test of its own; its documentation says this of watermarks."""
    low, mid, high = marks
    value = 0
    state = WatermarkState(
        Watermarks(metric="free_mem_rate", interval="1s", high=high, mid=mid, low=low),
        lambda: value / 1000,
    )
    was_on = True
    for second, value in enumerate(values):
        is_on = state.is_on(second * 10**9)
        if value > high or value < low:
            assert not is_on
        elif value <= mid:
            assert is_on
        else:
            assert is_on == was_on
        was_on = is_on
