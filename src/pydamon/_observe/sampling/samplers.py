"""Samplers: each finds out in its own way how often regions are accessed, while a window passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import RegionTable
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.base import Counts, Session
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.rates import keep_in_use, update_rates
from pydamon._observe.sampling.windows import CpuMeter, Ticks, Window, WindowTimer

__all__ = ["Sampled", "Sampler", "TickSampler"]

_SETTLED_AGE = 3
"""A region whose rate is clear is settled after so many aggregations."""
_SETTLED_SHARE = 0.25
"""Settled regions are sampled at this part of the ticks at which the others are."""


class Sampled(NamedTuple):
    """What a sampler saw in a window."""

    start_ns: int
    end_ns: int
    ticks: Ticks
    counts: Counts
    cpu_ns: int
    clearing_ns: int

    def window(self, table: RegionTable, survey_cpu_ns: int = 0) -> Window:
        """The window, with the regions as they are after it."""
        return Window(
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            table=table,
            lost=self.counts.lost,
            ticks=self.ticks.total,
            late_ticks=self.ticks.late,
            sampling_cpu_ns=self.cpu_ns,
            clearing_ns=self.clearing_ns,
            survey_cpu_ns=survey_cpu_ns,
        )


class Sampler(ABC):
    """Finds out how often regions are accessed."""

    is_graded = False
    """Whether rates are told over several orders of magnitude, with their uncertainty."""

    def __init__(self, session: Session, memory: MonitoredMemory, pacer: Pacer) -> None:
        self._session = session
        self._pacer = pacer
        self._timer = WindowTimer(session, memory, pacer)

    @property
    def looks_ns(self) -> Sequence[int]:
        """How long after a clear looks come that tell rates apart."""
        return ()

    @abstractmethod
    def sample(
        self,
        table: RegionTable,
        length_ns: int,
        left_out: NDArray[np.bool_] | None = None,
        at_quarter: Callable[[], None] | None = None,
    ) -> Sampled:
        """Sample the regions of a table for a window, but for those that are *left_out*.

        *at_quarter* is called when a quarter of the window has passed.
        """

    @abstractmethod
    def set_rates(self, table: RegionTable, sampled: Sampled) -> None:
        """Set what the samples of a window tell of its regions."""

    @abstractmethod
    def reconcile(self, table: RegionTable, counts: Counts) -> None:
        """Let rates and what surveys saw touched agree, once samples have corrected the latter."""

    @property
    @abstractmethod
    def sample_window(self) -> float:
        """How long a sample is watched, as a part of the aggregation."""

    @property
    def _samples(self) -> int:
        return self._pacer.named.samples_per_aggregation

    def _shares(
        self, table: RegionTable, left_out: NDArray[np.bool_] | None
    ) -> NDArray[np.float64] | float:
        """How often to sample each region: seldom if its rate is clear and has long held.

        The samples that this saves go to regions whose rate is not clear yet.
        """
        share: NDArray[np.float64] | float = self._pacer.share
        if self._pacer.share < 1:
            last = table.last_nr_accesses
            clear = (last < 1) | (last > 0.9 * self._samples)
            settled_ns = _SETTLED_AGE * self._pacer.effective.aggregation_ns
            settled = clear & (table.age_ns >= settled_ns)
            # Twice at least: a single sample may err.
            twice = min(self._pacer.share, 2 * self.sample_window)
            least = max(self._pacer.share * _SETTLED_SHARE, twice)
            share = np.where(settled, least, share)
        return share if left_out is None else np.where(left_out, 0.0, share)


class TickSampler(Sampler):
    """Samples one page of each region at each tick: DAMON's region-based sampling.

    With *plain*, all regions are sampled equally often, and samples give no hints where to split.
    With *careful*, a single sample does not decide about a region.
    """

    def __init__(
        self, session: Session, memory: MonitoredMemory, pacer: Pacer, *, plain: bool, careful: bool
    ) -> None:
        super().__init__(session, memory, pacer)
        self._plain = plain
        self._careful = careful and not plain

    def sample(
        self,
        table: RegionTable,
        length_ns: int,
        left_out: NDArray[np.bool_] | None = None,
        at_quarter: Callable[[], None] | None = None,
    ) -> Sampled:
        session = self._session
        session.watch(table, self._pacer.share if self._plain else self._shares(table, left_out))
        sampling, cleared_ns = CpuMeter(session.clock), session.interruption_ns
        start_ns = session.clock.now_ns()
        with sampling:
            ticks = self._timer.tick_until(start_ns, length_ns, at_quarter)
            end_ns = session.clock.now_ns()
            counts = session.counts()
        clearing_ns = session.interruption_ns - cleared_ns
        return Sampled(start_ns, end_ns, ticks, counts, sampling.cpu_ns, clearing_ns)

    def set_rates(self, table: RegionTable, sampled: Sampled) -> None:
        counts = sampled.counts
        update_rates(table, counts, self._samples, careful=self._careful)
        if counts.split_hint is not None and not self._plain:
            table.split_hint = counts.split_hint

    def reconcile(self, table: RegionTable, counts: Counts) -> None:
        keep_in_use(table, self._samples, self.sample_window)

    @property
    def sample_window(self) -> float:
        return 1 / self._pacer.effective.samples_per_aggregation
