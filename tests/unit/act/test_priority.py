"""Scores, and which of them are served."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._act.runtime.quota import MAX_SCORE, lowest_served, scores
from pydamon._model.schemes import Weights
from pydamon._model.snapshot import Snapshot
from tests.unit.act.snapshots import all_of, snapshot_of, snapshots

_weights = st.builds(
    lambda size, rate, age: Weights(size=size, rate=rate, age=age),
    *[st.integers(0, 1000)] * 3,
).filter(lambda weights: weights.any)


@given(snapshots(), _weights, st.booleans())
def test_scores_are_from_0_to_99(snapshot: Snapshot, weights: Weights, hot_first: bool) -> None:
    score = scores(all_of(snapshot), weights, hot_first=hot_first)
    assert ((score >= 0) & (score <= MAX_SCORE)).all()


@pytest.mark.parametrize(
    ("nr_accesses", "age_s", "hot"),
    [
        # Of the kernel's rule by hand: age counts 50 + 50 / 32 for each binary digit of seconds.
        (0, 0, (0 + 50) // 2 * 99 // 100),
        (0, 120, (0 + (32 - 7) * 100 // 64) // 2 * 99 // 100),
        (20, 0, (100 + 50) // 2 * 99 // 100),
        (20, 1, (100 + 33 * 100 // 64) // 2 * 99 // 100),
        (10, 1000, (50 + 42 * 100 // 64) // 2 * 99 // 100),
    ],
)
def test_scores_are_damons(nr_accesses: int, age_s: int, hot: int) -> None:
    candidates = all_of(snapshot_of([(0, 1, nr_accesses, age_s * 10)]))
    weights = Weights(rate=1, age=1)
    assert scores(candidates, weights, hot_first=True).tolist() == [hot]
    assert scores(candidates, weights, hot_first=False).tolist() == [MAX_SCORE - hot]


@given(snapshots(), st.booleans())
def test_what_is_accessed_more_is_hotter(snapshot: Snapshot, hot_first: bool) -> None:
    score = scores(all_of(snapshot), Weights(rate=1), hot_first=hot_first)
    order = np.argsort(snapshot.nr_accesses, kind="stable")
    steps = np.diff(score[order])
    assert (steps >= 0).all() if hot_first else (steps <= 0).all()


@given(
    st.lists(st.tuples(st.integers(0, MAX_SCORE), st.integers(1, 2**30)), min_size=1, max_size=50),
    st.integers(0, 2**32),
)
def test_as_many_scores_are_served_as_the_limit_takes(
    rows: list[tuple[int, int]], limit: int
) -> None:
    score, size = np.array(rows).T
    lowest = lowest_served(score, size, limit)
    served, above = size[score >= lowest].sum(), size[score > lowest].sum()
    assert served >= limit or lowest == 0
    assert above < max(1, limit) or above == 0
