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

__all__ = ["SamplePlan", "Sampled", "Sampler", "TickSampler"]

_SETTLED_AGE = 3
"""A region whose rate is clear is settled after so many aggregations."""
_SETTLED_SHARE = 0.25
"""Settled regions are sampled at this part of the ticks at which the others are."""


class Sampled(NamedTuple):
    """What a sampler saw in a window."""

    start_ns: int
    end_ns: int
    ticks: Ticks
    counts: Counts | None
    """What it counted since it began with these regions; `None` if nothing is new."""
    cpu_ns: int
    clearing_ns: int
    interrupt_ns: int = 0
    """Time in interrupts, on whatever CPU."""

    def window(self, table: RegionTable, survey_cpu_ns: int = 0, *, closes: bool = True) -> Window:
        """The window, with the regions as they are after it."""
        return Window(
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            table=table,
            lost=self.counts is not None and self.counts.lost,
            ticks=self.ticks.total,
            late_ticks=self.ticks.late,
            sampling_cpu_ns=self.cpu_ns + self.interrupt_ns,
            clearing_ns=self.clearing_ns,
            survey_cpu_ns=survey_cpu_ns,
            interrupt_ns=self.interrupt_ns,
            closes=closes,
            has_news=self.counts is not None,
        )


class SamplePlan(NamedTuple):
    """How to sample in a window, beside its length."""

    left_out: NDArray[np.bool_] | None = None
    """Regions that must not be sampled."""
    at_quarter: Callable[[], None] | None = None
    """Called when a quarter of the window has passed."""
    closes: bool = True
    """Whether regions change after the window."""
    between_epochs: Callable[[], None] | None = None
    """Called when no page is watched, so that accessed bits may be cleared."""


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
    def sample(self, table: RegionTable, length_ns: int, plan: SamplePlan) -> Sampled:
        """Sample the regions of a table for a window."""

    def goes_on(self, table: RegionTable) -> bool:
        """Whether the next window of these regions goes on with what the last one began."""
        del table
        return False

    @abstractmethod
    def set_rates(self, table: RegionTable, counts: Counts) -> None:
        """Set what the samples of a window tell of its regions."""

    def set_known_rates(self, table: RegionTable, looked_at: NDArray[np.bool_]) -> bool:
        """Set the rates of regions that nothing but an exact look has seen in a window.

        Returns False if they are not known: then nothing is set.
        """
        del table, looked_at
        return False

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

    def sample(self, table: RegionTable, length_ns: int, plan: SamplePlan) -> Sampled:
        session = self._session
        shares = self._pacer.share if self._plain else self._shares(table, plan.left_out)
        session.watch(table, shares)
        sampling, cleared_ns = CpuMeter(session.clock), session.interruption_ns
        start_ns = session.clock.now_ns()
        with sampling:
            ticks = self._timer.tick_until(start_ns, length_ns, plan.at_quarter)
            end_ns = session.clock.now_ns()
            counts = session.counts()
        clearing_ns = session.interruption_ns - cleared_ns
        return Sampled(start_ns, end_ns, ticks, counts, sampling.cpu_ns, clearing_ns)

    def set_rates(self, table: RegionTable, counts: Counts) -> None:
        update_rates(table, counts, self._samples, careful=self._careful)
        if counts.split_hint is not None and not self._plain:
            table.split_hint = counts.split_hint

    def reconcile(self, table: RegionTable, counts: Counts) -> None:
        keep_in_use(table, self._samples, self.sample_window)

    @property
    def sample_window(self) -> float:
        return 1 / self._pacer.effective.samples_per_aggregation

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
