"""The monitor that samples by itself: what a kernel's kdamond is, as a Python iterator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon._model import adjust
from pydamon._model.attrs import Attrs, IntervalGoal, access_events, tune
from pydamon._model.errors import ProbeUnavailable, TargetError
from pydamon._model.mappings import repeated_ranges
from pydamon._model.ranges import EMPTY, close_gaps, intersect, join, keyed
from pydamon._model.regions import Ranges, RegionTable, concatenate, reset_age
from pydamon._model.snapshot import Cost, Footprint, Snapshot, Target
from pydamon._observe.linux.process import Process
from pydamon._observe.monitor import Monitor
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.base import Counts, Session, Traits
from pydamon._observe.sampling.survey import Survey
from pydamon._observe.sampling.window import Window, check_survey, snapshot_of, update_rates
from pydamon._observe.targets import Layout, Space

__all__ = ["SamplingMonitor"]

_ALIVE_CHECK_NS = 100 * 10**6
_SETTLED_AGE = 3
_SETTLED_SHARE = 0.25
_EARLY_NS = 5 * 10**9
_STARTING_NS, _FIRST_CHECK_NS = 10**9, 25 * 10**6
_MORE_OFTEN = 4
_LEAST_RANGES = 3
_MOST_APART, _LARGE_GAP_BYTES = 32, 1 << 28
"""So many ranges a target may have because of gaps so large."""
_LEAST_WINDOWS = 10
"""A survey's window is so many times what clearing takes, at the least."""


