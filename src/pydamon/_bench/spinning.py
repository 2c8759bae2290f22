"""The cost of monitoring all in: what a spinning loop on each CPU loses to it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import monitor

__all__ = ["EMPTY_LOOP", "AllIn", "Loss", "Spinner", "measure", "median_interval", "run_pairs"]

EMPTY_LOOP = "empty loop"
"""The tool that monitors nothing: a Python loop that sleeps 5 ms."""
_TICK_S = 0.005
_MIB = 256
_SPINNER = Path(__file__).parents[1] / "_workloads" / "spinner.py"
_CONFIDENCE = 0.95
_LATE_NS = 5 * 10**6
"""A loop that runs writes its counts more often than that."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What is lost to a tool, as a share: the median over all pairs, and its 95 % interval."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, losses: Sequence[float]) -> Loss:
        """Return the median of some losses."""
        return cls(*median_interval(losses))


@dataclass(frozen=True, slots=True)
class AllIn:
    """The cost of a tool with interrupts and flushes, by `pairs` of looks with and without it.

    A loop on the first CPU is the target: it reads 64 of its 256 MiB. On every other CPU a loop
    takes what nobody else wants. `target` is the share of its CPU's time that the target lost,
    `others` what all other loops lost, in CPUs, and `all_in` the sum. `work` is the share of its
    work that the target lost, in which slower memory counts, too, and changes of the CPU's speed.
    `cpu` is the share of one CPU that the tool used by itself, and `flushes` its own upper bound of
    what the target lost. `interrupts` is the part of `all_in` in which no program ran in place of
    a loop, so that `cpu` and `interrupts` say the most on a machine where others work.
    `to_empty_loop` is `all_in` divided by that of a Python loop that only sleeps 5 ms.
    """

    tool: str
    pairs: int
    cpu: float
    flushes: float
    target: Loss
    others: Loss
    all_in: Loss
    interrupts: Loss
    work: Loss
    to_empty_loop: float = math.nan


_DAMON = MonitorOptions(probe="ebpf", sample="5ms", aggr="100ms")
_TOOLS = {
    "pydamon": MonitorOptions(probe="ebpf"),
    "pinned": _DAMON,
    "unlimited": replace(_DAMON, cpu_budget_percent=None),
}


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and the bounds of its 95 % interval.

    The bounds are two of the values, by the binomial distribution of how many lie below the median:
    that takes nothing for granted. They are the extremes where there are fewer than six values.
    """
    ordered, count = sorted(values), len(values)
    rank, below = 0, 0.5**count
    while 2 * (below + math.comb(count, rank + 1) * 0.5**count) <= 1 - _CONFIDENCE:
        rank += 1
        below += math.comb(count, rank) * 0.5**count
    return median(ordered), ordered[rank], ordered[count - 1 - rank]


class _Counter(Protocol):
    """A loop that counts."""

    def now(self) -> NDArray[np.int64]:
        """Return the time, the rounds, the ns that were lost, and those that it waited for others.

        The wait is a part of what was lost.
        """
        ...


@dataclass(frozen=True, slots=True)
class Spinner:
    """A loop on a CPU, and what it counts."""

    pid: int
    counts: NDArray[np.int64]

    def now(self) -> NDArray[np.int64]:
        while True:
            counts = np.array(self.counts)
            waited_ns = int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1])
            # The loop writes its counts one after the other.
            if (counts == self.counts).all():
                break
        # A loop that waits at this moment will count that only later, and so does the kernel.
        counts = np.append(counts, waited_ns)
        if (late_ns := time.monotonic_ns() - counts[0]) > _LATE_NS:
            counts += [late_ns, 0, late_ns, late_ns]
        return counts


@dataclass(frozen=True, slots=True)
class _Look:
    """What was counted in a time: shares of each loop's time, its rate, shares of the tool's CPU.

    A row of `shares` is a loop: what it lost, and what it lost to no other program.
    """

    shares: NDArray[np.float64]
    rounds_hz: float
    cpu: float
    flushes: float


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[AllIn]:
    """Measure the empty loop, then monitors at their defaults and at DAMON's intervals."""
    pairs, look_s = (3, 0.8) if quick else (20, 2.0)
    with _spinners() as spinners:
        say(f"overhead: {EMPTY_LOOP}, {pairs} pairs of {2 * look_s:g} s")
        empty = run_pairs(EMPTY_LOOP, spinners, pairs, look_s, _sleep_often)
        yield replace(empty, to_empty_loop=1.0)
        for tool, options in _TOOLS.items():
            if quick and tool != "pydamon":
                continue
            say(f"overhead: spinning loops with {tool}, {pairs} pairs of {2 * look_s:g} s")
            own = replace(options, seed=seed)
            with monitor(spinners[0].pid, engine="sampling", options=own) as mon:
                # It finds its pace first.
                _run(mon, max(3.0, look_s))
                row = run_pairs(tool, spinners, pairs, look_s, partial(_run, mon))
            yield replace(row, to_empty_loop=_ratio(row.all_in.median, empty.all_in.median))


