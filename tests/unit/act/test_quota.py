"""Quotas hold, whatever matches and however long acting takes; goals are reached."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon._act.runtime.quota import QuotaState
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.schemes import Goal, Quota, Weights
from pydamon._model.snapshot import Snapshot
from tests.strategies import coalesced
from tests.unit.act.snapshots import all_of, bytes_of, snapshot_of, snapshots

_MS = 10**6
_WINDOW_NS = 1000 * _MS
_WINDOWS = 60


@settings(max_examples=50)
@given(
    st.lists(snapshots(), min_size=1, max_size=3),
    st.integers(PAGE_SIZE, 2**24),
    st.sampled_from([Weights(), Weights(rate=1, age=1), Weights(size=1, age=2)]),
    st.integers(50, 1500),
    st.booleans(),
)
def test_no_window_ever_gets_more_than_its_bytes(
    seen: list[Snapshot], limit: int, weights: Weights, aggregation_ms: int, hot_first: bool
) -> None:
    quota = QuotaState(Quota(bytes=limit, weights=weights))
    now_ns, spent, since_ns = 0, 0, 0
    for step in range(120):
        now_ns += aggregation_ms * _MS
        quota.begin(now_ns)
        if step == 0 or now_ns - since_ns >= _WINDOW_NS:
            spent, since_ns = 0, now_ns
        selected = quota.select(all_of(seen[step % len(seen)]), hot_first=hot_first)
        quota.charge(selected.size_bytes, 0, _MS)
        spent += selected.size_bytes
        assert spent <= limit


@settings(max_examples=50)
@given(
    st.integers(1, 50),
    st.floats(0.02, 50),
    st.floats(0, 0.5),
    st.integers(0, 2**32),
)
def test_the_time_quota_holds_on_average(
    quota_ms: int, us_a_page: float, noise: float, seed: int
) -> None:
    """Each step of a 16th of the limit takes as long as it takes: known only afterwards."""
    rng = np.random.default_rng(seed)
    snapshot = snapshot_of([(0, 2**22, 0, 5000)])
    quota = QuotaState(Quota(time=f"{quota_ms}ms"))
    total_ns = 0
    for window in range(_WINDOWS):
        quota.begin(window * _WINDOW_NS)
        selected = quota.select(all_of(snapshot), hot_first=False)
        step = max(2 << 20, quota.limit_bytes // 16)
        for size in [step] * (selected.size_bytes // step) + [selected.size_bytes % step]:
            if quota.left_bytes == 0:
                break
            took_ns = int(size / PAGE_SIZE * us_a_page * 1000 * rng.uniform(1 - noise, 1 + noise))
            quota.charge(size, size, took_ns)
            total_ns += took_ns
    step_ns = 2 * (2 << 20) / PAGE_SIZE * us_a_page * 1000  # what is owed at the end
    assert total_ns <= 1.1 * _WINDOWS * quota_ms * _MS + step_ns
    assert total_ns >= 0.85 * _WINDOWS * quota_ms * _MS


def test_the_next_window_goes_on_where_the_last_one_stopped() -> None:
    snapshot = snapshot_of([(0, 10, 0, 9), (10, 25, 0, 9), (40, 60, 0, 9)])
    quota = QuotaState(Quota(bytes=7 * PAGE_SIZE))
    windows = []
    for window in range(7):
        quota.begin(window * _WINDOW_NS)
        selected = quota.select(all_of(snapshot), hot_first=False)
        quota.charge(selected.size_bytes, selected.size_bytes, _MS)
        windows.append([(s // PAGE_SIZE, e // PAGE_SIZE) for _, s, e in bytes_of(selected)])
        assert quota.exceeded == window
    assert windows[:4] == [[(0, 7)], [(7, 10), (10, 14)], [(14, 21)], [(21, 25), (40, 43)]]
    assert windows[6] == [(57, 60), (0, 4)]


@settings(max_examples=50)
@given(snapshots(), st.integers(PAGE_SIZE, 2**26))
def test_everything_has_its_turn(snapshot: Snapshot, limit: int) -> None:
    total = all_of(snapshot).size_bytes
    quota = QuotaState(Quota(bytes=max(limit, total // 25 + PAGE_SIZE)))
    selected: list[tuple[int, int, int]] = []
    for window in range(25):
        quota.begin(window * _WINDOW_NS)
        now = quota.select(all_of(snapshot), hot_first=False)
        quota.charge(now.size_bytes, now.size_bytes, 0)
        selected += bytes_of(now)
    assert _union(selected) == coalesced(bytes_of(all_of(snapshot)))


def _union(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    out: list[tuple[int, int, int]] = []
    for target, start, end in sorted(rows):
        if out and out[-1][0] == target and out[-1][2] >= start:
            out[-1] = (target, out[-1][1], max(end, out[-1][2]))
        else:
            out.append((target, start, end))
    return out


@pytest.mark.parametrize("fail_charge", [0.0, 0.25, 1.0])
def test_what_failed_may_cost_less(fail_charge: float) -> None:
    quota = QuotaState(Quota(bytes="1M", fail_charge=fail_charge))
    quota.begin(0)
    quota.charge(512 << 10, 256 << 10, _MS)
    assert quota.left_bytes == (1 << 20) - (256 << 10) - int(fail_charge * (256 << 10))


def test_a_goal_moves_the_limit_up_and_down() -> None:
    score = 0.0
    quota = QuotaState(Quota(goals=[Goal(metric="user_input", target=1)]), lambda: score)
    limits = []
    for window, value in enumerate([0, 0, 0, 1.5, 0.5, 1.8, 1]):
        score = value
        quota.begin(window * _WINDOW_NS)
        limits.append(quota.limit_bytes)
    ups = [b > a for a, b in itertools.pairwise(limits)]
    assert ups == [True, True, False, True, False, False]
    assert limits[-1] == limits[-2]


@settings(max_examples=30)
@given(st.floats(0.01, 0.8), st.floats(0, 0.3), st.integers(0, 2**32))
def test_a_goal_is_reached_to_within_a_tenth(wanted: float, noise: float, seed: int) -> None:
    """Of 1 GiB a share shall be free; what is taken comes back at a rate of its own."""
    rng = np.random.default_rng(seed)
    free, memory, target = 0.0, float(1 << 30), 10_000 * wanted
    quota = QuotaState(
        Quota(bytes="64M", goals=[Goal(metric="user_input", target=int(target))]),
        lambda: (10_000 * free / memory) / target,
    )
    course = []
    for window in range(400):
        quota.begin(window * _WINDOW_NS)
        taken = min(quota.limit_bytes, memory - free)
        comes_back = 0.03 * free * rng.uniform(1 - noise, 1 + noise)
        free = max(0.0, free + taken - comes_back)
        course.append(10_000 * free / memory)
    assert np.mean(course[-100:]) == pytest.approx(target, rel=0.1)


def test_temporal_goals_are_all_or_nothing() -> None:
    score = 0.0
    quota = QuotaState(
        Quota(bytes="1M", goals=[Goal(metric="user_input", target=1)], tuner="temporal"),
        lambda: score,
    )
    quota.begin(0)
    assert quota.left_bytes == 1 << 20
    score = 1.0
    quota.begin(_WINDOW_NS)
    assert quota.left_bytes == 0
