"""Monitoring attributes (intervals and bounds on regions), and DAMON's tuner of the intervals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from pydamon._model.errors import UsageError
from pydamon._model.units import format_duration, parse_duration_ns

__all__ = ["Attrs", "IntervalGoal", "access_events", "feedback", "tune"]

_MS = 10**6


@dataclass(frozen=True, slots=True)
class Attrs:
    """DAMON's monitoring attributes, with DAMON's defaults.

    Parameters
    ----------
    sampling_ns
        How often one page of each region is checked.
    aggregation_ns
        How often the counts become a snapshot, and the regions are adjusted.
    update_ns
        How often the mappings of the targets are read again.
    min_regions, max_regions
        The bounds on the number of regions.

    Raises
    ------
    UsageError
        If an interval or a bound makes no sense.

    Notes
    -----
    The attributes are those of Linux, Documentation/mm/damon/design.rst.

    Examples
    --------
    >>> from pydamon import Attrs
    >>> Attrs.of(sample="10ms", aggr="1s").samples_per_aggregation
    100
    """

    sampling_ns: int = 5 * _MS
    aggregation_ns: int = 100 * _MS
    update_ns: int = 1000 * _MS
    min_regions: int = 10
    max_regions: int = 1000

    def __post_init__(self) -> None:
        for name in ("sampling", "aggregation", "update"):
            if getattr(self, f"{name}_ns") <= 0:
                raise UsageError(f"the {name} interval must be longer than 0")
        if self.sampling_ns > self.aggregation_ns:
            raise UsageError(
                f"the sampling interval ({format_duration(self.sampling_ns)}) is longer than "
                f"the aggregation interval ({format_duration(self.aggregation_ns)})"
            )
        if self.aggregation_ns > self.update_ns:
            raise UsageError(
                f"the aggregation interval ({format_duration(self.aggregation_ns)}) is longer than "
                f"the update interval ({format_duration(self.update_ns)})"
            )
        if self.min_regions < 3:
            raise UsageError(f"at least 3 regions are needed, not {self.min_regions}")
        if self.max_regions < self.min_regions:
            raise UsageError(
                f"the maximum number of regions ({self.max_regions}) is below "
                f"the minimum ({self.min_regions})"
            )

    @classmethod
    def of(
        cls,
        sample: str | timedelta | None = None,
        aggr: str | timedelta | None = None,
        update: str | timedelta | None = None,
        min_regions: int | None = None,
        max_regions: int | None = None,
    ) -> Attrs:
        """Make attributes from durations as people write them.

        A default gives way to an interval that is named: with `aggr="2s"` alone the update
        interval becomes 2 s, too, and with `sample="200ms"` alone the aggregation interval becomes
        200 ms.

        Parameters
        ----------
        sample, aggr, update
            The intervals, such as `"5ms"`; `None` takes the default.
        min_regions, max_regions
            The bounds on the number of regions; `None` takes the default.

        Raises
        ------
        UsageError
            If a duration cannot be read, or a value makes no sense.

        Examples
        --------
        >>> from pydamon import Attrs
        >>> Attrs.of(aggr="2s").update_ns
        2000000000
        """
        default = cls()
        named = [None if v is None else parse_duration_ns(v) for v in (sample, aggr, update)]
        sampling_ns, aggregation_ns, update_ns = named
        if sampling_ns is None:
            sampling_ns = min([default.sampling_ns, *(v for v in named if v)])
        if aggregation_ns is None:
            aggregation_ns = max(default.aggregation_ns, sampling_ns)
            if update_ns:
                aggregation_ns = max(sampling_ns, min(aggregation_ns, update_ns))
        if update_ns is None:
            update_ns = max(default.update_ns, aggregation_ns)
        return cls(
            sampling_ns,
            aggregation_ns,
            update_ns,
            default.min_regions if min_regions is None else min_regions,
            default.max_regions if max_regions is None else max_regions,
        )

    @property
    def samples_per_aggregation(self) -> int:
        """How many times a region is sampled in one aggregation; the largest `nr_accesses`."""
        return max(1, self.aggregation_ns // self.sampling_ns)


_GOAL = 10_000
"""The score at which the goal is met exactly; also the parts in one (basis points)."""


@dataclass(frozen=True, slots=True)
class IntervalGoal:
    """Tune the intervals until a given share of samples finds an access.

    Parameters
    ----------
    access_bp
        The wanted share of the monitored bytes that count as accessed, in basis points (1 in
        10,000). The default is the 4 % that DAMON recommends.
    aggregations
        After how many aggregations the sampling interval moves, and the aggregation interval with
        it.
    min_sampling_ns, max_sampling_ns
        The bounds of the sampling interval.

    Raises
    ------
    UsageError
        If a value makes no sense.

    Notes
    -----
    Linux, Documentation/mm/damon/design.rst, "Monitoring Intervals Auto-tuning".

    Examples
    --------
    >>> from pydamon import IntervalGoal
    >>> IntervalGoal(access_bp=400, aggregations=3).max_sampling_ns
    10000000000
    """

    access_bp: int = 400
    aggregations: int = 3
    min_sampling_ns: int = 5 * _MS
    max_sampling_ns: int = 10_000 * _MS

    def __post_init__(self) -> None:
        if not 1 <= self.access_bp <= _GOAL:
            raise UsageError(f"the share of access events must be 1 to 10,000 bp: {self.access_bp}")
        if self.aggregations < 1:
            raise UsageError("intervals are tuned every 1 or more aggregations")
        if not 0 < self.min_sampling_ns <= self.max_sampling_ns:
            raise UsageError("the bounds of the sampling interval are in the wrong order")


def feedback(last: float, score: float) -> float:
    """DAMON's proportional feedback: *last*, moved towards the value that would score 10,000."""
    return max(10_000.0, last * (1 + (_GOAL - min(score, 2 * _GOAL)) / _GOAL))


def access_events(size_times_hits: float, size_times_samples: float, goal: IntervalGoal) -> float:
    """The score of the observed accesses: 10,000 where the goal was met exactly."""
    return _GOAL * size_times_hits / max(1.0, size_times_samples * goal.access_bp / _GOAL)


def tune(attrs: Attrs, goal: IntervalGoal, score: float) -> Attrs:
    """Move the intervals towards the goal; the samples an aggregation stay the same."""
    adaptation = feedback(1e8, score) / 1e4
    if adaptation <= 1e4:
        adaptation = 5_000 + adaptation / 2
    sampling_ns = round(attrs.sampling_ns * adaptation / 1e4)
    sampling_ns = min(max(sampling_ns, goal.min_sampling_ns), goal.max_sampling_ns)
    aggregation_ns = sampling_ns * attrs.samples_per_aggregation
    return replace(
        attrs,
        sampling_ns=sampling_ns,
        aggregation_ns=aggregation_ns,
        update_ns=max(attrs.update_ns, aggregation_ns),
    )
