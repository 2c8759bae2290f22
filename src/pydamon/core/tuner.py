"""Auto-tuning of the intervals: aim for a share of samples that find an access.

DAMON's rule (Linux, Documentation/mm/damon/design.rst, "Monitoring Intervals Auto-tuning").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydamon.core.attrs import Attrs
from pydamon.core.errors import UsageError

__all__ = ["IntervalGoal", "access_events", "feedback", "tune"]

_GOAL = 10_000
_MS = 10**6


@dataclass(frozen=True, slots=True)
class IntervalGoal:
    """Tune the intervals so that *access_bp* in 10,000 of the watched bytes count as accessed.

    Every *aggregations* aggregations the sampling interval moves, within its bounds, and the
    aggregation interval with it. The defaults are the ones that DAMON recommends: 4 %.
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
    """DAMON's proportional feedback: *last* moved towards what would score 10,000."""
    return max(10_000.0, last * (1 + (_GOAL - min(score, 2 * _GOAL)) / _GOAL))


def access_events(size_times_hits: float, size_times_samples: float, goal: IntervalGoal) -> float:
    """The score of what was observed: 10,000 where the goal was met exactly."""
    return _GOAL * size_times_hits / max(1.0, size_times_samples * goal.access_bp / _GOAL)


def tune(attrs: Attrs, goal: IntervalGoal, score: float) -> Attrs:
    """Attributes with the intervals moved towards the goal; samples an aggregation stay."""
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