class SamplingMonitor(Monitor):
    """Monitors a space with a probe's session.

    Sampling goes on only while the next snapshot is waited for; what the caller does between two
    of them is not part of any window.
    """

    engine = "sampling"

    def __init__(
        self,
        space: Space,
        session: Session,
        traits: Traits,
        pacer: Pacer,
        *,
        probe_name: str = "",
        passed_over: Mapping[str, ProbeUnavailable] | None = None,
        goal: IntervalGoal | None = None,
        seed: int | None = None,
        survey: Survey | None = None,
        plain: bool = False,
    ) -> None:
        self.probe_name = probe_name
        self.passed_over = dict(passed_over or {})
        self._space = space
        self._session = session
        self._traits = traits
        self._pacer = pacer
        self._goal = goal
        self._survey = survey
        self._plain = plain
        self._rng = np.random.default_rng(seed)
        self._layout = Layout((), (), (), ())
        self._footprints: tuple[Footprint, ...] = ()
        self._table = RegionTable.of([], [], [])
        self._ranges: list[Ranges] = []
        """What is monitored of each target: where it has memory, as far as that can be told."""
        self._populated: list[Ranges] | None = None
        self._repeated = EMPTY
        """Memory that counts in another target, too, as ranges of `order_keys`."""
        self._glanced = np.zeros(0, np.bool_)
        """The regions at which a glance is under way, if one is."""
        self._last_count = 0
        self._known_ns = 0
        self._stopped = False
        self._events = (0.0, 0.0)
        self._aggregations = 0
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def attrs(self) -> Attrs:
        return self._pacer.effective

    @property
    def _samples(self) -> int:
        """The largest `nr_accesses`: of the intervals as named, whatever they are stretched to."""
        return self._pacer.named.samples_per_aggregation

    @property
    def caveat(self) -> str:
        return self._session.caveat

    @property
    def layout(self) -> Layout:
        return self._layout

    def change(self, attrs: Attrs) -> None:
        samples = self._samples
        self._pacer.change(attrs)
        adjust.rescale_counts(self._table, samples, self._samples)

    def reset_age(self, target: Target, ranges: Ranges) -> None:
        """Count the age of these bytes from now on: somebody has just acted on them."""
        for index, known in enumerate(self._layout.targets):
            if known == target:
                self._table = reset_age(self._table, index, ranges)

    def young(self, process: Process, start: int, end: int) -> NDArray[np.bool_]:
        """For each page of a range whether it was accessed since that was last cleared.

        Raises `ProbeError` where the probe cannot look at single pages.
        """
        target = next(i for i, known in enumerate(self._layout.processes) if known is process)
        return self._session.scan(target, start, end, clear=False).accessed

    @property
    def scans(self) -> bool:
        """Whether the probe can look at single pages, as `young` does."""
        return self._traits.scans

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Stop watching; harmless when done twice."""
        self._stopped = True
        self._session.close()
        self._space.close()

    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        if duration_ns is None:
            while (snapshot := self._aggregate()) is not None:
                yield snapshot
            return
        end_ns = self._session.clock.now_ns() + duration_ns
        while (left_ns := end_ns - self._session.clock.now_ns()) > 0:
            # The last window is longer rather than too short to mean anything.
            last = left_ns < 1.5 * self._pacer.effective.aggregation_ns
            snapshot = self._aggregate(left_ns if last else None)
            if snapshot is None:
                return
            yield snapshot
            if last:
                return

    def _start(self) -> None:
        self._layout = self._space.update(self._max_ranges)
        if not self._layout.targets:
            raise TargetError("there is nothing to watch: what was named has exited")
        self._session.set_targets(self._layout.processes, self._layout.mappings)
        self._repeated = keyed(repeated_ranges(self._layout.mappings))
        self._populated = self._session.populated()
        self._ranges = self._monitored()
        self._table = self._initial(self._ranges)
        self._measure_footprints()
        self._started_ns = self._updated_ns = self._session.clock.now_ns()
        self._update_rest_ns = self._populated_rest_ns = 0
        self._ended_early_ns = self._started_ns
        self._moved = False
        if self._traits.follows_mappings:
            # A probe whose single tick can cost more than an interval: ask it what it costs.
            self._session.watch(self._table)
            begin_ns = self._session.clock.cpu_ns()
            self._session.watch(self._table)
            self._session.tick(last=True)
            self._pacer.expect(self._session.clock.cpu_ns() - begin_ns)

    @property
    def _max_ranges(self) -> int:
        return self._pacer.effective.max_regions // 10

    def _initial(self, ranges: Sequence[Ranges]) -> RegionTable:
        if self._traits.follows_mappings:
            return adjust.fit(RegionTable.of([], [], []), list(ranges))
        return adjust.initial(list(ranges), self._pacer.effective.min_regions)

    def _aggregate(self, length_ns: int | None = None) -> Snapshot | None:
        """One aggregation, or a window of another length; `None` when nothing is left."""
        if self._stopped or not self._space.alive:
            return None
        clock, attrs = self._session.clock, self._pacer.effective
        begin_ns, not_yet_ns = clock.cpu_ns(), self._session.interruption_ns
        began_ns = clock.now_ns()
        window = self._look_at_all(length_ns) if self._traits.exact else self._look(length_ns)
        self._known_for(window.end_ns - window.start_ns)
        merged = self._merge(window.counts, window.end_ns - began_ns)
        layout, footprints, repeated_keys = self._layout, self._footprints, self._repeated
        if window.counts.lost or self._update_is_due(window.end_ns):
            self._update(window.end_ns)
        self._split()
        self._tune(merged)
        spent_ns = clock.cpu_ns() - begin_ns
        adjusting_ns = spent_ns - window.sampling_cpu_ns - window.survey_cpu_ns
        interruption_ns = self._session.interruption_ns - not_yet_ns
        self._pacer.observe(window.ticks, window.sampling_cpu_ns, adjusting_ns, window.clearing_ns)
        return snapshot_of(
            merged,
            attrs,
            self._samples,
            layout,
            (clock.unix_ns(window.start_ns), clock.unix_ns(window.end_ns)),
            Cost(spent_ns, interruption_ns, window.late_ticks),
            footprints,
            repeated_keys,
        )

    def _look(self, length_ns: int | None) -> Window:
        """Sample for an aggregation, now and then with a survey before."""
        clock, survey, aggregation_ns = self._session.clock, self._survey, self.attrs.aggregation_ns
        begin_ns = clock.cpu_ns()
        # Not when time is nearly up: a survey takes an aggregation of its own.
        if survey and length_ns is None and survey.due(clock.now_ns(), aggregation_ns):
            # Windows vary in length: what is longer than a survey's would find it too short.
            self._take_survey(survey, aggregation_ns * 5 // 4)
            if self._memory_moved(clock.now_ns()):
                self._update(clock.now_ns())
        glances = survey is not None and self._glance(survey)
        survey_cpu_ns = clock.cpu_ns() - begin_ns
        self._session.watch(self._table, self._shares())
        start_ns, begin_ns = clock.now_ns(), clock.cpu_ns()
        before_ns = self._session.interruption_ns
        in_quarter = survey.middle if survey and glances else None
        ticks, late_ticks = self._sample(start_ns, length_ns or aggregation_ns, in_quarter)
        return Window(
            start_ns,
            clock.now_ns(),
            ticks,
            late_ticks,
            self._session.counts(),
            clock.cpu_ns() - begin_ns,
            self._session.interruption_ns - before_ns,
            survey_cpu_ns,
        )

    def _glance(self, survey: Survey) -> bool:
        """Begin an exact look at what has been mapped since the last window, or is in doubt."""
        chosen = survey.to_glance_at(self._table, self._session.clock.now_ns())
        if not chosen.any():
            return False
        table = self._table.take(chosen)
        bounds = np.stack([table.start, table.end], axis=1)
        parts = np.searchsorted(table.target, np.arange(len(self._layout.targets) + 1))
        ranges = [join(bounds[low:high]) for low, high in pairwise(parts)]
        survey.glance(ranges)
        # Sampling would clear the bits that are to be looked at.
        self._glanced = chosen
        return True

    def _end_glance(self, survey: Survey) -> RegionTable:
        """The table with what the glance that is under way has found."""
        table = survey.end(self._table, self.attrs.max_regions, self._repeated)
        survey.charge(self._session.clock.now_ns())
        self._glanced = np.zeros(0, np.bool_)
        # Of its rate is known so far what a look after a quarter of the window tells.
        first = (table.age_ns == 0) & (table.nr_accesses == 0) & (table.touched > 0)
        rate = np.maximum(1, np.nan_to_num(table.touched_early) * self._samples)
        table.nr_accesses = np.where(first, rate, table.nr_accesses)
        return table

    def _look_at_all(self, length_ns: int | None) -> Window:
        """A survey that is an aggregation: one check of every page."""
        clock = self._session.clock
        begin_ns = clock.cpu_ns()
        start_ns = clock.now_ns()
        assert self._survey is not None
        self._take_survey(self._survey, length_ns or self.attrs.aggregation_ns)
        n = len(self._table)
        touched = np.nan_to_num(self._table.touched)
        counts = Counts(touched, np.ones(n), np.zeros(n), touched=touched)
        cpu_ns = clock.cpu_ns() - begin_ns
        return Window(start_ns, clock.now_ns(), 1, 0, counts, cpu_ns, 0, 0)

    def _take_survey(self, survey: Survey, window_ns: int) -> None:
        clock = self._session.clock
        resident_bytes = sum(footprint.rss_bytes for footprint in self._footprints)
        everything = int(self._table.size.sum())
        survey.begin(self._table, self._ranges, window_ns, resident_bytes or everything)
        start_ns = clock.now_ns()
        if not self._traits.exact:
            # What is looked at last must not have much less time than what is looked at first.
            window_ns = max(window_ns, _LEAST_WINDOWS * survey.cpu_ns)
            self._pause(start_ns + window_ns // 4)
            survey.middle()
        self._pause(start_ns + window_ns)
        # It is shorter than that where memory moved meanwhile.
        window_ns = max(1, clock.now_ns() - start_ns)
        self._known_for(window_ns)
        self._table = survey.end(self._table, self.attrs.max_regions, self._repeated)
        survey.pay(clock.now_ns(), window_ns)

    def _shares(self) -> NDArray[np.float64] | float:
        """How often to sample each region: not at all where a glance is under way."""
        share = self._shares_of_known()
        return np.where(self._glanced, 0.0, share) if self._glanced.any() else share

    def _shares_of_known(self) -> NDArray[np.float64] | float:
        """How often to sample each region: seldom where its rate is clear and has long held.

        What is saved there goes to the regions that are still being told apart.
        """
        share, table = self._pacer.share, self._table
        if share >= 1 or self._plain:
            return share
        clear = (table.last_nr_accesses < 1) | (table.last_nr_accesses > 0.9 * self._samples)
        settled = clear & (table.age_ns >= _SETTLED_AGE * self.attrs.aggregation_ns)
        # Twice at least: of one sample alone nobody can tell whether it erred.
        twice = 2 / self._pacer.effective.samples_per_aggregation
        least = max(share * _SETTLED_SHARE, min(share, twice))
        return np.where(settled, least, share)

    def _pause(self, until_ns: int) -> None:
        """Wait, unless everything ends or moves meanwhile."""
        clock = self._session.clock
        while (now_ns := clock.now_ns()) < until_ns and not self._stopped:
            clock.wait_until(min(until_ns, now_ns + self._check_ns(now_ns)))
            self._stopped |= not self._space.alive
            if self._must_end_early(clock.now_ns()):
                return

    def _check_ns(self, now_ns: int) -> int:
        """How often to look whether the targets live, and where: often while they start."""
        return _FIRST_CHECK_NS if self._is_starting(now_ns) else _ALIVE_CHECK_NS

    def _is_starting(self, now_ns: int) -> bool:
        return now_ns - self._started_ns < _STARTING_NS

    def _sample(
        self, start_ns: int, length_ns: int, in_quarter: Callable[[], None] | None = None
    ) -> tuple[int, int]:
        """Tick until the window is over; how many ticks that were, and how many came too late.

        *in_quarter* is called once, when a quarter of the window is over.
        """
        clock = self._session.clock
        # As many whole intervals as come closest, so that the window ends when it should.
        sampling_ns = length_ns // max(1, round(length_ns / self._pacer.effective.sampling_ns))
        end_ns = start_ns + length_ns
        deadline_ns, checked_ns, ticks, late_ticks = start_ns, start_ns, 0, 0
        while True:
            deadline_ns += sampling_ns
            clock.wait_until(deadline_ns)
            now_ns = clock.now_ns()
            missed = (now_ns - deadline_ns) // sampling_ns
            if missed > 0:
                late_ticks += missed
                deadline_ns += missed * sampling_ns
            moved = False
            if now_ns - checked_ns > self._check_ns(now_ns):
                checked_ns = now_ns
                self._stopped |= not self._space.alive
                moved = self._must_end_early(now_ns)
            if in_quarter is not None and now_ns - start_ns >= length_ns // 4:
                in_quarter()
                in_quarter = None
            ticks += 1
            last = deadline_ns + sampling_ns // 2 > end_ns or self._stopped or moved
            self._session.tick(last)
            if last:
                return ticks, late_ticks

    def _known_for(self, window_ns: int) -> None:
        """Tell what surveys found for windows of this length."""
        if self._known_ns:
            shares = adjust.touched_in(self._table, window_ns / self._known_ns)
            self._table.touched, self._table.touched_early = shares
        self._known_ns = window_ns

    def _merge(self, counts: Counts, elapsed_ns: int) -> RegionTable:
        """Turn counts into access rates, age the regions and merge those that are alike."""
        table, attrs, samples = self._table, self._pacer.effective, self._samples
        careful = self._traits.min_samples > 1 and not self._plain
        update_rates(table, counts, samples, careful=careful)
        if counts.touched is not None:
            table.touched = table.touched_early = counts.touched
        elif self._survey is not None:
            sample_window = 1 / attrs.samples_per_aggregation
            self._survey.doubt(*check_survey(table, counts, samples, sample_window))
        if counts.split_hint is not None and not self._plain:
            table.split_hint = counts.split_hint
        if counts.resident is not None:
            table.resident = counts.resident
        if self._survey is not None and self._glanced.any():
            table = self._end_glance(self._survey)
        alike = adjust.threshold(table.nr_accesses)
        adjust.age(table, alike, elapsed_ns)
        if not self._traits.follows_mappings:
            limit = adjust.size_limit(int(table.size.sum()), attrs.min_regions)
            table = adjust.cut(table, limit)
            table = adjust.merge_within(
                table,
                alike,
                limit,
                attrs.max_regions,
                samples,
                keep_contrasts=self._survey is not None,
            )
        self._table = replace(
            table, nr_accesses=np.zeros(len(table)), last_nr_accesses=table.nr_accesses
        )
        return table

    def _update_is_due(self, now_ns: int) -> bool:
        """Whether to look at the targets again: once an update interval, or when memory moved.

        Sooner at the start, since most programs map most of their memory then; but always less
        often the more it costs.
        """
        since_ns, rest_ns = now_ns - self._updated_ns, self._update_rest_ns
        is_early = now_ns - self._started_ns < _EARLY_NS
        if since_ns >= (rest_ns if is_early else max(self.attrs.update_ns, 2 * rest_ns)):
            return True
        # What comes in between is seldom, and must not wait for what is usual.
        return since_ns >= rest_ns // _MORE_OFTEN and self._memory_moved(now_ns)

    def _memory_moved(self, now_ns: int) -> bool:
        """Whether a target has memory elsewhere than it had, as far as that is cheap to tell."""
        if self._moved or self._populated is None or now_ns < self._populated_rest_ns:
            return self._moved
        begin_ns = self._session.clock.cpu_ns()
        populated = self._session.populated()
        rest_ns = self._pacer.rest_ns(self._session.clock.cpu_ns() - begin_ns)
        if self._is_starting(now_ns):
            rest_ns = min(rest_ns, _FIRST_CHECK_NS)
        self._populated_rest_ns = now_ns + rest_ns
        self._moved = not _same(populated, self._populated)
        return self._moved

    def _must_end_early(self, now_ns: int) -> bool:
        """Whether memory has moved, so that this window says nothing of where it is now.

        A program whose memory moves all the time does not make all windows short.
        """
        rest_ns, apart_ns = self._update_rest_ns // _MORE_OFTEN, self.attrs.aggregation_ns
        if self._is_starting(now_ns):
            rest_ns, apart_ns = rest_ns // _MORE_OFTEN, 2 * _FIRST_CHECK_NS
        if now_ns - self._updated_ns < rest_ns or now_ns - self._ended_early_ns < apart_ns:
            return False
        if not self._memory_moved(now_ns):
            return False
        self._ended_early_ns = now_ns
        return True

    def _update(self, now_ns: int) -> None:
        """Look again at the targets and what they map, less often the more that costs."""
        begin_ns = self._session.clock.cpu_ns()
        self._look_again()
        self._measure_footprints()
        self._updated_ns = now_ns
        rest_ns = self._pacer.rest_ns(self._session.clock.cpu_ns() - begin_ns)
        self._update_rest_ns = min(rest_ns, now_ns - self._started_ns)

    def _look_again(self) -> None:
        layout = self._space.update(self._max_ranges)
        changed = layout is not self._layout
        if changed:
            old = {id(process): index for index, process in enumerate(self._layout.processes)}
            if old:
                self._table = _moved(self._table, [old.get(id(p), -1) for p in layout.processes])
            self._layout = layout
            self._repeated = keyed(repeated_ranges(layout.mappings))
            self._session.set_targets(layout.processes, layout.mappings)
        self._moved = False
        populated = self._session.populated()
        if changed or not _same(populated, self._populated):
            self._populated = populated
            self._ranges = self._monitored()
            self._table = adjust.fit(self._table, self._ranges)

    def _monitored(self) -> list[Ranges]:
        """What to monitor of each target: nothing can be accessed where no memory ever was."""
        mapped = list(self._layout.ranges)
        if not self._space.follows_memory:
            return mapped
        share = max(_LEAST_RANGES, self._max_ranges // max(1, len(mapped)))
        in_memory = zip(mapped, self._populated or mapped, strict=True)
        return [
            close_gaps(parts, max(share, min(_MOST_APART, 1 + _large_gaps(parts))))
            for parts in (intersect(ranges, populated) for ranges, populated in in_memory)
        ]

    def _measure_footprints(self) -> None:
        self._footprints = tuple(process.footprint() for process in self._layout.processes)

    def _split(self) -> None:
        if self._traits.follows_mappings or self._traits.exact:
            return
        count = len(self._table)
        max_regions = self._pacer.effective.max_regions
        self._table = adjust.split(self._table, max_regions, self._last_count, self._rng)
        self._last_count = count

    def _tune(self, table: RegionTable) -> None:
        """Move the intervals towards the goal, where there is one."""
        if self._goal is None:
            return
        hits, all_samples = self._events
        hits += float(np.dot(table.size, table.nr_accesses))
        all_samples += float(table.size.sum()) * self._samples
        self._events = (hits, all_samples)
        self._aggregations += 1
        if self._aggregations >= self._goal.aggregations:
            score = access_events(hits, all_samples, self._goal)
            self.change(tune(self._pacer.named, self._goal, score))
            self._events, self._aggregations = (0.0, 0.0), 0


def _large_gaps(ranges: Ranges) -> int:
    """How many gaps are too large to be monitored, however many targets there are."""
    return int(np.count_nonzero(ranges[1:, 0] - ranges[:-1, 1] > _LARGE_GAP_BYTES))


def _same(some: list[Ranges] | None, others: list[Ranges] | None) -> bool:
    """Whether both say the same of every target."""
    if some is None or others is None:
        return some is others
    return len(some) == len(others) and all(map(np.array_equal, some, others))


def _moved(table: RegionTable, old_index: list[int]) -> RegionTable:
    """The table with targets renumbered: new target i was target *old_index[i]* (-1: is new)."""
    parts = []
    for new, old in enumerate(old_index):
        if old >= 0:
            part = table.take(table.target == old)
            part.target = np.full(len(part), new, np.int32)
            parts.append(part)
    return concatenate(parts)
