"""Simulate a workload without a process, and without waiting.

Time is simulated, too, so that a minute of monitoring passes in a moment, and one seed always
gives the same result. With `Costs`, the CPU time of the monitor is simulated as well, with the
measured costs of the `ebpf` probe: for targets larger than any machine at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE, join, order_keys, size_of
from pydamon._model.regions import RegionTable
from pydamon._model.spots import SPOT_BYTES
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.process import Process
from pydamon._observe.probes.base import (
    Availability,
    Counts,
    ManyBits,
    PageBits,
    Session,
    Traits,
    sampling_schedule,
)
from pydamon._observe.probes.epochs import Epochs
from pydamon._observe.probes.simulated_epochs import TraceEpochs
from pydamon._observe.probes.split_hints import NO_SPAN, split_hints, widen
from pydamon._observe.probes.trace import Trace

__all__ = ["Costs", "TraceProbe", "TraceSession", "VirtualClock"]

_BLOCK = 16 * PAGE_SIZE
"""The bytes around a sample that one clear clears."""
_GAP_PAGES = 128
"""Ranges with a gap up to this are cleared as one."""
_LARGE = 512 * PAGE_SIZE
"""The same in a cold region; also the bytes that a page table maps."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time of the monitor, as measured with `ebpf` (docs/explanation/cost.md).

    A *tick* is a wake-up with its system calls. A *clear* is one range, while the target runs on
    another CPU; *clear_page* comes on top for each accessed page. A *table* is read and counted
    page by page. An *aggregation* has a fixed cost, and a cost for each *region*.
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
    """A clock that moves when somebody waits, and by the CPU time that is spent."""

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
        """Spend CPU time."""
        self._cpu_ns += cpu_ns
        self._now_ns += cpu_ns

    def wait_until(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)