def _ratio(cost: float, of_empty_loop: float) -> float:
    """Return how many times the empty loop something costs, if the loop's cost can be told."""
    return cost / of_empty_loop if of_empty_loop > 0 else math.nan


def run_pairs(
    tool: str,
    spinners: Sequence[_Counter],
    pairs: int,
    look_s: float,
    work: Callable[[float], float],
) -> AllIn:
    """Compare looks with the tool at work with looks without it, in turn.

    *work* takes the seconds, and returns the share of that time that was spent on flushes.
    """
    looks: dict[bool, list[_Look]] = {True: [], False: []}
    for number in range(pairs):
        # The order alternates, so that a drift of the machine cancels out.
        for works in (True, False) if number % 2 else (False, True):
            looks[works].append(_look(spinners, look_s, work if works else _sleep))
    both = list(zip(looks[True], looks[False], strict=True))
    growth = [with_it.shares - without.shares for with_it, without in both]
    return AllIn(
        tool=tool,
        pairs=pairs,
        cpu=median(look.cpu for look in looks[True]),
        flushes=median(look.flushes for look in looks[True]),
        target=Loss.of([float(shares[0, 0]) for shares in growth]),
        others=Loss.of([float(shares[1:, 0].sum()) for shares in growth]),
        all_in=Loss.of([float(shares[:, 0].sum()) for shares in growth]),
        interrupts=Loss.of([float(shares[:, 1].sum()) for shares in growth]),
        work=Loss.of([1 - with_it.rounds_hz / without.rounds_hz for with_it, without in both]),
    )


def _look(spinners: Sequence[_Counter], look_s: float, work: Callable[[float], float]) -> _Look:
    before = [spinner.now() for spinner in spinners]
    begin_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
    flushes = work(look_s)
    cpu = (time.process_time_ns() - cpu_ns) / (time.monotonic_ns() - begin_ns)
    after = [spinner.now() for spinner in spinners]
    passed_ns, rounds, lost_ns, waited_ns = np.subtract(after, before).T
    shares = np.array([lost_ns / passed_ns, (lost_ns - waited_ns) / passed_ns]).T
    return _Look(shares, float(rounds[0] / passed_ns[0] * 1e9), cpu, flushes)


def _sleep(look_s: float) -> float:
    time.sleep(look_s)
    return 0.0


def _sleep_often(look_s: float) -> float:
    end_s = time.monotonic() + look_s
    while time.monotonic() < end_s:
        time.sleep(_TICK_S)
    return 0.0


def _run(mon: Monitor, look_s: float) -> float:
    costs = [(s.cost.interruption_ns, s.window_ns) for s in mon.run(f"{look_s}s")]
    passed_ns = sum(window_ns for _, window_ns in costs)
    return sum(cost_ns for cost_ns, _ in costs) / passed_ns if passed_ns else math.nan


@contextmanager
def _spinners() -> Iterator[list[Spinner]]:
    """Run a loop on each CPU: the target on the first, and on the others what steps aside."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spinners = []
        for number, cpu in enumerate(sorted(os.sched_getaffinity(0))):
            path = directory / str(cpu)
            counts = np.memmap(path, np.int64, "w+", shape=(3,))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, _SPINNER, path, str(cpu), str(0 if number else _MIB)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            if not process.stdout.readline():
                raise TargetError("a spinning loop did not start")
            spinners.append(Spinner(process.pid, counts))
        yield spinners
