"""Sets of pages at known rates: what the program counts, against the accesses that it made.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon._workloads.rate_runner import AccessedSet, LogRing, accessed_set
from pydamon._workloads.rates import RATE_PATTERNS, RateTruth, wanted_share

PAGES = 64
INTERVAL_S = 0.005
START_S = 100.0


def run(
    word: str, pauses_s: NDArray[np.float64]
) -> tuple[AccessedSet, list[tuple[float, NDArray[np.int64]]], float]:
    """Drive a set with these pauses between turns; return its accesses and the end, too."""
    pages = accessed_set(word, np.zeros(PAGES << 12, np.uint8), INTERVAL_S)
    accesses: list[tuple[float, NDArray[np.int64]]] = []
    now_s = START_S

    def touch(which: Any) -> None:
        accesses.append((now_s, np.arange(PAGES)[which]))

    pages._touch = touch  # type: ignore[method-assign]
    pages.go(now_s, 0.0)
    for pause_s in pauses_s.tolist():
        now_s += pause_s
        pages.go(now_s, pause_s if pause_s < 0.02 else 0.0)
    return pages, accesses, now_s


def seen_share(accesses: list[tuple[float, NDArray[np.int64]]], end_s: float) -> float:
    """Look at many moments which pages were accessed in the interval before."""
    last_s = np.full(PAGES, -np.inf)
    shares, at = [], 0
    for moment_s in np.arange(START_S, end_s, 0.00047):
        while at < len(accesses) and accesses[at][0] <= moment_s:
            last_s[accesses[at][1]] = accesses[at][0]
            at += 1
        shares.append(float((moment_s - last_s < INTERVAL_S).mean()))
    return float(np.mean(shares))


WORDS = sorted({word for words in RATE_PATTERNS.values() for word in words} | {"turn:1:3:200"})


@pytest.mark.parametrize("word", WORDS)
def test_the_truth_is_what_a_look_at_the_accesses_finds(word: str) -> None:
    # A busy machine: turns come late, now and then by more than an interval.
    rng = np.random.default_rng(1)
    pauses_s = np.where(rng.random(4000) < 0.02, rng.uniform(0.004, 0.03, 4000), 0.0011)
    pages, accesses, end_s = run(word, pauses_s)
    counted = pages.seen_s / (end_s - START_S)
    seen = seen_share(accesses, end_s)
    assert counted == pytest.approx(seen, rel=0.05, abs=2e-4)


@pytest.mark.parametrize("word", WORDS)
def test_a_quiet_machine_keeps_the_rates(word: str) -> None:
    pages, _, end_s = run(word, np.full(10_000, 0.001))
    counted = pages.seen_s / (end_s - START_S)
    assert counted == pytest.approx(wanted_share(word, INTERVAL_S), rel=0.12, abs=2e-4)


def truth_of(*words: str, seconds: float = 4.0, rows: int = 1000) -> RateTruth:
    """Run sets on a clock of their own, and read the log."""
    memory = np.zeros(PAGES << 12, np.uint8)
    sets = [accessed_set(word, memory, INTERVAL_S) for word in words]
    log = np.zeros((1 + rows, 1 + 2 * len(words)))
    ring = LogRing(log)
    for turn in range(int(seconds * 1000)):
        now_s = START_S + turn / 1000
        for pages in sets:
            pages.go(now_s, 0.001)
        if turn % 10 == 0:
            ring.write(now_s, sets)
    return RateTruth.of(words, log)


def test_shares_between_two_moments() -> None:
    truth = truth_of("idle", "random:50", "turn:0:2:1000")
    idle, random, _ = truth.shares(START_S, START_S + 3.9)
    assert idle == 0
    assert random == pytest.approx(1 - math.exp(-0.25), rel=0.1)
    assert truth.shares(START_S + 0.1, START_S + 0.9)[2] == pytest.approx(1, abs=0.01)
    assert truth.shares(START_S + 1.1, START_S + 1.9)[2] == pytest.approx(0, abs=0.01)
    # Nothing is known of the time before the program started.
    assert np.isnan(truth.shares(START_S - 2, START_S - 1)).all()


def test_pages_touched_between_two_moments() -> None:
    truth = truth_of("idle", "random:2", "mixed:8:2", "period:300", "scan:400")
    touched = truth.touched(START_S + 1, START_S + 1.2)
    assert touched[0] == 0
    assert touched[1] == pytest.approx(1 - math.exp(-0.4), rel=0.5)
    assert touched[2] <= 1 / 8
    assert touched[4] == pytest.approx(0.5, abs=0.05)
    touched = truth.touched(START_S + 1, START_S + 3.9)
    assert touched[3] == touched[4] == 1
    assert touched[1] == pytest.approx(1 - math.exp(-5.8), abs=0.02)
    assert touched[2] == pytest.approx(1 / 8, abs=0.02)


def test_the_log_is_a_ring() -> None:
    truth = truth_of("period:7", seconds=4.0, rows=50)
    assert len(truth.time_s) == 49
    assert np.diff(truth.time_s) == pytest.approx(0.01)
    assert truth.time_s[-1] == pytest.approx(START_S + 3.99)
    assert truth.shares(START_S + 3.6, START_S + 3.9)[0] == pytest.approx(5 / 7, abs=0.02)
