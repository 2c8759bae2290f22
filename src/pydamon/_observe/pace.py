"""The pace of sampling, within the CPU budget."""

from __future__ import annotations

from dataclasses import replace

from pydamon._model.attrs import Attrs

__all__ = ["ADJUSTING", "GROWTH", "UPDATING", "Pacer"]

_MAX_STRETCH = 10
"""Clears stretch the sampling interval up to this factor; beyond it, fewer regions are sampled."""
ADJUSTING = 0.35
"""The share of the budget for adjusting regions."""
UPDATING = 0.08
"""The share of the budget for updates: reading mappings, looking for children."""
_MIN_SHARE = 0.02
_FIRST_SHARE = 0.25
"""The share of the regions that is sampled before any cost has been measured."""
_EWMA_WEIGHT = 0.5
GROWTH = 2.0
_AS_FAST_AS_NEEDED = float("inf")


class Pacer:
    """Stretches intervals so that monitoring stays within a share of one CPU.

    The cost of a tick has a fixed part (waking up, a few system calls, reading) and a part that
    grows with the samples to clear, which also interrupt the target. Adjusting regions costs once
    an aggregation. Where an interval cannot be stretched, because the user named it or sampling
    would become too coarse, each tick samples only a share of the regions, at random.

    *budget* is a share of one CPU, or `None` for no bound. *min_samples* is how many samples an
    aggregation should hold.
    """

    def __init__(
        self,
        attrs: Attrs,
        budget: float | None,
        *,
        sampling_is_named: bool,
        aggregation_is_named: bool,
        min_samples: int,
    ) -> None:
        self.share = 1.0
        """The probability with which each region is sampled at a tick."""
        self.effective = attrs
        """The attributes with the intervals in use."""
        self.named = attrs
        """The attributes that were asked for, or tuned to."""
        self.adjust_every = 1
        """Regions are adjusted after so many aggregations."""
        self._budget = budget
        self._sampling_is_named = sampling_is_named
        self._aggregation_is_named = aggregation_is_named
        self._min_samples = min_samples
        self._tick_ns: float | None = None
        self._clear_ns = self._adjusting_ns = 0.0
        self._plan(_AS_FAST_AS_NEEDED)
        if budget is not None:
            self.share = _FIRST_SHARE

    def change(self, attrs: Attrs) -> None:
        """Take other attributes as the named ones."""
        self.named = attrs
        self._plan(_AS_FAST_AS_NEEDED)

    def expect(self, tick_ns: float) -> None:
        """Start from an estimate of the fixed part of a tick."""
        self._tick_ns = tick_ns
        self._plan(_AS_FAST_AS_NEEDED)

    def account(self, spent_ns: int, elapsed_ns: int) -> None:
        """Learn what a window has cost in all, but for surveys, which are paid for elsewhere."""

    def rest_ns(self, cost_ns: int) -> int:
        """How long to rest after an update that cost this much CPU time."""
        return 0 if self._budget is None else int(cost_ns / (self._budget * UPDATING))

    def observe(self, ticks: int, sampling_ns: int, adjusting_ns: int, clearing_ns: int) -> None:
        """Learn the CPU time of an aggregation of this many ticks.

        Clearing is part of sampling; it counts twice, since the target's threads wait for the
        flush of their TLBs, too.
        """
        tick_ns, clear_ns = self._parts(ticks, sampling_ns, clearing_ns)
        if self._tick_ns is None:
            self._tick_ns, self._clear_ns, self._adjusting_ns = tick_ns, clear_ns, adjusting_ns
        else:
            self._tick_ns += _EWMA_WEIGHT * (tick_ns - self._tick_ns)
            self._clear_ns += _EWMA_WEIGHT * (clear_ns - self._clear_ns)
            self._adjusting_ns += _EWMA_WEIGHT * (adjusting_ns - self._adjusting_ns)
        self._plan(GROWTH)

    def _parts(self, ticks: int, sampling_ns: int, clearing_ns: int) -> tuple[float, float]:
        """The fixed part of a tick, and what the clears of all regions would cost."""
        tick_ns = max(0, sampling_ns - clearing_ns) / ticks
        # The last tick chooses no new samples.
        return tick_ns, 2 * clearing_ns / (max(1, ticks - 1) * self.share)

    def _plan(self, growth: float) -> None:
        """Choose intervals and share; intervals grow at most by the factor *growth*."""
        if self._budget is None or self._tick_ns is None:
            self._apply(0, 0, growth)
            return
        # Each region should be sampled at least once an aggregation.
        shortest_ns = self._interval_ns(self._tick_ns + 2 * self._clear_ns / self._min_samples)
        all_ns = self._interval_ns(self._tick_ns + self._clear_ns)
        self._apply(
            min(all_ns, max(_MAX_STRETCH * self.named.sampling_ns, shortest_ns)),
            self._adjusting_ns / (self._budget * ADJUSTING),
            growth,
        )
        for_adjusting = min(
            ADJUSTING * self._budget, self._adjusting_ns / self.effective.aggregation_ns
        )
        for_sampling = self._budget * (1 - UPDATING) - for_adjusting
        allowed_ns = for_sampling * self.effective.sampling_ns
        # Even where the fixed part alone is over the budget, some regions must be sampled.
        left_ns = max(allowed_ns - self._tick_ns, allowed_ns / 4, self._tick_ns / 8)
        min_share = _MIN_SHARE
        if not (self._sampling_is_named or self._aggregation_is_named):
            # The intervals still grow to where this is within the budget.
            min_share = 2 / self.effective.samples_per_aggregation
        self.share = min(1.0, max(min_share, left_ns / max(1.0, self._clear_ns)))

    def _interval_ns(self, tick_ns: float) -> float:
        """The sampling interval at which ticks of this cost stay within the budget.

        Long aggregations leave sampling a part of the share for adjusting.
        """
        assert self._budget is not None
        together_ns = tick_ns + self._adjusting_ns / self._min_samples
        return min(
            tick_ns / (self._budget * (1 - ADJUSTING - UPDATING)),
            together_ns / (self._budget * (1 - UPDATING)),
        )

    def _apply(self, sampling_ns: float, aggregation_ns: float, growth: float) -> None:
        """Use these intervals, as far as the named ones allow."""
        named, now = self.named, self.effective
        sampling, aggregation = named.sampling_ns, named.aggregation_ns
        if not self._sampling_is_named:
            if self._aggregation_is_named:
                sampling_ns = min(sampling_ns, aggregation / self._min_samples)
            sampling = max(sampling, int(min(sampling_ns, growth * now.sampling_ns)))
        if not self._aggregation_is_named:
            stretched_ns = int(min(aggregation_ns, growth * now.aggregation_ns))
            aggregation = max(aggregation, self._min_samples * sampling, stretched_ns)
        aggregation = max(aggregation, sampling)
        self.effective = replace(
            named,
            sampling_ns=sampling,
            aggregation_ns=aggregation,
            update_ns=max(named.update_ns, aggregation),
        )
