"""Collectors: each fills windows in its own way, and is chosen once, by what the probe can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial

import numpy as np

from pydamon._model.regions import RegionTable
from pydamon._model.stretches import Stretches
from pydamon._observe.pace import Pacer
from pydamon._observe.pages.follower import PageFollower
from pydamon._observe.probes.base import Session
from pydamon._observe.sampling.exact_looks import Clearing, ExactLook, chunks_of
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.samplers import Sampled, SamplePlan, Sampler
from pydamon._observe.sampling.surveyor import Glance, Surveyor
from pydamon._observe.sampling.windows import CpuMeter, Window, WindowTimer

__all__ = [
    "Collector",
    "MappingCollector",
    "SampleCollector",
    "ScanCollector",
    "SurveyingCollector",
]


class Collector(ABC):
    """Fills windows: finds out how often the regions of a table are accessed."""

    def __init__(self, session: Session, memory: MonitoredMemory, pacer: Pacer) -> None:
        self._session = session
        self._memory = memory
        self._pacer = pacer
        self._timer = WindowTimer(session, memory, pacer)

    @abstractmethod
    def collect(self, table: RegionTable, length_ns: int | None, *, closes: bool = True) -> Window:
        """Fill a window of one aggregation; or, if it is the last one, of another length.

        The collector sets the figures of the regions, or draws other regions: the table of the
        window takes the place of *table*. Unless the window *closes*, the next one may go on with
        these regions, for less work between the two.
        """

    def prepare(self, table: RegionTable) -> None:
        """Prepare for the first window, which will be of these regions."""
        del table

    @property
    def follower(self) -> PageFollower | None:
        """What keeps the ages of pages, if this collector looks at pages at all."""
        return None

    @property
    def _samples(self) -> int:
        return self._pacer.named.samples_per_aggregation

    def _length_ns(self, length_ns: int | None) -> int:
        return length_ns or self._pacer.effective.aggregation_ns


class SampleCollector(Collector):
    """Samples regions, and nothing else."""

    def __init__(
        self, session: Session, memory: MonitoredMemory, pacer: Pacer, sampler: Sampler
    ) -> None:
        super().__init__(session, memory, pacer)
        self._sampler = sampler

    def collect(self, table: RegionTable, length_ns: int | None, *, closes: bool = True) -> Window:
        plan = SamplePlan(closes=closes)
        return self._sampled(table, self._length_ns(length_ns), plan).window(table, closes=closes)

    def _sampled(self, table: RegionTable, length_ns: int, plan: SamplePlan) -> Sampled:
        """Sample, and set the rates."""
        sampled = self._sampler.sample(table, length_ns, plan)
        if sampled.counts is not None:
            self._sampler.set_rates(table, sampled.counts)
        return sampled


class SurveyingCollector(SampleCollector):
    """Samples, and now and then looks at every page, to draw regions and check figures."""

    def __init__(
        self,
        session: Session,
        memory: MonitoredMemory,
        pacer: Pacer,
        sampler: Sampler,
        surveyor: Surveyor,
        follower: PageFollower,
    ) -> None:
        super().__init__(session, memory, pacer, sampler)
        self._surveyor = surveyor
        self._follower = follower

    @property
    def follower(self) -> PageFollower:
        return self._follower

    def collect(self, table: RegionTable, length_ns: int | None, *, closes: bool = True) -> Window:
        length = self._length_ns(length_ns)
        survey, glance = CpuMeter(self._session.clock), None
        if not self._sampler.goes_on(table):
            surveyed, window = self._surveyed(table, length_ns, survey)
            if window is not None:
                return window
            # There is no look while a glance goes on: rather half a window early than late.
            self._look_if_due(survey, early_ns=length // 2)
            closes |= surveyed is not table
            table = surveyed
            with survey:
                glance = self._surveyor.begin_glance(table)
        closes |= glance is not None
        sampled = self._sampled_around(glance, table, length, closes=closes, survey=survey)
        if closes:
            table = self._checked(table, sampled, glance, survey)
        return sampled.window(table, survey.cpu_ns, closes=closes)

    def _surveyed(
        self, table: RegionTable, length_ns: int | None, survey: CpuMeter
    ) -> tuple[RegionTable, Window | None]:
        """The regions after a survey, if one is due; and its window, if that says all of them."""
        if length_ns is not None:
            return table, None  # the last window: a survey takes the time of an aggregation
        if not self._surveyor.is_due:
            return table, None
        memory, follower = self._memory, self._follower
        clear_pages = partial(follower.begin_survey, memory.state.layout, memory.in_memory)
        start_ns = self._session.clock.now_ns()
        with survey:
            surveyed = self._surveyor.survey(table, clear_pages, self._sampler.looks_ns)
            follower.finish_survey()
            now_ns = self._session.clock.now_ns()
            if memory.has_moved(now_ns):  # targets may get other numbers
                surveyed = memory.update(surveyed, now_ns)
                follower.fit(memory.state.layout, memory.in_memory)
            if follower.is_due(self._session.clock.now_ns()):
                follower.look(memory.state.layout, memory.in_memory)
        everywhere = np.ones(len(surveyed), np.bool_)
        if not self._sampler.set_known_rates(surveyed, everywhere):
            return surveyed, None
        return surveyed, self._survey_window(surveyed, start_ns, survey.cpu_ns)

    def _checked(
        self, table: RegionTable, sampled: Sampled, glance: Glance | None, survey: CpuMeter
    ) -> RegionTable:
        """The regions, once what surveys and samples saw agrees."""
        surveyor = self._surveyor
        surveyor.rescale(table, sampled.end_ns - sampled.start_ns)
        if sampled.counts is not None:
            surveyor.check(table, sampled.counts, self._sampler.sample_window)
            self._sampler.reconcile(table, sampled.counts)
        if glance is not None:
            with survey:
                table, looked_at = surveyor.finish_glance(glance, table, self._samples)
            self._sampler.set_known_rates(table, looked_at)
        return table

    def _survey_window(self, table: RegionTable, start_ns: int, survey_cpu_ns: int) -> Window:
        """The window of a survey, whose rates are known from earlier windows and its own looks."""
        return Window(
            start_ns=start_ns,
            end_ns=self._session.clock.now_ns(),
            table=table,
            lost=False,
            ticks=0,
            late_ticks=0,
            sampling_cpu_ns=0,
            clearing_ns=0,
            survey_cpu_ns=survey_cpu_ns,
        )

    def _look_if_due(self, survey: CpuMeter, early_ns: int = 0) -> None:
        if self._follower.is_due(self._session.clock.now_ns() + early_ns):
            memory, spare = self._memory, self._surveyor.spare_share
            with survey:
                self._follower.look(memory.state.layout, memory.in_memory, spare)

    def _sampled_around(
        self,
        glance: Glance | None,
        table: RegionTable,
        length_ns: int,
        *,
        closes: bool,
        survey: CpuMeter,
    ) -> Sampled:
        """Sample what no glance looks at: that would clear the bits that the glance will read.

        Looks at all pages would do the same, and come where there is no glance.
        """
        before_ns = survey.cpu_ns
        if glance is None:
            plan = SamplePlan(closes=closes, between_epochs=partial(self._look_if_due, survey))
        else:
            of_glance = glance.survey

            def look_early() -> None:
                with survey:
                    of_glance.look_early()

            plan = SamplePlan(glance.chosen, look_early)
        sampled = self._sampled(table, length_ns, plan)
        return sampled._replace(cpu_ns=sampled.cpu_ns - (survey.cpu_ns - before_ns))


class ScanCollector(Collector):
    """Checks every page once in each window: the rate of a region is the share that was touched.

    The clear at the beginning of a window is a look at the ages of all pages.
    """

    def __init__(
        self, session: Session, memory: MonitoredMemory, pacer: Pacer, follower: PageFollower
    ) -> None:
        super().__init__(session, memory, pacer)
        self._follower = follower

    @property
    def follower(self) -> PageFollower:
        return self._follower

    def collect(self, table: RegionTable, length_ns: int | None, *, closes: bool = True) -> Window:
        clock, scanning = self._session.clock, CpuMeter(self._session.clock)
        start_ns = clock.now_ns()
        with scanning:
            look = self._cleared()
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

    def _cleared(self) -> ExactLook:
        """A look that begins now."""
        memory, follower = self._memory, self._follower
        stuck = follower.begin_survey(memory.state.layout, memory.in_memory)
        if stuck is not None:
            stretches = Stretches.of(sorted(chunks_of(memory.ranges)))
            return ExactLook(self._session, stretches, stuck(stretches))
        # Only a part of the pages is followed: that part has looks of its own.
        if follower.is_due(self._session.clock.now_ns()):
            follower.look(memory.state.layout, memory.in_memory)
        return Clearing(self._session, chunks_of(memory.ranges)).look

    def _set_rates(self, table: RegionTable) -> None:
        # Targets that are gone were not seen.
        unknown = np.isnan(table.touched)
        table.touched = table.touched_early = np.nan_to_num(table.touched)
        table.nr_accesses = table.touched * self._samples
        table.unobservable = np.where(unknown, 0.0, table.unobservable)
        table.seen = np.ones(len(table))


class MappingCollector(SampleCollector):
    """Lets the probe count how much of each mapping is touched between two ticks."""

    def prepare(self, table: RegionTable) -> None:
        """Find out what a tick costs: with such a probe, it can cost more than an interval."""
        self._session.watch(table)
        begin_ns = self._session.clock.cpu_ns()
        self._session.watch(table)
        self._session.tick(last=True)
        self._pacer.expect(self._session.clock.cpu_ns() - begin_ns)

    def collect(self, table: RegionTable, length_ns: int | None, *, closes: bool = True) -> Window:
        sampled = self._sampled(table, self._length_ns(length_ns), SamplePlan(closes=closes))
        counts = sampled.counts
        assert counts is not None
        if counts.touched is not None:
            table.touched = table.touched_early = counts.touched
        if counts.resident is not None:
            table.resident = counts.resident
        if counts.repeated is not None:
            table.repeated = counts.repeated
        return sampled.window(table)
