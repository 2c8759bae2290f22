"""Scores of access rates, on snapshots and truths that are made up.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import pydamon
from pydamon._bench import rates
from pydamon._bench.rate_scores import Comparison, SetScore, rank_correlation
from pydamon._bench.tables import rates_table
from pydamon._cli import bench, options
from pydamon._workloads.rates import RATE_PATTERNS, RateTruth
from tests.command_line import main

PID = 7
SET_BYTES = 1 << 20
BASE = 1 << 30


def truth_of(*shares: tuple[str, float], seconds: int = 12) -> RateTruth:
    """Sets whose pages are accessed at constant rates; a share below 0 is hot in the first half."""
    time_s = np.arange(0, seconds, 0.01)
    columns, accesses = [], []
    for _, share in shares:
        steady = np.full(len(time_s), abs(share))
        steady[(time_s >= seconds / 2) & (share < 0)] = 0
        columns.append(np.cumsum(steady) * 0.01)
        accesses.append(np.cumsum(steady) * 2)
    words = tuple(word for word, _ in shares)
    return RateTruth(words, time_s, np.array(columns).T, np.array(accesses).T)


def snapshot(
    shares: list[float], errors: list[float] | None = None, touched: list[float] | None = None
) -> pydamon.Snapshot:
    """Make regions of equal size, as many as shares, over the memory of the sets."""
    n = len(shares)
    sizes = np.full(n, SET_BYTES)
    return pydamon.Snapshot(
        start_ns=0,
        end_ns=10**9,
        sampling_ns=5 * 10**6,
        max_nr_accesses=20,
        targets=(pydamon.Target(PID),),
        target=np.zeros(n, np.int32),
        start=BASE + np.arange(n) * SET_BYTES,
        end=BASE + np.arange(1, n + 1) * SET_BYTES,
        nr_accesses=np.rint(20 * np.array(shares)).astype(np.int64),
        age=np.zeros(n, np.int64),
        touched_bytes=np.rint(np.array(touched or shares) * sizes).astype(np.int64),
        unobservable_bytes=np.zeros(n, np.int64),
        access_share=np.array(shares, np.float64),
        access_share_error=np.array(errors or [math.nan] * n),
    )


def compare(truth: RateTruth, *snapshots: pydamon.Snapshot, start_s: float = 1.0) -> Comparison:
    """Compare snapshots of a second each."""
    sets = len(truth.words)
    return Comparison(
        snapshots,
        PID,
        [(start_s + number, start_s + number + 1) for number in range(len(snapshots))],
        [(BASE + n * SET_BYTES, BASE + (n + 1) * SET_BYTES) for n in range(sets)],
        truth.shares(1, 4),
        truth,
    )


TRUTH = truth_of(("idle", 0), ("random:10", 0.05), ("random:50", 0.2))


def test_what_is_right_has_no_error() -> None:
    result = compare(TRUTH, *[snapshot([0, 0.05, 0.2])] * 3)
    idle, slow, fast = result.sets()
    assert math.isnan(idle.mean_error)
    assert slow.mean_error == pytest.approx(0)
    assert slow.median_error == pytest.approx(0)
    assert fast.reported == pytest.approx(fast.truth)
    assert result.rank_of_sets() == result.rank_of_regions() == pytest.approx(1)
    assert result.cold_called_accessed() == 0
    assert slow.kept
    assert math.isnan(slow.within_1)  # no uncertainty is stated


def test_errors_of_the_mean_and_of_the_median_snapshot() -> None:
    said = [snapshot([0, share, 0.2]) for share in (0.0, 0.04, 0.11)]
    slow = compare(TRUTH, *said).sets()[1]
    assert slow.reported == pytest.approx(0.05)
    assert slow.mean_error == pytest.approx(0)
    assert slow.median_error == pytest.approx(1)  # of 100 %, 20 % and 120 %


def test_longer_windows_count_for_more() -> None:
    result = compare(TRUTH, snapshot([0, 0.1, 0]), snapshot([0, 0, 0]))
    longer = replace(result, windows=[(1.0, 4.0), (4.0, 5.0)])
    assert longer.sets()[1].reported == pytest.approx(0.075)


def test_idle_memory_told_to_be_accessed() -> None:
    result = compare(TRUTH, snapshot([0.004, 0.05, 0.2]), snapshot([0.006, 0.05, 0.2]))
    assert result.cold_called_accessed() == 0.5
    assert [score.called_accessed for score in result.sets()] == [0.5, 1, 1]


def test_calibration() -> None:
    said = [snapshot([0, share, 0.2], [0.001, 0.01, 0.0]) for share in (0.05, 0.055, 0.065, 0.09)]
    idle, slow, fast = compare(TRUTH, *said).sets()
    assert (idle.within_1, idle.within_2) == (1, 1)
    assert (slow.within_1, slow.within_2) == (0.5, 0.75)
    assert fast.within_2 in (0, 1)  # equal but for rounding


@pytest.mark.parametrize("seed", range(3))
def test_errors_that_are_normal_are_calibrated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = truth_of(("random:50", 0.2), ("random:50", 0.2))
    said = [snapshot(list(0.2 + 0.01 * rng.standard_normal(2)), [0.01] * 2) for _ in range(400)]
    comparison = replace(compare(truth, *said), windows=[(1.0, 2.0)] * 400)
    for score in comparison.sets():
        assert score.within_1 == pytest.approx(0.683, abs=0.08)
        assert score.within_2 == pytest.approx(0.954, abs=0.04)


def test_a_region_over_two_sets_is_meant_to_say_their_mean() -> None:
    whole = snapshot([0.125], [0.001])
    whole = replace(whole, start=np.array([BASE + SET_BYTES]), end=np.array([BASE + 3 * SET_BYTES]))
    _, slow, fast = compare(TRUTH, whole).sets()
    assert (slow.within_1, fast.within_1) == (1, 1)
    assert slow.mean_error == pytest.approx(1.5)
    assert fast.mean_error == pytest.approx(-0.375)


def test_memory_without_a_region_counts_as_idle() -> None:
    only_first = snapshot([0.2])
    assert compare(TRUTH, only_first).sets()[2].reported == 0


def test_a_moving_set_is_judged_by_the_window() -> None:
    truth = truth_of(("turn:0:2:6000", -1.0), ("idle", 0))
    said = [snapshot([1, 0])] * 5 + [snapshot([0.5, 0])] + [snapshot([0, 0])] * 4
    score, _ = compare(truth, *said).sets()
    assert score.truth == pytest.approx(0.5, abs=0.01)
    assert score.median_error == pytest.approx(0)  # while it is hot
    late = [snapshot([0, 0])] * 4 + [snapshot([1, 0])] * 6
    assert compare(truth, *late).sets()[0].median_error == pytest.approx(1, abs=0.01)


def test_rates_that_the_machine_did_not_keep() -> None:
    result = compare(TRUTH, snapshot([0, 0.05, 0.2]))
    busy = replace(result, wanted=np.array([0, 0.05, 0.3]))
    assert [score.kept for score in busy.sets()] == [True, True, False]


def test_working_sets_over_windows() -> None:
    truth = truth_of(("period:100", 0.05), ("idle", 0))  # each page is accessed 10 times a second
    said = [snapshot([0, 0], touched=[share, 0.0]) for share in (1.0, 0.5, 0.5)]
    result = compare(truth, *said)
    assert result.working_set_error(1.0) == pytest.approx(0.5)
    assert result.working_set_error(3.0) == pytest.approx(0)
    assert math.isnan(result.working_set_error(0.1))  # shorter than a snapshot's window
    assert math.isnan(result.working_set_error(60.0))


shares = st.lists(st.floats(0.01, 1), min_size=2, max_size=30, unique=True)


@given(shares)
def test_ranks_do_not_change_with_the_scale(values: list[float]) -> None:
    array = np.array(values)
    assert rank_correlation(array, array**2) == pytest.approx(1)
    assert rank_correlation(array, -array) == pytest.approx(-1)


def test_ranks_of_equal_shares() -> None:
    def rank(reported: list[float], truth: list[float]) -> float:
        return rank_correlation(np.array(reported), np.array(truth))

    # scipy.stats.spearmanr([0.1, 0.1, 0.3, 0.2], [1, 2, 3, 4])
    assert rank([0.1, 0.1, 0.3, 0.2], [1, 2, 3, 4]) == pytest.approx(0.7378647873726218)
    # The order of idle memory means nothing.
    assert rank([0.0, 0.004, 0.2], [0, 0, 1]) == pytest.approx(1)
    assert math.isnan(rank([0.1, 0.1], [0, 1]))


def row(**changes: object) -> rates.RateAccuracy:
    result = compare(TRUTH, snapshot([0, 0.05, 0.2]))
    made = rates.RateAccuracy(
        "poisson", "pydamon", 3, 0.99, 0.98, 0.0, 0.01, math.nan, 0.008, 0.009, 100.0, 40.0, 0.1,
        result.sets(),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def text_of(*rows: rates.RateAccuracy) -> str:
    console = Console(width=190)
    with console.capture() as capture:
        console.print(rates_table(rows))
    return capture.get()


def test_the_table_says_whether_the_machine_was_too_busy() -> None:
    text = text_of(row())
    assert "random:50" in text
    assert "too busy" not in text
    busy: tuple[SetScore, ...] = tuple(replace(score, kept=False) for score in row().sets[1:2])
    text = text_of(row(), row(tool="plain", sets=busy))
    assert "rate not kept" in text
    assert "too busy to keep the rates of poisson with plain (random:10)." in text


def test_the_command_line_knows_all_patterns_and_tools() -> None:
    assert tuple(RATE_PATTERNS) == options.RATE_PATTERNS
    assert tuple(rates.RATE_TOOLS) == options.RATE_TOOLS


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(pattern: str, tools: list[str], *_: object) -> Iterator[rates.RateAccuracy]:
        for tool in tools:
            yield row(name=pattern, tool=tool)

    monkeypatch.setattr(rates, "measure", measure)
    monkeypatch.setattr(bench, "_tools", lambda wanted, _: list(wanted))
    assert main(["bench", "rates", "--json", "--pattern", "moving", "--tool", "plain"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["name"], result["tool"]) == ("moving", "plain")
    assert result["wss_error_10s"] is None
    assert result["sets"][0]["mean_error"] is None
    assert result["sets"][2]["name"] == "random:50"
