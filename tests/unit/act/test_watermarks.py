"""Watermarks switch a scheme with hysteresis."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydamon._act.runtime.pauses import WatermarkState
from pydamon._model.schemes import Watermarks

_S = 10**9


@given(st.lists(st.integers(0, 1000), max_size=30), st.lists(st.integers(0, 1000), min_size=3))
def test_off_outside_the_marks_and_on_again_only_below_the_middle(
    values: list[int], marks: list[int]
) -> None:
    low, mid, high = sorted(marks[:3])
    value = 0
    state = WatermarkState(
        Watermarks(metric="free_mem_rate", interval="5s", low=low, mid=mid, high=high),
        lambda: value / 1000,
    )
    on = True
    for step, value in enumerate(values):
        if on and not low <= value <= high:
            on = False
        elif not on and low <= value <= mid:
            on = True
        assert state.is_on(step * 5 * _S) == on


def test_the_metric_is_looked_at_once_an_interval() -> None:
    looks: list[float] = []

    def metric() -> float:
        looks.append(0.3)
        return looks[-1]

    state = WatermarkState(
        Watermarks(metric="free_mem_rate", interval="5s", low=200, mid=400, high=500),
        metric,
    )
    for tenth in range(120):
        assert state.is_on(tenth * _S // 10)
    assert len(looks) == 3


def test_without_a_metric_it_is_always_on() -> None:
    assert WatermarkState(Watermarks(), lambda: 1 / 0).is_on(0)