@dataclass(frozen=True, slots=True)
class TraceProbe:
    """The probe of a simulation: sees the accesses of a *trace*, at random by *seed*."""

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
        """When each block of a target was last cleared; all others are accessed."""
        self._hits = self._checks = np.empty(0)
        self._epochs = TraceEpochs(self, self._rng)
        self._hit_span = self._miss_span = np.empty((0, 2), np.int64)

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        self._table = RegionTable.of([], [], [])

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        self._table, self._ticks = table, 0
        shares = np.broadcast_to(np.asarray(share, np.float64), (len(table),))
        self._period, self._phase = sampling_schedule(shares, self._rng)
        self._hits, self._checks = np.zeros(len(table)), np.zeros(len(table))
        self._hit_span = np.tile(np.array(NO_SPAN), (len(table), 1))
        self._miss_span = self._hit_span.copy()
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
            widen(self._hit_span, self._page, hit)
            widen(self._miss_span, self._page, self._sampled & ~hit)
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
            split_hint=split_hints(self._hit_span, self._miss_span),
        )

    def epochs(self) -> Epochs:
        return self._epochs

    def was_accessed(
        self,
        target: NDArray[np.int32],
        page: NDArray[np.int64],
        since_ns: int,
        until_ns: int,
    ) -> NDArray[np.bool_]:
        """Whether pages are accessed between two moments."""
        touches = self._trace.touches(target, page, np.full(len(page), float(since_ns)), until_ns)
        accessed: NDArray[np.bool_] = self._rng.random(len(page)) < -np.expm1(-touches)
        return accessed

    def clear_blocks(self, target: NDArray[np.int32], address: NDArray[np.int64]) -> None:
        """Clear blocks, and charge for those that had an access."""
        blocks = _blocks(target, address)
        if self.witness is not None:
            page = (address[:, None] + np.arange(0, _BLOCK, PAGE_SIZE)).ravel()
            targets = np.repeat(target, _BLOCK // PAGE_SIZE)
            self._tell_witness(targets, page, self._accessed(targets, page))
        if self._costs:
            accessed = int(self._accessed(target, address).sum())
            self._charge_clears(self._costs, accessed, accessed * (_BLOCK // PAGE_SIZE))
        self._clear(blocks)

    def _tell_witness(
        self,
        target: NDArray[np.int32],
        page: NDArray[np.int64],
        accessed: NDArray[np.bool_],
    ) -> None:
        if self.witness is not None:
            keys = order_keys(target, page)[accessed]
            self.witness(lambda: (keys, np.ones(len(keys), np.uint16)))

    def charge_epoch(self, blocks: int) -> None:
        """Charge for choosing and looking at so many blocks."""
        if self._costs:
            self.clock.spend(2 * self._costs.tick_ns + self._costs.sample_ns * blocks)

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        return self._scanned(target, start, end, clear=clear)

    def scan_many(
        self, stretches: Stretches, *, clear: bool, kept: NDArray[np.bool_] | None = None
    ) -> ManyBits:
        if kept is None:
            return super().scan_many(stretches, clear=clear)
        none = np.zeros(int(stretches.offsets[-1]), np.bool_)
        accessed = none.copy()
        columns = (stretches.target, stretches.start, stretches.end)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for pages, row in zip(stretches.slices(), rows, strict=True):
            accessed[pages] = self._scanned(*row, clear=clear, kept=kept[pages]).accessed
        return ManyBits(~none, accessed, none, np.zeros(len(stretches), np.bool_))

    def _scanned(
        self,
        target: int,
        start: int,
        end: int,
        *,
        clear: bool,
        kept: NDArray[np.bool_] | None = None,
    ) -> PageBits:
        page = np.arange(start // PAGE_SIZE * PAGE_SIZE, end, PAGE_SIZE)
        targets = np.full(len(page), target, np.int32)
        accessed = self._accessed(targets, page)
        if self._costs:
            tables = -(-end // _LARGE) - start // _LARGE
            self.clock.spend(self._costs.table_ns * tables)
        if clear:
            cleared = accessed if kept is None else accessed & ~kept
            self._tell_witness(targets, page, cleared)
            left = slice(None) if kept is None else ~kept
            self._clear(np.unique(_blocks(targets[left], page[left])))
            if self._costs:
                at = np.flatnonzero(cleared)
                runs = join(np.stack([at, at + 1], axis=1), _GAP_PAGES)
                self._charge_clears(self._costs, len(runs), size_of(runs))
        none = np.zeros(len(page), np.bool_)
        return PageBits(int(page[0]), ~none, none, accessed, none)

    def look(
        self, targets: NDArray[np.int32], spots: NDArray[np.int64], *, clear: bool
    ) -> NDArray[np.float64]:
        page = (spots[:, None] + np.arange(0, SPOT_BYTES, PAGE_SIZE)).ravel()
        targets = np.repeat(targets, SPOT_BYTES // PAGE_SIZE)
        accessed = self._accessed(targets, page)
        share: NDArray[np.float64] = accessed.reshape(len(spots), -1).mean(axis=1)
        if self._costs:
            self.clock.spend(self._costs.spot_ns * len(spots))
        if clear:
            self._tell_witness(targets, page, accessed)
            self._clear(np.unique(_blocks(targets, page)))
            if self._costs:
                self._charge_clears(self._costs, int((share > 0).sum()), int(accessed.sum()))
        return share

    def close(self) -> None:
        """There is nothing to release."""

    def _accessed(self, target: NDArray[np.int32], page: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The accessed bits of pages at this moment."""
        now_ns = self.clock.now_ns()
        block, of_page = np.unique(_blocks(target, page), return_inverse=True)
        cleared_ns = np.array([self._cleared_ns.get(b, -1) for b in block.tolist()], np.float64)
        since_ns = cleared_ns[of_page]
        touches = self._trace.touches(target, page, np.maximum(since_ns, 0), now_ns)
        chance = np.where(since_ns < 0, 1.0, -np.expm1(-touches))
        accessed: NDArray[np.bool_] = self._rng.random(len(page)) < chance
        return accessed

    def _clear(self, blocks: NDArray[np.int64]) -> None:
        now_ns = self.clock.now_ns()
        self._cleared_ns.update((block, now_ns) for block in blocks.tolist())

    def _charge_samples(self, costs: Costs) -> None:
        """Read the samples, and clear a block around each that has its accessed bit set."""
        sampled = np.flatnonzero(self._sampled)
        self.clock.spend(costs.sample_ns * len(sampled))
        target, page = self._table.target[sampled], self._page[sampled]
        accessed = np.flatnonzero(self._accessed(target, page))
        cold = (self._table.last_nr_accesses < 1) & (self._table.size <= 4 * _LARGE)
        pages = 0
        for index in accessed.tolist():
            size = _LARGE if cold[sampled[index]] else _BLOCK
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
