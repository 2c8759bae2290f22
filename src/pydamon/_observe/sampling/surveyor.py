"""The surveyor of a collector of samples: takes surveys and glances when they are due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model import adjust
from pydamon._model.ranges import join, locate
from pydamon._model.regions import RegionTable
from pydamon._observe.pace import Pacer
from pydamon._observe.pages.follower import ClearPages
from pydamon._observe.probes.base import Clock, Counts, Session
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.rates import check_survey
from pydamon._observe.sampling.schedule import SurveySchedule
from pydamon._observe.sampling.surveys import Survey, SurveyPlanner
from pydamon._observe.sampling.windows import WindowTimer

__all__ = ["Glance", "Surveyor"]

_LEAST_WINDOWS = 10
"""The window of a survey is at least so many times as long as the clear: memory that is cleared
last must not have much less time to be accessed than memory that is cleared first."""


class Glance(NamedTuple):
    """An exact look at some regions, while all others are sampled."""

    survey: Survey
    chosen: NDArray[np.bool_]
    """Whether the glance looks at each region: shape (regions,)."""


class Surveyor:
    """Takes exact looks, in at most *share* of one CPU over time, and keeps their figures true."""

    def __init__(
        self,
        session: Session,
        memory: MonitoredMemory,
        pacer: Pacer,
        share: float,
        seed: int | None,
    ) -> None:
        self._clock: Clock = session.clock
        self._memory = memory
        self._pacer = pacer
        self._timer = WindowTimer(session, memory, pacer)
        self._schedule = SurveySchedule(share)
        rng = np.random.default_rng(seed)
        self._planner = SurveyPlanner(session, memory, share, rng)
        self._known_ns = 0
        """The length of the window that `touched` is of now; 0 before the first survey."""

    @property
    def is_due(self) -> bool:
        """Whether to take a survey now."""
        aggregation_ns = self._pacer.effective.aggregation_ns
        return self._schedule.survey_is_due(self._clock.now_ns(), aggregation_ns)

    @property
    def spare_share(self) -> float:
        """The share of one CPU that surveys leave to other exact looks now."""
        return self._schedule.spare_share(self._clock.now_ns())

    def survey(
        self, table: RegionTable, clear_pages: ClearPages, looks_ns: Sequence[int] = ()
    ) -> RegionTable:
        """Take a survey, which lasts for a window; returns the regions it draws.

        Looks so long after the clear tell apart how often pages are accessed.
        """
        aggregation_ns = self._pacer.effective.aggregation_ns
        # Windows vary in length, and figures of a shorter one would say little of a longer one.
        window_ns = aggregation_ns * 5 // 4
        survey = self._planner.begin_survey(table, clear_pages, window_ns)
        start_ns = self._clock.now_ns()
        window_ns = max(window_ns, _LEAST_WINDOWS * survey.cpu_ns)
        for after_ns in survey.plan(looks_ns):
            if after_ns < window_ns // 4:
                self._clock.wait_until(start_ns + after_ns)
                survey.look(after_ns)
        self._timer.wait_until(start_ns + window_ns // 4)
        survey.look_early()
        self._timer.wait_until(start_ns + window_ns)
        # The window is shorter if memory has moved meanwhile.
        window_ns = max(1, self._clock.now_ns() - start_ns)
        self.rescale(table, window_ns)
        table = self._finish(survey, table)
        self._schedule.survey_taken(self._clock.now_ns(), window_ns, survey.cpu_ns)
        return table

    def begin_glance(self, table: RegionTable) -> Glance | None:
        """Begin a glance at memory that was mapped since the last window, or is contradicted.

        Contradicted regions must wait until the last glance is paid for.
        """
        chosen = table.seen == 0
        if self._schedule.glance_is_due(self._clock.now_ns()):
            chosen |= table.contradicted > 0
        if not chosen.any() or not self._planner.may_glance_at(table, chosen):
            return None
        return Glance(self._planner.begin_glance(table, chosen), chosen)

    def finish_glance(
        self, glance: Glance, table: RegionTable, samples: int
    ) -> tuple[RegionTable, NDArray[np.bool_]]:
        """Draw the regions of a glance; new ones get their first rate, of so many *samples*.

        Also returns which regions the glance looked at.
        """
        # Regions may be drawn across the borders of those that were chosen.
        ranges = join(table.keys[glance.chosen])
        table = self._finish(glance.survey, table)
        looked_at = locate(ranges, *table.keys.T) >= 0
        self._schedule.glance_taken(self._clock.now_ns(), glance.survey.cpu_ns)
        # What a quarter of the window tells of a rate is all that is known of it so far.
        is_new = (table.age_ns == 0) & (table.nr_accesses == 0) & (table.touched > 0) & looked_at
        rate = np.maximum(1, np.nan_to_num(table.touched_early) * samples)
        table.nr_accesses = np.where(is_new, rate, table.nr_accesses)
        return table, looked_at

    def rescale(self, table: RegionTable, window_ns: int) -> None:
        """Set what is `touched` in windows of this length, by how it grows with their length."""
        if self._known_ns:
            shares = adjust.touched_in(table, window_ns / self._known_ns)
            table.touched, table.touched_early = shares
        self._known_ns = window_ns

    def check(self, table: RegionTable, counts: Counts, sample_window: float) -> None:
        """Correct `touched` where samples contradict it; that may bring the next survey forward.

        A sample is watched for *sample_window*, a part of the aggregation.
        """
        samples = self._pacer.named.samples_per_aggregation
        contradicted = check_survey(table, counts, samples, sample_window)
        self._schedule.note_contradictions(*contradicted)

    def _finish(self, survey: Survey, table: RegionTable) -> RegionTable:
        max_regions = self._pacer.effective.max_regions
        differ = adjust.differ_in_rate(table, self._pacer.named.samples_per_aggregation)
        borders = table.keys[1:, 0][differ]
        return survey.finish(table, max_regions, self._memory.state.repeated, borders)
