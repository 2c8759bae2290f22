"""How regions change from one window to the next, by what the probe can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pydamon._model import adjust
from pydamon._model.ranges import Ranges
from pydamon._model.regions import RegionTable
from pydamon._observe.pace import Pacer

__all__ = ["AdaptiveRegions", "DrawnRegions", "MappingRegions"]


_SPLIT_SHARE = 1 / 3
"""Where looks at all pages draw borders, fewer regions split at random: each costs clears."""


class MappingRegions:
    """The regions are the mappings, whose parts the probe cannot tell apart: they only age."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer

    @property
    def samples(self) -> int:
        """The largest `nr_accesses`: of the intervals as named, even if they are stretched."""
        return self._pacer.named.samples_per_aggregation

    def first(self, ranges: Sequence[Ranges]) -> RegionTable:
        """The regions of the first window."""
        return adjust.fit(RegionTable.of([], [], []), list(ranges))

    def merge(self, table: RegionTable, elapsed_ns: int) -> RegionTable:
        """Let regions age, and merge those that are alike."""
        adjust.age(table, adjust.threshold(table.nr_accesses), elapsed_ns)
        return table

    def carry_on(self, table: RegionTable, elapsed_ns: int) -> RegionTable:
        """Let regions age, which stay as they are for the next window, with their rates."""
        if table.nr_accesses is table.last_nr_accesses:
            table.age_ns = table.age_ns + elapsed_ns
            return table
        levels = adjust.Levels.of(table, self.samples)
        adjust.age(table, levels.alike, elapsed_ns, levels)
        table.last_nr_accesses = table.nr_accesses
        return table

    def split(self, table: RegionTable) -> RegionTable:
        """Split regions, so that the next window can find differences in them."""
        return table

    def begin_window(self, merged: RegionTable) -> RegionTable:
        """The regions for the next window: nothing is counted yet."""
        return replace(
            merged, nr_accesses=np.zeros(len(merged)), last_nr_accesses=merged.nr_accesses
        )


class DrawnRegions(MappingRegions):
    """Regions that exact looks draw: they age and merge, but need no random splits."""

    keep_contrasts = True
    by_levels = False

    def first(self, ranges: Sequence[Ranges]) -> RegionTable:
        return adjust.initial(list(ranges), self._pacer.effective.min_regions)

    def merge(self, table: RegionTable, elapsed_ns: int) -> RegionTable:
        attrs = self._pacer.effective
        limit = adjust.size_limit(int(table.size.sum()), attrs.min_regions)
        table = adjust.cut(table, limit)
        levels = adjust.Levels.of(table, self.samples) if self.by_levels else None
        alike = adjust.threshold(table.nr_accesses) if levels is None else levels.alike
        adjust.age(table, alike, elapsed_ns, levels)
        return adjust.merge_within(
            table,
            alike,
            limit,
            attrs.max_regions,
            self.samples if levels is None else 1,
            keep_contrasts=self.keep_contrasts,
            levels=levels,
        )


class AdaptiveRegions(DrawnRegions):
    """DAMON's adaptive regions: split, sampled, and merged again.

    With *keep_contrasts*, neighbours of which surveys saw clearly different shares do not merge.
    With *by_levels*, rates of different orders of magnitude stay apart.
    """

    def __init__(
        self, pacer: Pacer, *, keep_contrasts: bool, by_levels: bool, seed: int | None
    ) -> None:
        super().__init__(pacer)
        self.keep_contrasts = keep_contrasts
        self.by_levels = by_levels
        self._rng = np.random.default_rng(seed)
        self._last_count = 0

    def begin_window(self, merged: RegionTable) -> RegionTable:
        if not self.by_levels:
            return super().begin_window(merged)
        # A rate of several windows holds until epochs have said something new.
        return replace(merged, last_nr_accesses=merged.nr_accesses)

    def split(self, table: RegionTable) -> RegionTable:
        count, max_regions = len(table), self._pacer.effective.max_regions
        share = _SPLIT_SHARE if self.by_levels else 1.0
        table = adjust.split(table, max_regions, self._last_count, self._rng, share=share)
        self._last_count = count
        return table
