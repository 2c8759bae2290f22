"""Monitoring attributes: how often to look, how long to count, how much detail to keep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pydamon.core.errors import UsageError
from pydamon.core.units import format_duration, parse_duration_ns

__all__ = ["Attrs"]

_MS = 10**6


@dataclass(frozen=True, slots=True)
class Attrs:
    """DAMON's monitoring attributes, with DAMON's defaults.

    Every `sampling_ns` one page a region is checked; every `aggregation_ns` the counts become a
    snapshot and the regions are adjusted; every `update_ns` the target's mappings are read again.
    The number of regions stays between `min_regions` and `max_regions`.

    Raises `UsageError` for intervals and bounds that make no sense.
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
        """Attributes from durations as people write them (`"5ms"`); `None` takes the default.

        A default gives way to an interval that is named: with `aggr="2s"` alone the update
        interval becomes 2 s too, and with `sample="200ms"` alone the aggregation does.
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
