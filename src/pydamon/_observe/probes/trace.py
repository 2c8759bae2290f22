"""Made-up access patterns: simulate a workload, with no Linux and no waiting.

Time is simulated too, so that a minute of monitoring passes in a moment, and one seed always
gives one result. So is the CPU time of the monitor where `Costs` are given: those of the `ebpf`
probe, as they were measured, for targets that no machine at hand could hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import order_keys
from pydamon._model.regions import PAGE_SIZE, RegionTable
from pydamon._model.spots import SPOT_BYTES
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.base import (
    Availability,
    Counts,
    PageBits,
    Session,
    Traits,
    sampling_schedule,
)
from pydamon._observe.probes.refs import NO_SPAN, borders

__all__ = ["Access", "Costs", "Phase", "Trace", "TraceProbe", "VirtualClock"]

_BLOCK = 16 * PAGE_SIZE
_LARGE = 512 * PAGE_SIZE


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
    """Phases one after the other; the last one goes on for ever, unless all of it *repeats*."""

    phases: tuple[Phase, ...]
    repeats: bool = False

    def __post_init__(self) -> None:
        if not self.phases or any(phase.duration_ns <= 0 for phase in self.phases):
            raise UsageError("a trace is made of phases, each longer than 0")

    def touches(
        self,
        target: NDArray[np.int32],
        page: NDArray[np.int64],
        since_ns: NDArray[np.float64],
        now_ns: int,
    ) -> NDArray[np.float64]:
        """How often, on average, the page at each address is touched between two times."""
        touches = np.zeros(len(page))
        length_ns = sum(phase.duration_ns for phase in self.phases)
        begin_ns = 0
        for phase in self.phases:
            until_ns = begin_ns + phase.duration_ns
            if phase is self.phases[-1] and not self.repeats:
                until_ns = max(until_ns, now_ns)

            def passed_ns(
                at_ns: NDArray[np.float64] | float, begin: int = begin_ns, until: int = until_ns
            ) -> NDArray[np.float64]:
                """How much of the phase had passed at a time."""
                turns, within = divmod(at_ns, length_ns) if self.repeats else (0, at_ns)
                return turns * (until - begin) + np.clip(within - begin, 0, until - begin)

            if phase.accesses:
                lasted_ns = passed_ns(float(now_ns)) - passed_ns(since_ns)
                touches += phase.rate_hz(target, page) * lasted_ns / 1e9
            begin_ns += phase.duration_ns
        return touches


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time that the monitor needs, in nanoseconds: measured with `ebpf` (docs/benchmarks.md).

    A *tick* is a wake-up with its system calls. A *clear* is one range, while the target runs on
    another CPU, and *clear_page* what each page adds that was accessed. A *table* is read and
    counted page by page. Of an *aggregation*, a part is fixed and a part is for each region.
    """

    tick_ns: int = 200_000
    sample_ns: int = 1_000
    clear_ns: int = 12_000
    clear_page_ns: int = 100
    table_ns: int = 2_000
    spot_ns: int = 1_000
    aggregation_ns: int = 1_000_000
    region_ns: int = 500


