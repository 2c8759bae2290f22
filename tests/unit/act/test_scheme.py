"""What a scheme may say, and errors that name the field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._act.policies import Reclaim, Tier
from pydamon._model.errors import UsageError
from pydamon._model.schemes import (
    AccessPattern,
    Age,
    Destination,
    Filter,
    Goal,
    Guard,
    Quota,
    Rate,
    Scheme,
    Watermarks,
    Weights,
)

_MS = 10**6


def test_what_people_write_becomes_bytes_and_nanoseconds() -> None:
    pattern = AccessPattern(min_size="2M", max_rate="5%", min_age="2min")
    assert pattern.min_size_bytes == 2 << 20
    assert pattern.max_rate == Rate(5, "%")
    assert pattern.min_age == Age(120 * 10**9, "ns")
    quota = Quota(time="10ms", bytes="128M", reset=timedelta(seconds=2))
    assert (quota.time_ns, quota.size_bytes, quota.reset_ns) == (10**7, 128 << 20, 2 * 10**9)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: AccessPattern(min_size="2X"), "min_size"),
        (lambda: AccessPattern(max_rate="101%"), "max_rate"),
        (lambda: AccessPattern(min_age="soon"), "min_age"),
        (lambda: AccessPattern(min_rate=5, max_rate=4), "min_rate"),
        (lambda: AccessPattern(min_age="2s", max_age="1s"), "min_age"),
        (lambda: Quota(time=10), "time"),  # type: ignore[arg-type]
        (lambda: Quota(reset="0s"), "reset"),
        (lambda: Quota(fail_charge=1.5), "fail_charge"),
        (lambda: Quota(goals=[3]), "goals"),  # type: ignore[list-item]
        (lambda: Quota(tuner="magic"), "tuner"),
        (lambda: Weights(age=-1), "age"),
        (lambda: Goal(metric="luck", target=1), "metric"),
        (lambda: Goal(metric="user_input", target=0), "target"),
        (lambda: Goal(metric="node_mem_used_bp", target=1), "node"),
        (lambda: Filter("size"), "kind"),
        (lambda: Filter("addr", start=4096), "end"),
        (lambda: Filter("addr", start=8192, end=4096), "start"),
        (lambda: Filter("anon", allow="yes"), "allow"),  # type: ignore[arg-type]
        (lambda: Watermarks(metric="free_mem_rate", low=300, mid=200, high=400), "mid"),
        (lambda: Watermarks(high=1001), "high"),
        (lambda: Scheme("swap"), "action"),
        (lambda: Scheme("migrate_hot"), "target_node"),
        (lambda: Scheme("cold", target_node=1), "target_node"),
        (lambda: Scheme("cold", max_snapshots=1.5), "max_snapshots"),  # type: ignore[arg-type]
        (lambda: Scheme("cold", {"min_age": "2min"}), "pattern"),  # type: ignore[arg-type]
        (lambda: Guard(refaults=2), "refaults"),
        (lambda: Reclaim(quota_time="soon"), "quota_time"),
        (lambda: Reclaim(low=500).schemes(), "mid"),
    ],
)
def test_errors_name_the_field(make: Callable[[], object], field: str) -> None:
    with pytest.raises(UsageError, match=rf"^{field}: "):
        make()


def test_schemes_cannot_change_but_be_copied_with_changes() -> None:
    scheme = Scheme("pageout", quota=Quota(time="10ms"), destinations=())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        scheme.name = "x"  # type: ignore[misc]
    copy = attrs.evolve(scheme, name="x", filters=[Filter("anon")])
    assert copy.label == "x"
    assert copy.quota == scheme.quota
    assert copy.filters == (Filter("anon"),)
    assert attrs.evolve(copy.quota, bytes="1M").time_ns == 10 * _MS


def test_shares_stay_shares_in_copies() -> None:
    marks = Watermarks(metric="free_mem_rate", high="100%", mid=500, low="0.1%")
    assert attrs.evolve(marks, interval="1s").high_share == 1.0
    assert attrs.evolve(marks, mid="40%").low_share == 0.001
    reclaim = attrs.evolve(Reclaim(high=999, max_refaults=1), min_age="5s")
    assert (reclaim.high_share, reclaim.max_refault_share) == (0.999, 1.0)
    promote, _ = attrs.evolve(Tier(used_bp=9970), hot_rate="20%").schemes()
    assert promote.quota.goals[0].target == 9970


def test_bounds_are_in_samples_and_aggregations() -> None:
    pattern = AccessPattern(min_rate="5%", max_rate="100Hz", min_age="2min", max_age=2000)
    bounds = pattern.bounds(20, 5 * _MS, 100 * _MS)
    assert (bounds.min_nr_accesses, bounds.max_nr_accesses) == (1, 10)
    assert (bounds.min_age, bounds.max_age) == (1200, 2000)
    nothing = AccessPattern().bounds(20, 5 * _MS, 100 * _MS)
    assert nothing.min_size == nothing.min_nr_accesses == nothing.min_age == 0
    assert min(nothing.max_size, nothing.max_nr_accesses, nothing.max_age) > 2**60


@given(st.integers(1, 10_000), st.integers(1, 10**9), st.integers(1, 100), st.integers(0, 10**12))
def test_bounds_never_let_in_what_the_pattern_leaves_out(
    samples: int, sampling_ns: int, percent: int, age_ns: int
) -> None:
    aggregation_ns = samples * sampling_ns
    age = timedelta(microseconds=age_ns // 1000)
    low = AccessPattern(min_rate=f"{percent}%", min_age=age)
    high = AccessPattern(max_rate=f"{percent}%", max_age=age)
    inside, outside = (p.bounds(samples, sampling_ns, aggregation_ns) for p in (low, high))
    assert inside.min_nr_accesses * 100 >= percent * samples
    assert outside.max_nr_accesses * 100 <= percent * samples
    assert inside.min_nr_accesses - outside.max_nr_accesses in (0, 1)
    assert inside.min_age - outside.max_age in (0, 1)


def test_a_function_is_an_action() -> None:
    def report(region: object) -> None:
        del region

    scheme = Scheme(report, target_node=None)
    assert scheme.label == "report"
    assert Scheme("migrate_hot", destinations=[Destination(node=1, weight=3)]).target_node is None
