"""Survival sampling of a simulation: the looks are computed when an epoch is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.regions import LOOKS, RegionTable
from pydamon._model.survival import BLOCK_PAGES, Survival
from pydamon._observe.probes.base import Clock, sampling_schedule
from pydamon._observe.probes.epochs import EpochCounts, Epochs
from pydamon._observe.probes.split_hints import NO_SPAN, split_hints, widen

__all__ = ["SimulatedMemory", "TraceEpochs"]


class SimulatedMemory(Protocol):
    """The memory of a simulation, which knows what it costs to look at it."""

    @property
    def clock(self) -> Clock:
        """The simulated clock."""
        ...

    def clear_blocks(self, target: NDArray[np.int32], address: NDArray[np.int64]) -> None:
        """Clear blocks, and charge for those that had an access."""
        ...

    def was_accessed(
        self,
        target: NDArray[np.int32],
        page: NDArray[np.int64],
        since_ns: int,
        until_ns: int,
    ) -> NDArray[np.bool_]:
        """Whether pages are accessed between two moments."""
        ...

    def charge_epoch(self, blocks: int) -> None:
        """Charge for choosing and looking at so many blocks."""
        ...


class TraceEpochs(Epochs):
    """Watches made-up accesses, epoch by epoch."""

    most_blocks = 128
    paced_by_kernel = True
    interrupt_ns = 0

    def __init__(self, memory: SimulatedMemory, rng: np.random.Generator) -> None:
        self._memory = memory
        self._rng = rng
        self._after_ns: Sequence[int] = ()
        self._armed_ns = 0
        self.watch(RegionTable.of([], [], []))

    def plan(self, after_ns: Sequence[int]) -> None:
        self._after_ns = after_ns

    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        n = len(table)
        self._table = table
        shares = np.broadcast_to(np.asarray(share, np.float64), (n,))
        self._period, self._phase = sampling_schedule(shares, self._rng)
        self._rows = np.empty(0, np.intp)
        self._address, self._valid = np.empty(0, np.int64), np.empty((0, BLOCK_PAGES), np.bool_)
        self._pages, self._watched = np.zeros(n), np.zeros(n)
        self._seen, self._hits = np.zeros((LOOKS, n)), np.zeros((LOOKS, n))
        self._look_ns = np.zeros(LOOKS)
        self._begun = self._epochs = 0
        self._hit_span = np.tile(np.array(NO_SPAN), (n, 1))
        self._miss_span = self._hit_span.copy()

    def begin(self) -> None:
        table = self._table
        rows = np.flatnonzero((self._begun + self._phase) % self._period == 0)
        self._rows = rows = rows[: self.most_blocks]
        self._begun += 1
        pages = self._rng.integers(0, table.size[rows] // PAGE_SIZE)
        block_bytes = BLOCK_PAGES * PAGE_SIZE
        self._address = (table.start[rows] + pages * PAGE_SIZE) // block_bytes * block_bytes
        page = self._address[:, None] + np.arange(BLOCK_PAGES) * PAGE_SIZE
        self._valid = (page >= table.start[rows, None]) & (page < table.end[rows, None])
        self._memory.charge_epoch(len(rows))
        self._memory.clear_blocks(table.target[rows], self._address)
        self._armed_ns = self._memory.clock.now_ns()

    def look(self) -> None:
        """All looks are computed at the end."""

    def end(self) -> None:
        rows, now_ns = self._rows, self._memory.clock.now_ns()
        if not len(rows):
            return
        times = [self._armed_ns + after_ns for after_ns in self._after_ns]
        times = [min(time_ns, now_ns) for time_ns in times]
        times += [now_ns] * (LOOKS - len(times))
        page = (self._address[:, None] + np.arange(BLOCK_PAGES) * PAGE_SIZE).ravel()
        target = np.repeat(self._table.target[rows], BLOCK_PAGES)
        mask = np.zeros(self._valid.shape, np.bool_)
        since_ns = self._armed_ns
        for look, time_ns in enumerate(times):
            accessed = self._memory.was_accessed(target, page, since_ns, time_ns)
            mask |= accessed.reshape(mask.shape) & self._valid
            self._seen[look, rows] += mask.sum(axis=1)
            self._hits[look, rows] += mask.any(axis=1)
            self._look_ns[look] += time_ns - self._armed_ns
            since_ns = time_ns
        self._pages[rows] += self._valid.sum(axis=1)
        self._watched[rows] += 1
        self._epochs += 1
        hit = np.zeros(len(self._table), np.bool_)
        missed, address = hit.copy(), np.zeros(len(hit), np.int64)
        hit[rows], missed[rows], address[rows] = mask.any(axis=1), ~mask.any(axis=1), self._address
        widen(self._hit_span, address, hit)
        widen(self._miss_span, address, missed)

    def counts(self) -> EpochCounts:
        return EpochCounts(
            Survival(
                self._pages.copy(), self._watched.copy(), self._seen.copy(), self._hits.copy()
            ),
            self._look_ns / max(1, self._epochs),
            self._epochs,
            np.zeros(len(self._table)),
            split_hints(self._hit_span, self._miss_span),
        )
