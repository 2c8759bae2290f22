"""Collectors: each fills windows in its own way, and is chosen once, by what the probe can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import RegionTable
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.base import Counts, Session
from pydamon._observe.sampling.exact_looks import ExactLook, chunks_of
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.rates import update_rates
from pydamon._observe.sampling.surveyor import Surveyor
from pydamon._observe.sampling.windows import CpuMeter, Ticks, Window, WindowTimer

__all__ = [
    "Collector",
    "MappingCollector",
    "SampleCollector",
    "ScanCollector",
    "SurveyingCollector",
]

_SETTLED_AGE = 3
"""A region whose rate is clear is settled after so many aggregations."""
_SETTLED_SHARE = 0.25
"""Settled regions are sampled at this part of the ticks at which the others are."""


class Collector(ABC):
    """Fills windows: finds out how often the regions of a table are accessed."""

    def __init__(self, session: Session, memory: MonitoredMemory, pacer: Pacer) -> None:
        self._session = session
        self._memory = memory
        self._pacer = pacer
        self._timer = WindowTimer(session, memory, pacer)

    @abstractmethod
    def collect(self, table: RegionTable, length_ns: int | None) -> Window:
        """Fill a window of one aggregation; or, if it is the last one, of another length.

        The collector sets the figures of the regions, or draws other regions: the table of the
        window takes the place of *table*.
        """

    def prepare(self, table: RegionTable) -> None:
        """Prepare for the first window, which will be of these regions."""
        del table

    @property
    def _samples(self) -> int:
        return self._pacer.named.samples_per_aggregation

    def _length_ns(self, length_ns: int | None) -> int:
        return length_ns or self._pacer.effective.aggregation_ns

    def _sample(self, length_ns: int, at_quarter: Callable[[], None] | None = None) -> _Sampled:
        """Sample the regions that the session watches, for a window."""
        session = self._session
        sampling, cleared_ns = CpuMeter(session.clock), session.interruption_ns
        start_ns = session.clock.now_ns()
        with sampling:
            ticks = self._timer.tick_until(start_ns, length_ns, at_quarter)
            end_ns = session.clock.now_ns()
            counts = session.counts()
        clearing_ns = session.interruption_ns - cleared_ns
        return _Sampled(start_ns, end_ns, ticks, counts, sampling.cpu_ns, clearing_ns)


class _Sampled(NamedTuple):
    """What samples counted in a window."""

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


class SampleCollector(Collector):
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

    def collect(self, table: RegionTable, length_ns: int | None) -> Window:
        self._session.watch(table, self._shares(table))
        sampled = self._sample(self._length_ns(length_ns))
        self._set_rates(table, sampled.counts)
        return sampled.window(table)

    def _set_rates(self, table: RegionTable, counts: Counts) -> None:
        update_rates(table, counts, self._samples, careful=self._careful)
        if counts.split_hint is not None and not self._plain:
            table.split_hint = counts.split_hint

    def _shares(self, table: RegionTable) -> NDArray[np.float64] | float:
        """How often to sample each region: seldom if its rate is clear and has long held.

        The samples that this saves go to regions whose rate is not clear yet.
        """
        share = self._pacer.share
        if share >= 1 or self._plain:
            return share
        attrs, last = self._pacer.effective, table.last_nr_accesses
        clear = (last < 1) | (last > 0.9 * self._samples)
        settled = clear & (table.age_ns >= _SETTLED_AGE * attrs.aggregation_ns)
        # Twice at least: a single sample may err.
        twice = 2 / attrs.samples_per_aggregation
        least = max(share * _SETTLED_SHARE, min(share, twice))
        return np.where(settled, least, share)


class SurveyingCollector(SampleCollector):
    """Samples, and now and then looks at every page, to draw regions and check figures."""

    def __init__(
        self,
        session: Session,
        memory: MonitoredMemory,
        pacer: Pacer,
        surveyor: Surveyor,
        *,
        careful: bool,
    ) -> None:
        super().__init__(session, memory, pacer, plain=False, careful=careful)
        self._surveyor = surveyor

    def collect(self, table: RegionTable, length_ns: int | None) -> Window:
        surveyor, survey = self._surveyor, CpuMeter(self._session.clock)
        with survey:
            # Not before the last window: a survey takes the time of an aggregation.
            if length_ns is None:
                table = surveyor.survey_if_due(table)
            glance = surveyor.begin_glance(table)
        shares = self._shares(table)
        if glance is not None:
            # Sampling would clear the bits that the glance will read.
            shares = np.where(glance.chosen, 0.0, shares)
        self._session.watch(table, shares)
        at_quarter = None if glance is None else glance.survey.look_early
        sampled = self._sample(self._length_ns(length_ns), at_quarter)
        surveyor.rescale(table, sampled.end_ns - sampled.start_ns)
        self._set_rates(table, sampled.counts)
        surveyor.check(table, sampled.counts, self._samples)
        if glance is not None:
            table = surveyor.finish_glance(glance, table, self._samples)
        return sampled.window(table, survey.cpu_ns)


class ScanCollector(Collector):
    """Checks every page once in each window: the rate of a region is the share that was touched."""

    def collect(self, table: RegionTable, length_ns: int | None) -> Window:
        clock, scanning = self._session.clock, CpuMeter(self._session.clock)
        start_ns = clock.now_ns()
        with scanning:
            look = ExactLook(self._session, chunks_of(self._memory.ranges))
            self._timer.wait_until(clock.now_ns() + self._length_ns(length_ns))
            max_regions = self._pacer.effective.max_regions
            table = look.finish().draw(table, max_regions, self._memory.state.repeated)
            self._set_rates(table)
        return Window(
            start_ns=start_ns,
            end_ns=clock.now_ns(),
            table=table,
            lost=False,
            ticks=1,
            late_ticks=0,
            sampling_cpu_ns=scanning.cpu_ns,
            clearing_ns=0,
        )

    def _set_rates(self, table: RegionTable) -> None:
        # Targets that are gone were not seen.
        unknown = np.isnan(table.touched)
        table.touched = table.touched_early = np.nan_to_num(table.touched)
        table.nr_accesses = table.touched * self._samples
        table.unobservable = np.where(unknown, 0.0, table.unobservable)
        table.seen = np.ones(len(table))


class MappingCollector(Collector):
    """Lets the probe count how much of each mapping is touched between two ticks."""

    def prepare(self, table: RegionTable) -> None:
        """Find out what a tick costs: with such a probe, it can cost more than an interval."""
        self._session.watch(table)
        begin_ns = self._session.clock.cpu_ns()
        self._session.watch(table)
        self._session.tick(last=True)
        self._pacer.expect(self._session.clock.cpu_ns() - begin_ns)

    def collect(self, table: RegionTable, length_ns: int | None) -> Window:
        self._session.watch(table)
        sampled = self._sample(self._length_ns(length_ns))
        counts = sampled.counts
        update_rates(table, counts, self._samples, careful=False)
        if counts.touched is not None:
            table.touched = table.touched_early = counts.touched
        if counts.resident is not None:
            table.resident = counts.resident
        return sampled.window(table)
