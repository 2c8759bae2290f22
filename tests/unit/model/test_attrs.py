"""Monitoring attributes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.attrs import Attrs
from pydamon._model.errors import UsageError

MS = 10**6


def test_defaults_are_those_of_damon() -> None:
    attrs = Attrs()
    assert (attrs.sampling_ns, attrs.aggregation_ns, attrs.update_ns) == (
        5 * MS,
        100 * MS,
        1000 * MS,
    )
    assert (attrs.min_regions, attrs.max_regions) == (10, 1000)
    assert attrs.samples_per_aggregation == 20
    assert Attrs.of() == attrs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampling_ns": 0}, "sampling interval must be longer than 0"),
        ({"aggregation_ns": -1}, "aggregation interval must be longer than 0"),
        ({"update_ns": 0}, "update interval must be longer than 0"),
        ({"sampling_ns": 101 * MS}, r"sampling interval \(101 ms\) is longer .* \(100 ms\)"),
        ({"aggregation_ns": 2000 * MS}, r"aggregation interval \(2 s\) is longer .* \(1 s\)"),
        ({"min_regions": 2}, "at least 3 regions"),
        ({"max_regions": 9}, r"maximum number of regions \(9\) is below the minimum \(10\)"),
    ],
)
def test_refuses(values: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Attrs(**values)


def test_borders_are_permitted() -> None:
    attrs = Attrs(7, 7, 7, 3, 3)
    assert attrs.samples_per_aggregation == 1


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"aggr": "2s"}, (5, 2000, 2000)),
        ({"sample": "200ms"}, (200, 200, 1000)),
        ({"sample": "2s"}, (2000, 2000, 2000)),
        ({"aggr": "2ms"}, (2, 2, 1000)),
        ({"update": "50ms"}, (5, 50, 50)),
        ({"update": "1ms"}, (1, 1, 1)),
        ({"sample": timedelta(milliseconds=10), "update": "1min"}, (10, 100, 60000)),
    ],
)
def test_a_default_gives_way_to_what_is_named(
    named: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    attrs = Attrs.of(**named)
    intervals = attrs.sampling_ns, attrs.aggregation_ns, attrs.update_ns
    assert intervals == tuple(ms * MS for ms in expected)


@pytest.mark.parametrize("named", [{"sample": "0ms"}, {"aggr": "0ms"}, {"update": "0ms"}])
def test_a_named_0_is_not_taken_for_unnamed(named: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="longer than 0"):
        Attrs.of(**named)


def test_named_bounds() -> None:
    attrs = Attrs.of(min_regions=5, max_regions=50)
    assert (attrs.min_regions, attrs.max_regions) == (5, 50)
    with pytest.raises(UsageError, match="at least 3"):
        Attrs.of(min_regions=0)


_named = st.none() | st.integers(1, 10**7).map(lambda us: f"{us}us")


@given(_named, _named, _named)
def test_one_named_interval_is_always_enough(
    sample: str | None, aggr: str | None, update: str | None
) -> None:
    for attrs in (Attrs.of(sample=sample), Attrs.of(aggr=aggr), Attrs.of(update=update)):
        assert 0 < attrs.sampling_ns <= attrs.aggregation_ns <= attrs.update_ns


@given(st.integers(1, 10**9), st.integers(1, 10**11))
def test_samples_fit_into_the_aggregation(sampling_ns: int, aggregation_ns: int) -> None:
    aggregation_ns = max(sampling_ns, aggregation_ns)
    attrs = Attrs(sampling_ns, aggregation_ns, aggregation_ns)
    assert attrs.samples_per_aggregation * sampling_ns <= aggregation_ns
    assert (attrs.samples_per_aggregation + 1) * sampling_ns > aggregation_ns
