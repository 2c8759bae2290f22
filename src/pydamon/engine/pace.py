"""How fast to go: the CPU budget."""

from __future__ import annotations

from dataclasses import replace

from pydamon.core.attrs import Attrs

__all__ = ["Pacer"]

_MAX_STRETCH = 10
"""Sampling is stretched up to this for the sake of clears; beyond it fewer regions are sampled."""
_MIN_SHARE = 0.02
_MEMORY = 0.5
_GROWTH = 2.0


class Pacer:
    """Stretches the sampling interval so that monitoring stays within a share of one CPU.

    What a tick costs has a fixed part (waking up, two system calls, reading) and a part that grows
    with the samples that must be cleared, which also interrupt the target. Where the interval
    cannot be stretched, because the user named it or it would become too long for the aggregation,
    each tick samples only a share of the regions, chosen at random.

    *budget* is a share of one CPU, or `None` for no bound.
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
        """The attributes with the intervals that are really used."""
        self.named = attrs
        """The attributes that were asked for, or tuned to."""
        self._budget = budget
        self._sampling_is_named = sampling_is_named
        self._aggregation_is_named = aggregation_is_named
        self._min_samples = min_samples
        self._fixed_ns: float | None = None
        self._clear_ns = 0.0
        self._apply(float(attrs.sampling_ns), float("inf"))

    def change(self, attrs: Attrs) -> None:
        """Take other attributes for those that were named."""
        self.named = attrs
        self._plan(float("inf"))

    def expect(self, tick_ns: float) -> None:
        """Start from an estimate of the fixed part of a tick."""
        self._fixed_ns = tick_ns
        self._plan(float("inf"))

    def observe(self, ticks: int, cpu_ns: int, interruption_ns: int) -> None:
        """Learn what an aggregation of so many ticks cost.

        The time of the clears, *interruption_ns*, is part of *cpu_ns*; it counts once more for the
        target's threads, which wait for the flush of their TLBs.
        """
        fixed_ns = max(0, cpu_ns - interruption_ns) / ticks
        clear_ns = 2 * interruption_ns / (ticks * self.share)
        if self._fixed_ns is None:
            self._fixed_ns, self._clear_ns = fixed_ns, clear_ns
        else:
            self._fixed_ns += _MEMORY * (fixed_ns - self._fixed_ns)
            self._clear_ns += _MEMORY * (clear_ns - self._clear_ns)
        self._plan(_GROWTH * self.effective.sampling_ns)

    def _plan(self, most_ns: float) -> None:
        if self._budget is None or self._fixed_ns is None:
            self._apply(float(self.named.sampling_ns), most_ns)
            return
        # Each region should be sampled once an aggregation at the very least.
        least = 1 / self._min_samples
        all_ns = (self._fixed_ns + self._clear_ns) / self._budget
        least_ns = (self._fixed_ns + self._clear_ns * least) / self._budget
        self._apply(min(all_ns, max(_MAX_STRETCH * self.named.sampling_ns, least_ns)), most_ns)
        allowed_ns = self._budget * self.effective.sampling_ns
        # Even where the fixed part alone is over the budget, something must be sampled.
        left_ns = max(allowed_ns - self._fixed_ns, allowed_ns / 4, self._fixed_ns / 4)
        self.share = min(1.0, max(_MIN_SHARE, left_ns / max(1.0, self._clear_ns)))

    def _apply(self, wanted_ns: float, most_ns: float) -> None:
        """Use the sampling interval *wanted_ns*, as far as the named intervals allow."""
        named = self.named
        sampling_ns = named.sampling_ns
        if not self._sampling_is_named:
            if self._aggregation_is_named:
                most_ns = min(most_ns, named.aggregation_ns / self._min_samples)
            sampling_ns = max(sampling_ns, round(min(wanted_ns, most_ns)))
        aggregation_ns = max(named.aggregation_ns, sampling_ns)
        if not self._aggregation_is_named:
            aggregation_ns = max(aggregation_ns, self._min_samples * sampling_ns)
        self.effective = replace(
            named,
            sampling_ns=sampling_ns,
            aggregation_ns=aggregation_ns,
            update_ns=max(named.update_ns, aggregation_ns),
        )
