"""Auto-tuning of the intervals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.attrs import Attrs, IntervalGoal, access_events, feedback, tune
from pydamon._model.errors import UsageError

MS = 10**6
_scores = st.floats(0, 1e12)


@pytest.mark.parametrize(
    ("last", "score", "expected"),
    [
        (10**8, 10_000, 10**8),
        (10**8, 20_000, 10**4),
        (10**8, 10**9, 10**4),
        (10**8, 0, 2 * 10**8),
        (10**8, 5_000, 1.5 * 10**8),
        (10**8, 15_000, 0.5 * 10**8),
        (10**4, 15_000, 10**4),
    ],
)
def test_feedback(last: float, score: float, expected: float) -> None:
    assert feedback(last, score) == pytest.approx(expected)


def test_access_events() -> None:
    goal = IntervalGoal(access_bp=400)
    assert access_events(4, 100, goal) == pytest.approx(10_000)
    assert access_events(2, 100, goal) == pytest.approx(5_000)
    assert access_events(0, 100, goal) == 0
    assert access_events(0, 0, goal) == 0


@pytest.mark.parametrize(
    ("score", "sampling_ms"), [(0, 200), (5_000, 150), (10_000, 100), (15_000, 75), (10**9, 50)]
)
def test_tune(score: float, sampling_ms: int) -> None:
    attrs = Attrs(100 * MS, 2000 * MS, 4000 * MS, 5, 50)
    tuned = tune(attrs, IntervalGoal(), score)
    assert tuned.sampling_ns == pytest.approx(sampling_ms * MS, rel=1e-3)
    assert tuned.aggregation_ns == 20 * tuned.sampling_ns
    assert tuned.update_ns == 4000 * MS
    assert (tuned.min_regions, tuned.max_regions) == (5, 50)


def test_update_is_never_shorter_than_aggregation() -> None:
    tuned = tune(Attrs(100 * MS, 2000 * MS, 2000 * MS), IntervalGoal(), 0)
    assert tuned.update_ns == tuned.aggregation_ns == 4000 * MS


@given(st.integers(1, 20_000 * MS), st.integers(1, 1000), st.lists(_scores, max_size=20))
def test_stays_within_its_bounds(sampling_ns: int, samples: int, scores: list[float]) -> None:
    goal = IntervalGoal()
    aggregation_ns = sampling_ns * samples
    attrs = Attrs(sampling_ns, aggregation_ns, aggregation_ns)
    for score in scores:
        attrs = tune(attrs, goal, score)
        assert goal.min_sampling_ns <= attrs.sampling_ns <= goal.max_sampling_ns
        assert attrs.samples_per_aggregation == samples


@pytest.mark.parametrize("share_at", [lambda ms: ms / 1000, lambda ms: min(1.0, ms / 20)])
def test_settles_at_the_goal(share_at: Callable[[float], float]) -> None:
    """The longer the interval, the more is found accessed: up or down, the goal is reached."""
    goal = IntervalGoal(min_sampling_ns=1, max_sampling_ns=10**12)
    for first_ms in (0.1, 10_000):
        first_ns = int(first_ms * MS)
        attrs = Attrs(first_ns, first_ns * 20, first_ns * 20)
        for _ in range(60):
            share = share_at(attrs.sampling_ns / MS)
            attrs = tune(attrs, goal, access_events(share * 1e9, 1e9, goal))
        assert share_at(attrs.sampling_ns / MS) == pytest.approx(0.04, rel=0.05)


@pytest.mark.parametrize(
    "values",
    [
        {"access_bp": 0},
        {"access_bp": 10_001},
        {"aggregations": 0},
        {"min_sampling_ns": 0},
        {"min_sampling_ns": 20, "max_sampling_ns": 10},
    ],
)
def test_refuses(values: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        IntervalGoal(**values)
