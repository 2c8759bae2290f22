"""Made-up access patterns: simulate a workload, with no Linux and no waiting.

Time is simulated too, so that a minute of monitoring passes in a moment, and one seed always
gives one result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pydamon.core.errors import UsageError
from pydamon.core.mappings import MappingTable
from pydamon.core.regions import PAGE_SIZE, RegionTable
from pydamon.probes.base import Availability, Clock, Counts, PageBits, Session, Traits, turns
from pydamon.probes.borders import NO_SPAN, borders
from pydamon.probes.process import Process

__all__ = ["Access", "Phase", "Trace", "TraceProbe", "VirtualClock"]


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes [start, end) of one target, touched at random: each page *rate_hz* times a second.

    With *stride* (bytes) only the first page of every so many bytes is touched.
    """

    start: int
    end: int
    rate_hz: float = 1e6
    stride: int = PAGE_SIZE
    target: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end or self.rate_hz < 0 or self.stride < PAGE_SIZE:
            raise UsageError(f"not an access pattern: {self}")


@dataclass(frozen=True, slots=True)
class Phase:
    """What is accessed for a while; where accesses overlap, their rates add up."""

    duration_ns: int
    accesses: tuple[Access, ...] = ()

    def rate_hz(self, target: NDArray[np.int32], page: NDArray[np.int64]) -> NDArray[np.float64]:
        """Touches a second of the page at each address."""
        rate = np.zeros(len(page))
        for access in self.accesses:
            inside = (page >= access.start) & (page < access.end) & (target == access.target)
            inside &= (page - access.start) % access.stride < PAGE_SIZE
            rate[inside] += access.rate_hz
        return rate


@dataclass(frozen=True, slots=True)
class Trace:
    """Phases one after the other; the last one goes on for ever."""

    phases: tuple[Phase, ...]

    def at(self, now_ns: int) -> Phase:
        """The phase at a time since the start."""
        for phase in self.phases[:-1]:
            if now_ns < phase.duration_ns:
                return phase
            now_ns -= phase.duration_ns
        return self.phases[-1]


class VirtualClock(Clock):
    """A clock that only passes when it is waited for."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self, now_ns: int) -> int:
        return now_ns

    def wait_until(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)


@dataclass(frozen=True, slots=True)
class TraceProbe:
    """The probe of a simulation: sees what *trace* says, at random by *seed*."""

    trace: Trace
    seed: int = 0
    name: str = "trace"
    traits: Traits = field(
        default=Traits(
            sees="reads and writes",
            grain="any",
            needs="nothing",
            side_effects="none",
            scans=True,
        ),
        repr=False,
    )

    def availability(self) -> Availability:
        """A simulation works everywhere."""
        return Availability(works=True)

    def open(self) -> TraceSession:
        """Start the simulation at time 0."""
        return TraceSession(self.trace, self.seed)


class TraceSession(Session):
    """A session of the `trace` probe; see `pydamon.probes.Session`."""

    def __init__(self, trace: Trace, seed: int) -> None:
        self.clock: Clock = VirtualClock()
        self._trace = trace
        self._rng = np.random.default_rng(seed)
        self._table = RegionTable.of([], [], [])
        self._period = self._phase = np.empty(0, np.int64)
        self._ticks = 0
        self._page = np.empty(0, np.int64)
        self._sampled = np.empty(0, np.bool_)
        self._since_ns = 0
        self._cleared: dict[int, int] = {}
        self._hits = self._checks = np.empty(0)
        self._hit = self._miss = np.empty((0, 2), np.int64)

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        self._table = RegionTable.of([], [], [])

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        self._table, self._ticks = table, 0
        shares = np.broadcast_to(np.asarray(share, np.float64), (len(table),))
        self._period, self._phase = turns(shares, self._rng)
        self._hits, self._checks = np.zeros(len(table)), np.zeros(len(table))
        self._hit = np.tile(np.array(NO_SPAN), (len(table), 1))
        self._miss = self._hit.copy()
        self._sampled = np.zeros(len(table), np.bool_)
        self.tick()

    def tick(self, last: bool = False) -> None:
        now_ns, table = self.clock.now_ns(), self._table
        if self._sampled.any():
            rate = self._trace.at(now_ns).rate_hz(table.target, self._page)
            chance = 1 - np.exp(-rate * (now_ns - self._since_ns) / 1e9)
            hit = self._sampled & (self._rng.random(len(table)) < chance)
            self._hits += hit
            self._checks += self._sampled
            _widen(self._hit, self._page, hit)
            _widen(self._miss, self._page, self._sampled & ~hit)
        if not last:
            pages = self._rng.integers(0, table.size // PAGE_SIZE)
            self._page = table.start + pages * PAGE_SIZE
            self._sampled = (self._ticks + self._phase) % self._period == 0
            self._ticks += 1
            self._since_ns = now_ns

    def counts(self) -> Counts:
        return Counts(
            self._hits.copy(),
            self._checks.copy(),
            np.zeros(len(self._table)),
            border=borders(self._hit, self._miss),
        )

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        now_ns = self.clock.now_ns()
        page = np.arange(start // PAGE_SIZE * PAGE_SIZE, end, PAGE_SIZE)
        rate = self._trace.at(now_ns).rate_hz(np.full(len(page), target, np.int32), page)
        elapsed_ns = now_ns - self._cleared.get(target, 0)
        accessed = self._rng.random(len(page)) < 1 - np.exp(-rate * elapsed_ns / 1e9)
        if clear:
            self._cleared[target] = now_ns
        none = np.zeros(len(page), np.bool_)
        return PageBits(int(page[0]), ~none, none, accessed, none)

    def close(self) -> None:
        """Nothing to give back."""


def _widen(span: NDArray[np.int64], page: NDArray[np.int64], where: NDArray[np.bool_]) -> None:
    """Make spans, where asked, reach to these pages."""
    span[where, 0] = np.minimum(span[where, 0], page[where])
    span[where, 1] = np.maximum(span[where, 1], page[where])
