"""Tune the intervals towards a share of samples that find an access."""

from __future__ import annotations

import numpy as np

from pydamon._model.attrs import Attrs, IntervalGoal, access_events, tune
from pydamon._model.regions import RegionTable

__all__ = ["IntervalTuner"]


class IntervalTuner:
    """Sums up the accesses of some aggregations, and then moves the intervals towards the goal."""

    def __init__(self, goal: IntervalGoal) -> None:
        self._goal = goal
        self._reset()

    def tuned(self, table: RegionTable, attrs: Attrs) -> Attrs | None:
        """Count the regions of an aggregation; the new attributes, when it is time for them."""
        self._hits += float(np.dot(table.size, table.nr_accesses))
        self._samples += float(table.size.sum()) * attrs.samples_per_aggregation
        self._aggregations += 1
        if self._aggregations < self._goal.aggregations:
            return None
        score = access_events(self._hits, self._samples, self._goal)
        self._reset()
        return tune(attrs, self._goal, score)

    def _reset(self) -> None:
        self._hits = self._samples = 0.0
        self._aggregations = 0
