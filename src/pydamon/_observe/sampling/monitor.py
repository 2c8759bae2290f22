"""The monitor that samples by itself: what a kernel's kdamond is, as a Python iterator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model import adjust
from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import ProbeUnavailable
from pydamon._model.page_ages import PageAges
from pydamon._model.page_map import PageMap
from pydamon._model.regions import Ranges, RegionTable, reset_age
from pydamon._model.snapshot import Cost, Snapshot, Target
from pydamon._observe.linux.process import Process
from pydamon._observe.monitor import Monitor
from pydamon._observe.pace import Pacer
from pydamon._observe.pages.follower import PageFollower
from pydamon._observe.pages.repeated import Repeated
from pydamon._observe.probes.base import Session, Traits
from pydamon._observe.sampling.adjusting import AdaptiveRegions, DrawnRegions, MappingRegions
from pydamon._observe.sampling.collectors import (
    Collector,
    MappingCollector,
    SampleCollector,
    ScanCollector,
    SurveyingCollector,
)
from pydamon._observe.sampling.memory import MemoryState, MonitoredMemory
from pydamon._observe.sampling.samplers import Sampler
from pydamon._observe.sampling.snapshots import Timing, renewed, snapshot_of
from pydamon._observe.sampling.surveyor import Surveyor
from pydamon._observe.sampling.tuning import IntervalTuner
from pydamon._observe.sampling.windows import CpuMeter, Window
from pydamon._observe.targets import Layout, Space

__all__ = ["SamplingMonitor", "Shares"]

MakeSampler = Callable[[Session, MonitoredMemory], Sampler]


class Shares(NamedTuple):
    """How much of one CPU exact looks may take."""

    surveys: float
    pages: float
    """Looks that keep the ages of pages up to date."""


class _Last(NamedTuple):
    """The regions of the last window, and their snapshot."""

    table: RegionTable
    snapshot: Snapshot


class _Ages(NamedTuple):
    """The ages of the pages of a window, if there was a look: by region, and page by page.

    `repeated` is what counts in another target, as of the last look.
    """

    by_region: PageAges | None = None
    maps: tuple[PageMap | None, ...] = ()
    repeated: Repeated | None = None


class _Series(NamedTuple):
    """Windows with the same regions, and what they cost: see `Pacer.observe`."""

    windows: int = 0
    ticks: int = 0
    sampling_ns: int = 0
    adjusting_ns: int = 0
    clearing_ns: int = 0

    def teach(self, pacer: Pacer) -> None:
        """Let a pacer learn the cost."""
        pacer.observe(self.ticks, self.sampling_ns, self.adjusting_ns, self.clearing_ns)

    def with_window(self, window: Window, spent_ns: int) -> _Series:
        """One window more, which took *spent_ns* in all."""
        return _Series(
            self.windows + 1,
            self.ticks + window.ticks,
            self.sampling_ns + window.sampling_cpu_ns,
            self.adjusting_ns + spent_ns - window.sampling_cpu_ns - window.survey_cpu_ns,
            self.clearing_ns + window.clearing_ns,
        )


class SamplingMonitor(Monitor):
    """Monitors a space with a probe's session, and the sampler that *make_sampler* makes.

    Sampling goes on only while the caller waits for the next snapshot; the time that the caller
    spends between two snapshots is not part of any window. With *plain* there are no surveys, as in
    the kernel, and no ages of pages.
    """

    engine = "sampling"

    def __init__(
        self,
        space: Space,
        session: Session,
        traits: Traits,
        pacer: Pacer,
        make_sampler: MakeSampler,
        *,
        shares: Shares,
        probe_name: str = "",
        goal: IntervalGoal | None = None,
        seed: int | None = None,
        plain: bool = False,
        page_map_ns: int | None = None,
    ) -> None:
        self.probe_name = probe_name
        self.fallback_reasons: dict[str, ProbeUnavailable] = {}
        self._space = space
        self._session = session
        self._traits = traits
        self._pacer = pacer
        self._tuner = None if goal is None else IntervalTuner(goal)
        self._page_map_ns = page_map_ns
        self._memory = MonitoredMemory(space, session, pacer)
        self._collector: Collector
        self._regions: MappingRegions
        self._series = _Series()
        self._last: _Last | None = None
        self._choose(traits, make_sampler, shares, plain, seed)
        try:
            self._memory.start()
            self._table = self._regions.first(self._memory.ranges)
            self._collector.prepare(self._table)
        except BaseException:
            self.close()
            raise

    def _choose(
        self,
        traits: Traits,
        make_sampler: MakeSampler,
        shares: Shares,
        plain: bool,
        seed: int | None,
    ) -> None:
        """Choose how to fill windows and how regions change, by what the probe can do."""
        parts = (self._session, self._memory, self._pacer)
        if traits.exact:
            follower = PageFollower(self._session, shares.pages)
            self._collector = ScanCollector(*parts, follower)
            self._regions = DrawnRegions(self._pacer)
            return
        sampler = make_sampler(self._session, self._memory)
        if traits.follows_mappings:
            self._collector = MappingCollector(*parts, sampler)
            self._regions = MappingRegions(self._pacer)
        elif traits.scans and not plain:
            surveyor = Surveyor(*parts, shares.surveys, seed)
            follower = PageFollower(self._session, shares.pages)
            self._collector = SurveyingCollector(*parts, sampler, surveyor, follower)
            self._regions = AdaptiveRegions(
                self._pacer, keep_contrasts=True, by_levels=sampler.is_graded, seed=seed
            )
        else:
            self._collector = SampleCollector(*parts, sampler)
            self._regions = AdaptiveRegions(
                self._pacer, keep_contrasts=False, by_levels=sampler.is_graded, seed=seed
            )

    @property
    def attrs(self) -> Attrs:
        return self._pacer.effective

    @property
    def caveat(self) -> str:
        return self._session.caveat

    @property
    def layout(self) -> Layout:
        return self._memory.state.layout

    @property
    def page_control(self) -> SamplingMonitor:
        return self

    def change(self, attrs: Attrs) -> None:
        samples = self._regions.samples
        self._pacer.change(attrs)
        adjust.rescale_counts(self._table, samples, self._regions.samples)

    def reset_age(self, target: Target, ranges: Ranges) -> None:
        """Count the age of these bytes from now on: a scheme has just acted on them."""
        for index, known in enumerate(self.layout.targets):
            if known == target:
                self._table = reset_age(self._table, index, ranges)

    def young(self, process: Process, start: int, end: int) -> NDArray[np.bool_]:
        """For each page of a range whether it was accessed since it was last cleared.

        Raises `ProbeError` if the probe cannot look at single pages.
        """
        target = next(i for i, known in enumerate(self.layout.processes) if known is process)
        return self._session.scan(target, start, end, clear=False).accessed

    def idle_pages(
        self, process: Process, start: int, end: int, idle_ns: int
    ) -> NDArray[np.bool_] | None:
        """For each page of a range: whether it is in memory, and surely idle for so long.

        `None` if this monitor keeps no ages of pages.
        """
        follower = self._collector.follower
        if follower is None:
            return None
        idle = follower.idle_pages(process, start, end, idle_ns)
        return idle & ~self.young(process, start, end) if idle.any() else idle

    def keep_page_maps(self, every_ns: int) -> bool:
        """Keep maps of pages in snapshots so often, unless they are kept already.

        Returns whether this monitor keeps ages of pages.
        """
        if self._page_map_ns is None:
            self._page_map_ns = every_ns
        return self._collector.follower is not None

    @property
    def scans(self) -> bool:
        """Whether the probe can look at single pages, as `young` does."""
        return self._traits.scans

    def stop(self) -> None:
        self._memory.stopped = True

    def close(self) -> None:
        """Stop watching; harmless when done twice."""
        self._memory.stopped = True
        if self.passed_looks is not None:
            self.passed_looks.close()
        self._session.close()
        self._space.close()

    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        if duration_ns is None:
            while (snapshot := self._aggregate()) is not None:
                yield snapshot
            return
        clock, left_ns = self._session.clock, duration_ns
        end_ns = clock.now_ns() + duration_ns
        while True:
            attrs = self._pacer.effective
            # The last window is longer rather than too short to mean anything.
            is_last = left_ns < 1.5 * attrs.aggregation_ns
            snapshot = self._aggregate(left_ns if is_last else None)
            if snapshot is None:
                return
            yield snapshot
            # Memory that moves ends any window early: then another one is the last.
            left_ns = end_ns - clock.now_ns()
            if left_ns < attrs.sampling_ns:
                return

    def _aggregate(self, length_ns: int | None = None) -> Snapshot | None:
        """One aggregation, or a window of another length; `None` when nothing is left."""
        if not self._memory.alive:
            return None
        clock, session, attrs = self._session.clock, self._session, self._pacer.effective
        begin_ns, begin_cpu_ns = clock.now_ns(), clock.cpu_ns()
        interrupted_ns = session.interruption_ns
        closes = length_ns is not None or self._series.windows + 1 >= self._pacer.adjust_every
        window = self._collector.collect(self._table, length_ns, closes=closes)
        memory = self._memory.state
        if window.closes or window.lost or self._memory.has_moved(window.end_ns):
            merged = self._regions.merge(window.table, window.end_ns - begin_ns)
            closes = was_merged = True
        else:
            merged = self._table = self._regions.carry_on(window.table, window.end_ns - begin_ns)
            was_merged = False
        ages, window = self._page_ages(merged, window, memory, final=length_ns is not None)
        if was_merged:
            self._table = self._prepared(merged, window.end_ns, lost=window.lost)
        self._tune(merged)
        spent_ns = clock.cpu_ns() - begin_cpu_ns + window.interrupt_ns
        self._series = self._series.with_window(window, spent_ns)
        if self._last is not None:  # the first window has the bits of a life-time to clear
            own_ns = spent_ns - window.survey_cpu_ns
            self._pacer.account(own_ns, window.end_ns - begin_ns)
        if closes:
            if self._series.ticks:
                self._series.teach(self._pacer)
            self._series = _Series()
        timing = Timing(
            clock.unix_ns(window.start_ns),
            clock.unix_ns(window.end_ns),
            attrs.sampling_ns,
            attrs.aggregation_ns,
            self._regions.samples,
        )
        cost = Cost(spent_ns, session.interruption_ns - interrupted_ns, window.late_ticks)
        last = self._last
        has_news = window.has_news or closes or ages.by_region is not None
        if last is not None and merged is last.table and not has_news:
            snapshot = renewed(last.snapshot, merged, timing, cost)
        else:
            snapshot = snapshot_of(merged, memory, timing, cost, ages.by_region, ages.repeated)
            snapshot = replace(snapshot, page_maps=ages.maps) if ages.maps else snapshot
        self._last = _Last(merged, snapshot)
        return snapshot

    def _prepared(self, merged: RegionTable, now_ns: int, *, lost: bool) -> RegionTable:
        """The regions for the next window, of the memory that the targets have now."""
        table = self._regions.begin_window(merged)
        if lost or self._memory.update_is_due(now_ns):
            table = self._memory.update(table, now_ns)
        return self._regions.split(table)

    def _page_ages(
        self, table: RegionTable, window: Window, memory: MemoryState, *, final: bool
    ) -> tuple[_Ages, Window]:
        """The ages of the pages of regions; what that costs is paid as exact looks are.

        The targets are those of the *memory* of the window; more may have begun since.
        Where maps of pages are wanted, the *final* window has a look of its own.
        """
        follower = self._collector.follower
        if follower is None:
            return _Ages(), window
        adding_up, every_ns = CpuMeter(self._session.clock), self._page_map_ns
        final |= self._memory.stopped
        with adding_up:
            if final and every_ns is not None and self._space.alive:
                follower.look(self._memory.state.layout, self._memory.refresh_in_memory())
            ages = follower.ages_of(table)
            repeated = follower.repeated_in(memory.layout, memory.repeated, memory.forked)
            maps: tuple[PageMap | None, ...] = ()
            if every_ns is not None and ages is not None:
                maps = follower.maps_of(len(memory.layout.targets), every_ns, final=final)
        survey_cpu_ns = window.survey_cpu_ns + adding_up.cpu_ns
        return _Ages(ages, maps, repeated), window._replace(survey_cpu_ns=survey_cpu_ns)

    def _tune(self, table: RegionTable) -> None:
        """Move the intervals towards the goal, if there is one."""
        attrs = self._tuner.tuned(table, self._pacer.named) if self._tuner else None
        if attrs is not None:
            self.change(attrs)
