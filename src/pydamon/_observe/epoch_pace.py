"""The pace of survival sampling, within the CPU budget."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from pydamon._model.attrs import Attrs
from pydamon._observe.pace import UPDATING, Pacer

__all__ = ["EpochPacer"]

_SHORTEST, _LONG, _LONGEST = 10, 50, 100
"""An epoch lasts for so many sampling intervals: long enough for rare accesses, short enough for a
change of phase to show; and still longer only where its fixed cost is above the budget."""
_ADJUSTING = 0.4
"""The share of the budget for adjusting regions."""
_EPOCHS = 4
"""Aggregations that nobody named hold so many epochs."""
_CLEARING_NS = 40_000
"""What the clears of an epoch cost, however few they are: a system call, and this program."""
_WITH_TARGET = 1.6
"""What a clear costs together with what it costs the target, which must flush its TLB."""
_MOST_WINDOWS = 20
"""Regions are adjusted after so many aggregations at least."""
_REPAID_NS = 15e9
"""Debts are repaid in about this time."""
_LEAST_LEFT = 0.5
"""The least part of the budget that debts leave."""
_MIN_SHARE = 0.02
_FIRST_SHARE = 0.5
"""The share of the regions in the first epochs, before any cost has been measured."""


class EpochPacer(Pacer):
    """Stretches epochs, and then aggregations, to stay within a share of one CPU.

    The sampling interval stays as it was named, because rates refer to it. Where epochs are as
    long as they may be, only a share of the regions is watched in each.
    """

    epoch_ns: int
    watched_share: float | None = None
    """The mean share of the epochs in which regions that need clears are watched, if it is known:
    some are watched more than `share` says."""

    def __init__(self, attrs: Attrs, budget: float | None, *, aggregation_is_named: bool) -> None:
        self._debt_ns = 0.0
        super().__init__(
            attrs,
            budget,
            sampling_is_named=True,
            aggregation_is_named=aggregation_is_named,
            min_samples=1,
        )
        if budget is not None:
            self.share = _FIRST_SHARE

    def account(self, spent_ns: int, elapsed_ns: int) -> None:
        """Take from the next windows what the last ones have cost beyond the budget.

        What windows leave of it is not saved up.
        """
        if self._budget is not None:
            debt_ns = self._debt_ns + spent_ns - self._budget * elapsed_ns
            self._debt_ns = float(np.clip(debt_ns, 0, self._budget * _REPAID_NS))

    @property
    def _left(self) -> float:
        """The part of the budget that debts leave."""
        if self._budget is None:
            return 1.0
        return max(_LEAST_LEFT, 1 - self._debt_ns / (self._budget * _REPAID_NS))

    def _parts(self, ticks: int, sampling_ns: int, clearing_ns: int) -> tuple[float, float]:
        each_ns = clearing_ns / ticks
        fixed_ns = min(each_ns, _CLEARING_NS)
        tick_ns = max(0, sampling_ns - clearing_ns) / ticks + fixed_ns
        return tick_ns, _WITH_TARGET * (each_ns - fixed_ns) / (self.watched_share or self.share)

    def _plan(self, growth: float) -> None:
        named = self.named
        shortest_ns, long_ns, longest_ns = (
            n * named.sampling_ns for n in (_SHORTEST, _LONG, _LONGEST)
        )
        self.share = 1.0
        aggregation_ns, self.epoch_ns, adjusting_ns = named.aggregation_ns, shortest_ns, 0.0
        if self._budget is not None and self._tick_ns is not None:
            budget = self._budget * self._left
            adjusting_ns = self._adjusting_ns / (budget * _ADJUSTING)
            for_sampling = budget * (1 - UPDATING - _ADJUSTING)
            all_ns = (self._tick_ns + self._clear_ns) / for_sampling
            if not self._aggregation_is_named:
                # The first windows are short, and what they cost is not what later ones do.
                of_window_ns = int(growth * self.effective.aggregation_ns / _EPOCHS)
                longest_ns = min(longest_ns, of_window_ns)
            long_ns = max(long_ns, min(longest_ns, int(self._tick_ns / for_sampling)))
            self.epoch_ns = ceil(min(long_ns, max(shortest_ns, all_ns)))
            left_ns = max(for_sampling * self.epoch_ns - self._tick_ns, self._tick_ns / 4)
            affordable = left_ns / max(1.0, self._clear_ns)
            self.share = min(1.0, max(_MIN_SHARE, affordable))
            if not self._aggregation_is_named:
                longest = growth * self.effective.aggregation_ns
                wanted_ns = max(_EPOCHS * self.epoch_ns, adjusting_ns)
                aggregation_ns = max(aggregation_ns, int(min(wanted_ns, longest)))
        self.adjust_every = 1
        if self._budget is None or self._aggregation_is_named:
            # Regions need some epochs before they change.
            series_ns = max(_EPOCHS * self.epoch_ns, adjusting_ns)
            self.adjust_every = int(np.clip(series_ns // aggregation_ns, 1, _MOST_WINDOWS))
        self.effective = replace(
            named,
            aggregation_ns=aggregation_ns,
            update_ns=max(named.update_ns, aggregation_ns),
        )
