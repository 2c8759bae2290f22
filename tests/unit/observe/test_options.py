"""Options of monitoring: what is checked, what wins, and what only sampling has."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydamon
from pydamon import Attrs, CommonOptions, MonitorOptions, UsageError
from pydamon._observe.linux.procfs import Rule
from pydamon._observe.monitor import PhysicalMemory, Processes
from pydamon._observe.options import with_common
from pydamon._observe.start import ENGINES


@given(st.integers(1, 10_000), st.integers(1, 50))
def test_durations_are_text_or_timedeltas(sample_ms: int, samples: int) -> None:
    aggr = timedelta(milliseconds=sample_ms * samples)
    options = MonitorOptions(sample=f"{sample_ms}ms", aggr=aggr)
    assert options.attrs.sampling_ns == sample_ms * 10**6
    assert options.attrs.samples_per_aggregation == samples
    assert options.attrs == Attrs.of(f"{sample_ms}ms", aggr)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sample": "2s", "aggr": "1s"}, "longer than the aggregation"),
        ({"sample": "0s"}, "longer than 0"),
        ({"aggr": "soon"}, "not a duration"),
        ({"min_regions": 2}, "at least 3"),
        ({"min_regions": 20, "max_regions": 10}, "below"),
        ({"cpu_budget_percent": 0}, "CPU budget"),
        ({"cpu_budget_percent": 101 * (os.cpu_count() or 1)}, "CPU budget"),
        ({"regions_from": "tea leaves"}, "regions cannot be made"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        MonitorOptions(**wrong)
    # Before anything is looked for: there is no such process.
    if wrong.keys() <= CommonOptions.__annotations__.keys():
        with pytest.raises(UsageError, match=why):
            pydamon.monitor(2**22 + 1, **wrong)


def test_keywords_win_over_options() -> None:
    options = MonitorOptions(sample="1ms", aggr="50ms", seed=3)
    assert with_common(options, {"aggr": "1s"}) == replace(options, aggr="1s")
    assert with_common(None, {}) == MonitorOptions()


def test_other_options_are_no_keywords() -> None:
    with pytest.raises(TypeError, match=r"'seed': use options=MonitorOptions\(seed=...\)"):
        pydamon.monitor(1, seed=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'smaple'"):
        pydamon.monitor(1, smaple="5ms")  # type: ignore[call-arg]


def test_common_options_are_options_with_the_same_types() -> None:
    for name, kind in CommonOptions.__annotations__.items():
        assert getattr(kind, "__forward_arg__", kind) == MonitorOptions.__annotations__[name]


def test_regions_are_made_by_the_rules_that_there_are() -> None:
    for rule in Rule:
        assert MonitorOptions(regions_from=rule.value).regions_from == rule.value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (MonitorOptions(probe="refs"), "the probe refs"),
        (MonitorOptions(plain=True), "plain"),
        (MonitorOptions(seed=0), "a seed"),
    ],
)
def test_what_only_sampling_has_is_refused_by_the_kernel(
    options: MonitorOptions, words: str
) -> None:
    with pytest.raises(UsageError, match=f"{words} is for sampling"):
        ENGINES["kernel"].open(Processes((1,)), options)
    with pytest.raises(UsageError, match=f"{words} is for sampling"):
        pydamon.monitor_physical(options=options)


def test_physical_memory_is_not_sampled() -> None:
    with pytest.raises(UsageError, match="physical memory"):
        ENGINES["sampling"].open(PhysicalMemory(), MonitorOptions())


def test_a_selection_can_be_opened_more_than_once() -> None:
    selection = Processes.of(iter([3, 4]), ranges=[(0, 4096)])
    assert selection == Processes((3, 4), True, ((0, 4096),))
    assert Processes.of(7).pids == (7,)
    assert Processes.of(list).pids is list
