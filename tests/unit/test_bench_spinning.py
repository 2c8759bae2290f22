"""What spinning loops lose to a monitor, with loops that are made up.

Private names: the benchmarks have no public interface but the command.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from pydamon._bench.spinning import AllIn, Loss, median_interval, run_pairs
from pydamon._bench.tables import all_in_table


@dataclass
class Loop:
    """Loses something in every second, and more while a tool works."""

    usual: float
    interrupts: float = 0.0
    waits: float = 0.0
    works: bool = False
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    calls: int = 0

    def now(self) -> NDArray[np.int64]:
        """Let a second pass between the two calls of each look."""
        self.calls += 1
        if self.calls % 2 == 0:
            interrupts, waits = (self.interrupts, self.waits) if self.works else (0, 0)
            lost, waited = self.usual + interrupts + waits, self.usual + waits
            step = (1, (1 - lost) / 1000, lost, waited)
            self.sums = [a + b for a, b in zip(self.sums, step, strict=True)]
            self.works = False
        now: NDArray[np.int64] = np.rint(np.array(self.sums) * 10**9).astype(np.int64)
        return now


def test_losses_are_what_a_tool_adds() -> None:
    loops = [Loop(0.01, interrupts=0.002), Loop(0.03, interrupts=0.001, waits=0.01)]

    def work(_: float) -> float:
        for loop in loops:
            loop.works = True
        return 0.004

    row = run_pairs("tool", loops, 6, 0.001, work)
    assert (row.tool, row.pairs, row.flushes) == ("tool", 6, 0.004)
    assert row.target.median == pytest.approx(0.002)
    assert row.others.median == pytest.approx(0.011)
    assert row.all_in.median == pytest.approx(0.013)
    assert row.interrupts.median == pytest.approx(0.003)  # nobody ran in place of the loops
    assert row.work.median == pytest.approx(0.002 / 0.99, rel=0.01)
    assert row.target.low == pytest.approx(row.target.high)


def test_the_interval_of_a_median() -> None:
    # Tables of sign tests: the 6th and the 15th of 20 values, the 2nd and the 9th of 10.
    assert median_interval(range(1, 21)) == (10.5, 6, 15)
    assert median_interval(range(1, 11)) == (5.5, 2, 9)
    assert median_interval(range(1, 7)) == (3.5, 1, 6)
    assert median_interval([3, 1, 2]) == (2, 1, 3)  # too few for 95 %
    assert median_interval([7.0]) == (7, 7, 7)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_the_median_lies_in_its_interval(values: list[float]) -> None:
    middle, low, high = median_interval(values)
    assert low <= middle <= high
    assert {low, high} <= set(values)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        _, low, high = median_interval(list(rng.exponential(1.0, 20)))
        held += low <= math.log(2) <= high
    assert 940 <= held <= 985  # 95.9 % in theory


def test_the_table() -> None:
    loss = Loss(0.011, -0.001, 0.02)
    row = AllIn("pinned", 20, 0.012, 0.001, loss, loss, loss, loss, loss, 2.5)
    console = Console(width=190)
    with console.capture() as capture:
        console.print(all_in_table([row, replace(row, to_empty_loop=math.nan)]))
    _, line, unknown = capture.get().splitlines()
    assert line.split()[:3] == ["pinned", "20", "1.20"]
    assert "-0.1 to 2.0" in line
    assert " 2.5 " in line
    assert " 2.5 " not in unknown
