"""Scores of a tool's figures against the true accesses.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydamon
from pydamon._bench.scores import (
    Comparison,
    View,
    correlation,
    fair_budget_percent,
    score,
    truth_heat,
    view,
)
from pydamon._model.regions import PAGE_SIZE
from pydamon.workloads import PageTruth

START = 1 << 30


def truth(*chance: float) -> list[PageTruth]:
    array = np.array(chance, np.float64)
    return [PageTruth("r", START, array, 100 * array)]


def reported(share: list[float], heat: list[float] | None = None) -> View:
    nothing = np.zeros(len(share))
    return View(np.array(share, np.float64), np.array(heat or nothing, np.float64), nothing)


def snapshot(edges: list[int], nr_accesses: list[int], touched: list[float]) -> pydamon.Snapshot:
    bounds = START + PAGE_SIZE * np.array(edges, np.int64)
    size = np.diff(bounds)
    n = len(size)
    return pydamon.Snapshot(
        start_ns=0,
        end_ns=10**8,
        sampling_ns=5 * 10**6,
        max_nr_accesses=20,
        targets=(pydamon.Target(7),),
        target=np.zeros(n, np.int32),
        start=bounds[:-1],
        end=bounds[1:],
        nr_accesses=np.array(nr_accesses, np.int64),
        age=np.zeros(n, np.int64),
        touched_bytes=np.rint(np.array(touched) * size).astype(np.int64),
        unobservable_bytes=np.zeros(n, np.int64),
    )


def test_a_page_has_the_density_of_its_region() -> None:
    # The tool monitors the pages -1 to 5, and the truth has the pages 0 to 7.
    pages = view(snapshot([-1, 2, 4, 6], [10, 0, 20], [1 / 3, 0, 1]), 0, truth(*[0] * 8))
    np.testing.assert_allclose(pages.share, [1 / 3] * 2 + [0, 0, 1, 1, 0, 0])
    np.testing.assert_allclose(pages.heat, [0.5] * 2 + [0, 0, 1, 1, 0, 0])
    assert pages.hot.tolist() == [True, True, False, False, True, True, False, False]


def test_another_target_has_no_figures() -> None:
    assert not view(snapshot([0, 4], [20], [1.0]), 1, truth(1, 1, 1, 1)).hot.any()


def test_precision_and_recall() -> None:
    result = score(truth(1, 1, 0, 0), reported([1, 0, 1, 0]))
    assert (result.precision, result.recall, result.f1) == (0.5, 0.5, 0.5)
    assert result.wss_error == 0
    result = score(truth(1, 1, 1, 0), reported([1, 0, 0, 0]))
    assert result.precision == 1
    assert result.recall == pytest.approx(1 / 3)
    assert result.wss_error == pytest.approx(2 / 3)


def test_sparse_pages_are_right_by_blocks() -> None:
    one_in_16 = truth(*([1] + [0] * 15) * 4 + [0] * 64)
    result = score(one_in_16, reported([1 / 16] * 64 + [0] * 64))
    assert result.f1 == 0
    assert result.block_f1 == 1
    assert result.wss_error == 0


def test_nothing_hot_and_nothing_reported() -> None:
    assert score(truth(0, 0), reported([0, 0])).f1 == 1
    assert score(truth(0, 0), reported([0, 1])).f1 == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=70))
def test_the_truth_itself_is_right(chance: list[float]) -> None:
    result = score(truth(*chance), reported(chance))
    assert result.f1 == 1
    assert result.wss_error == pytest.approx(0)


def test_heat_is_the_chance_of_a_hit() -> None:
    heat = truth_heat(truth(0, 1), 10 * 10**6)
    np.testing.assert_allclose(heat, [0, 1 - math.exp(-1)])
    assert correlation(heat, 2 * heat) == pytest.approx(1)
    assert math.isnan(correlation(heat, np.zeros(2)))


def test_two_tools_at_the_same_cost() -> None:
    better = Comparison("x", 0.01, 0.01, 1.0, 0.9, 0.0, 0.0, 0.05, 0.2)
    assert better.as_accurate
    assert better.half_the_error
    assert not Comparison("x", 0.01, 0.01, 0.1, 0.2, 0.0, 0.0, 0.15, 0.2).half_the_error
    assert not Comparison("x", 0.01, 0.01, 0.1, 0.2, 0.1, 0.0, 0.05, 0.2).as_accurate


def test_plain_damon_gets_what_pydamon_used() -> None:
    assert fair_budget_percent(0.008, 0.0075) is None
    assert fair_budget_percent(0.012, 0.006) == pytest.approx(2)
    assert fair_budget_percent(math.nan, 0.006) is None
