"""The CPU budget, against costs that are made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.attrs import Attrs
from pydamon._observe.pace import Pacer

US = 1000
MS = 10**6


def pacer(budget: float | None = 0.01, *, sampling: bool = False, aggr: bool = False) -> Pacer:
    return Pacer(
        Attrs(), budget, sampling_is_named=sampling, aggregation_is_named=aggr, min_samples=5
    )


def settle(
    p: Pacer, tick_ns: float, clear_ns: float, adjusting_ns: float, rounds: int = 40
) -> float:
    """Let it learn what a tick, all clears of a tick and an adjustment cost; the CPU share."""
    share = 0.0
    for _ in range(rounds):
        n = p.effective.samples_per_aggregation
        clearing = n * p.share * clear_ns
        sampling = n * tick_ns + clearing
        share = (sampling + clearing + adjusting_ns) / p.effective.aggregation_ns
        p.observe(n, int(sampling), int(adjusting_ns), int(clearing))
    return share


def test_cheap_monitoring_is_left_alone() -> None:
    p = pacer()
    settle(p, 5 * US, 1 * US, 20 * US)
    assert p.effective == Attrs()
    assert p.share == 1


@pytest.mark.parametrize(
    ("tick_ns", "clear_ns", "adjusting_ns"),
    [
        (100 * US, 100 * US, 600 * US),
        (100 * US, 10 * MS, 600 * US),  # a thousand hot regions
        (20 * MS, 0, 600 * US),  # a probe that reads whole processes
        (100 * US, 50 * US, 20 * MS),  # a great many regions
    ],
)
def test_the_budget_is_kept_whatever_costs(
    tick_ns: float, clear_ns: float, adjusting_ns: float
) -> None:
    assert settle(pacer(), tick_ns, clear_ns, adjusting_ns) <= 0.0105


@given(
    st.floats(10 * US, 5 * MS),
    st.floats(0, 5 * MS),
    st.floats(50 * US, 10 * MS),
    st.floats(0.001, 0.2),
)
def test_the_budget_is_kept_and_used(
    tick_ns: float, clear_ns: float, adjusting_ns: float, budget: float
) -> None:
    p = pacer(budget)
    share = settle(p, tick_ns, clear_ns, adjusting_ns, rounds=60)
    assert share <= 1.05 * budget
    unstretched = p.effective == Attrs() and p.share == 1
    assert unstretched or share >= 0.1 * budget
    assert p.effective.samples_per_aggregation >= 5


def test_named_intervals_stay_and_fewer_regions_are_sampled_instead() -> None:
    p = pacer(sampling=True, aggr=True)
    settle(p, 50 * US, 500 * US, 300 * US)
    assert p.effective == Attrs()
    assert 0 < p.share < 0.1


def test_a_named_aggregation_keeps_enough_samples() -> None:
    p = pacer(aggr=True)
    settle(p, 500 * US, 5 * MS, 300 * US)
    assert p.effective.aggregation_ns == 100 * MS
    assert p.effective.samples_per_aggregation == 5


def test_no_budget_is_no_bound() -> None:
    p = pacer(None)
    settle(p, 5 * MS, 50 * MS, 20 * MS)
    assert p.effective == Attrs()
    assert p.share == 1


@pytest.mark.parametrize("make", [pacer, lambda: pacer(0.05)])
def test_it_recovers_when_things_get_cheap(make: Callable[[], Pacer]) -> None:
    p = make()
    settle(p, 1 * MS, 20 * MS, 5 * MS)
    assert p.effective.sampling_ns > 5 * MS
    settle(p, 5 * US, 1 * US, 20 * US)
    assert p.effective == Attrs()
    assert p.share == 1


def test_what_a_tick_is_expected_to_cost_counts_from_the_start() -> None:
    p = pacer()
    p.expect(10 * MS)
    assert p.effective.sampling_ns >= 1000 * MS
