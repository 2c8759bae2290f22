"""The CPU time that tracing reads takes, and when it must rest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from pydamon._observe.cache.tracer import Counters

__all__ = ["COUNTED_NS", "SAMPLED_NS", "SEEN_NS", "Paid", "ReadBudget"]

SEEN_NS, SAMPLED_NS, COUNTED_NS = 50, 100, 700
"""What the program takes for each folio, what more for a followed one, and what more if it counts
that it was read: first, or after a while. Measured: see docs/explanation/cost.md.
"""
_FOR_FOLLOWED, _FOR_PROGRAM = 0.3, 0.8
"""The shares of the budget for followed folios, and for the program in all; reports have the rest.
"""
_BURST_S = 2
"""How far reads may run ahead of the budget: a short burst is seen whole."""


class Paid(NamedTuple):
    """What was spent since the last report."""

    seen: int
    missed: int
    """Folios that there was no room for."""
    spent_ns: int


class ReadBudget:
    """Adds up the CPU time of the program and of this process.

    The program's part is estimated from its counters: to measure it would cost more than itself.
    *clock_ns* and *cpu_ns* are for tests.
    """

    def __init__(
        self,
        percent: float | None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        cpu_ns: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        self._share = math.inf if percent is None else percent / 100
        self._clock_ns, self._cpu_ns = clock_ns, cpu_ns
        self._last = Counters(0, 0, 0, 0, 0)
        self._last_ns = self._began_ns = clock_ns()
        self._last_cpu_ns = cpu_ns()
        self._debt_ns = 0.0
        """What the program spent beyond its share, or less than that if negative."""
        self._traced_ns = 0
        self._seen = self._missed = self._spent_ns = 0
        self.may_trace = True
        """Whether tracing is within the budget; otherwise it rests."""

    @property
    def followed_share(self) -> float:
        """The share of a CPU that followed folios may take."""
        return _FOR_FOLLOWED * self._share

    @property
    def observed_share(self) -> float:
        """The share of the time in which reads were traced."""
        return self._traced_ns / max(1, self._last_ns - self._began_ns)

    def account(self, counters: Counters) -> float:
        """Add what happened since the last call; returns what followed folios took, of one CPU."""
        now_ns, cpu_ns = self._clock_ns(), self._cpu_ns()
        elapsed_ns = max(1, now_ns - self._last_ns)
        seen = counters.seen - self._last.seen
        sampled = counters.sampled - self._last.sampled
        counted = counters.counted - self._last.counted
        followed_ns = sampled * SAMPLED_NS + counted * COUNTED_NS
        program_ns = seen * SEEN_NS + followed_ns
        self._traced_ns += elapsed_ns if self.may_trace else 0
        self._seen += seen
        self._missed += counters.full - self._last.full
        self._spent_ns += program_ns + cpu_ns - self._last_cpu_ns
        self._last, self._last_ns, self._last_cpu_ns = counters, now_ns, cpu_ns
        if self._share < math.inf:
            share = _FOR_PROGRAM * self._share
            burst_ns = _BURST_S * 1e9 * share
            self._debt_ns = max(-burst_ns, self._debt_ns + program_ns - share * elapsed_ns)
            # Attaching costs, too: rest until the debt is paid, and not only until it shrinks.
            self.may_trace = self._debt_ns <= (0 if self.may_trace else -burst_ns / 2)
        return followed_ns / elapsed_ns

    def take(self) -> Paid:
        """What was spent since the last call."""
        paid = Paid(self._seen, self._missed, self._spent_ns)
        self._seen = self._missed = self._spent_ns = 0
        return paid