class VirtualClock:
    """A clock that passes when it is waited for, and by the CPU time that is spent."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._cpu_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self, now_ns: int) -> int:
        return now_ns

    def cpu_ns(self) -> int:
        return self._cpu_ns

    def spend(self, cpu_ns: int) -> None:
        """Work for so long."""
        self._cpu_ns += cpu_ns
        self._now_ns += cpu_ns

    def wait_until(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)


@dataclass(frozen=True, slots=True)
class TraceProbe:
    """The probe of a simulation: sees what *trace* says, at random by *seed*."""

    trace: Trace
    seed: int = 0
    costs: Costs | None = None
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
        return TraceSession(self.trace, self.seed, self.costs)


class TraceSession(Session):
    """A session of the `trace` probe; see `pydamon._observe.probes.Session`."""

    clock: VirtualClock

    def __init__(self, trace: Trace, seed: int, costs: Costs | None = None) -> None:
        self.clock = VirtualClock()
        self._trace = trace
        self._costs = costs
        self._rng = np.random.default_rng(seed)
        self._table = RegionTable.of([], [], [])
        self._period = self._phase = np.empty(0, np.int64)
        self._ticks = 0
        self._page = np.empty(0, np.int64)
        self._sampled = np.empty(0, np.bool_)
        self._since_ns = 0
        self._cleared_ns: dict[int, int] = {}
        """When each block of a target was last cleared; all others never were, and are accessed."""
        self._hits = self._checks = np.empty(0)
        self._hit = self._miss = np.empty((0, 2), np.int64)

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        self._table = RegionTable.of([], [], [])

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        self._table, self._ticks = table, 0
        shares = np.broadcast_to(np.asarray(share, np.float64), (len(table),))
        self._period, self._phase = sampling_schedule(shares, self._rng)
        self._hits, self._checks = np.zeros(len(table)), np.zeros(len(table))
        self._hit = np.tile(np.array(NO_SPAN), (len(table), 1))
        self._miss = self._hit.copy()
        self._sampled = np.zeros(len(table), np.bool_)
        if self._costs:
            self.clock.spend(self._costs.aggregation_ns + self._costs.region_ns * len(table))
        self.tick()

    def tick(self, last: bool = False) -> None:
        now_ns, table = self.clock.now_ns(), self._table
        if self._costs:
            self.clock.spend(self._costs.tick_ns)
        if self._sampled.any():
            since_ns = np.full(len(table), float(self._since_ns))
            touches = self._trace.touches(table.target, self._page, since_ns, now_ns)
            chance = -np.expm1(-touches)
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
            if self._costs:
                self._charge_samples(self._costs)

    def counts(self) -> Counts:
        return Counts(
            self._hits.copy(),
            self._checks.copy(),
            np.zeros(len(self._table)),
            split_hint=borders(self._hit, self._miss),
        )

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        page = np.arange(start // PAGE_SIZE * PAGE_SIZE, end, PAGE_SIZE)
        targets = np.full(len(page), target, np.int32)
        accessed = self._accessed(targets, page)
        if self._costs:
            tables = -(-end // _LARGE) - start // _LARGE
            self.clock.spend(self._costs.table_ns * tables)
        if clear:
            self._clear(np.unique(_blocks(targets, page)))
            if self._costs:
                runs = int(np.diff(accessed, prepend=False).sum() + 1) // 2
                self._charge_clears(self._costs, runs, int(accessed.sum()))
        none = np.zeros(len(page), np.bool_)
        return PageBits(int(page[0]), ~none, none, accessed, none)

    def look(self, target: int, spots: NDArray[np.int64], *, clear: bool) -> NDArray[np.float64]:
        page = (spots[:, None] + np.arange(0, SPOT_BYTES, PAGE_SIZE)).ravel()
        targets = np.full(len(page), target, np.int32)
        accessed = self._accessed(targets, page)
        share: NDArray[np.float64] = accessed.reshape(len(spots), -1).mean(axis=1)
        if self._costs:
            self.clock.spend(self._costs.spot_ns * len(spots))
        if clear:
            self._clear(np.unique(_blocks(targets, page)))
            if self._costs:
                self._charge_clears(self._costs, int((share > 0).sum()), int(accessed.sum()))
        return share

    def close(self) -> None:
        """Nothing to give back."""

    def _accessed(self, target: NDArray[np.int32], page: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The accessed bits of pages at this moment."""
        now_ns = self.clock.now_ns()
        block, which = np.unique(_blocks(target, page), return_inverse=True)
        cleared_ns = np.array([self._cleared_ns.get(b, -1) for b in block.tolist()], np.float64)
        since_ns = cleared_ns[which]
        touches = self._trace.touches(target, page, np.maximum(since_ns, 0), now_ns)
        chance = np.where(since_ns < 0, 1.0, -np.expm1(-touches))
        accessed: NDArray[np.bool_] = self._rng.random(len(page)) < chance
        return accessed

    def _clear(self, blocks: NDArray[np.int64]) -> None:
        now_ns = self.clock.now_ns()
        self._cleared_ns.update((block, now_ns) for block in blocks.tolist())

    def _charge_samples(self, costs: Costs) -> None:
        """Samples are read; those with their accessed bit set are cleared, a block around each."""
        which = np.flatnonzero(self._sampled)
        self.clock.spend(costs.sample_ns * len(which))
        target, page = self._table.target[which], self._page[which]
        accessed = np.flatnonzero(self._accessed(target, page))
        cold = (self._table.last_nr_accesses < 1) & (self._table.size <= 4 * _LARGE)
        pages = 0
        for index in accessed.tolist():
            size = _LARGE if cold[which[index]] else _BLOCK
            start = int(page[index]) // size * size
            first = int(_blocks(target[index : index + 1], np.array([start]))[0])
            self._clear(np.arange(first, first + size // _BLOCK))
            pages += size // PAGE_SIZE
        self._charge_clears(costs, len(accessed), pages)

    def _charge_clears(self, costs: Costs, ranges: int, pages: int) -> None:
        cost_ns = costs.clear_ns * ranges + costs.clear_page_ns * pages
        self.clock.spend(cost_ns)
        self.interruption_ns += cost_ns


def _blocks(target: NDArray[np.int32], page: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers for the blocks that pages are in, different for each target."""
    return order_keys(target, page // (_BLOCK // PAGE_SIZE))


def _widen(span: NDArray[np.int64], page: NDArray[np.int64], where: NDArray[np.bool_]) -> None:
    """Make spans, where asked, reach to these pages."""
    span[where, 0] = np.minimum(span[where, 0], page[where])
    span[where, 1] = np.maximum(span[where, 1], page[where])
