"""What one window showed, and the snapshot that is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.core.attrs import Attrs
from pydamon.core.ranges import covered
from pydamon.core.regions import Ranges, RegionTable, order_keys
from pydamon.core.snapshot import UNKNOWN, Cost, Footprint, Snapshot
from pydamon.probes.base import Counts
from pydamon.spaces import Layout

__all__ = ["Window", "snapshot_of"]


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen in one window, and what seeing it cost.

    `clearing_ns` is the part of the sampling that went to clears, but for those of the first
    samples, which are chosen together with all else that is done once a window.
    """

    start_ns: int
    end_ns: int
    ticks: int
    late_ticks: int
    counts: Counts
    sampling_cpu_ns: int
    clearing_ns: int
    survey_cpu_ns: int


def snapshot_of(
    table: RegionTable,
    attrs: Attrs,
    samples: int,
    layout: Layout,
    window_ns: tuple[int, int],
    cost: Cost,
    footprints: tuple[Footprint, ...],
    repeated: Ranges,
) -> Snapshot:
    """The snapshot of a merged table; *window_ns* are Unix times, *samples* the largest count.

    *repeated*, ranges of `order_keys`, is memory that counts in another target, too.
    """
    size = table.size
    resident_bytes = _resident_bytes(table, footprints)
    known = resident_bytes != UNKNOWN
    in_memory = np.where(known, resident_bytes, size)
    # Where nothing better is known, a region with an access counts as a whole, as in DAMON.
    by_sampling = (table.nr_accesses >= 1) * (1 - table.unobservable) * in_memory
    touched_bytes = np.rint(
        np.where(np.isnan(table.touched), by_sampling, np.nan_to_num(table.touched) * size)
    ).astype(np.int64)
    # What was touched is in memory, even if it was not yet when somebody last looked.
    resident_bytes = np.where(known, np.maximum(resident_bytes, touched_bytes), UNKNOWN)
    unseen_bytes = np.rint((1 - table.seen) * size).astype(np.int64)
    unseen_bytes[known] = np.minimum(unseen_bytes, resident_bytes)[known]
    return Snapshot(
        start_ns=window_ns[0],
        end_ns=window_ns[1],
        sampling_ns=attrs.sampling_ns,
        max_nr_accesses=samples,
        targets=layout.targets,
        target=table.target,
        start=table.start,
        end=table.end,
        nr_accesses=table.nr_accesses.astype(np.int64),
        age=np.rint(table.age_ns / attrs.aggregation_ns).astype(np.int64),
        touched_bytes=touched_bytes,
        unobservable_bytes=np.rint(table.unobservable * size).astype(np.int64),
        cost=cost,
        footprints=footprints,
        age_ns=table.age_ns.astype(np.int64),
        resident_bytes=resident_bytes,
        unseen_bytes=unseen_bytes,
        repeated_bytes=_repeated_bytes(table, repeated, resident_bytes),
    )


def _repeated_bytes(
    table: RegionTable, repeated: Ranges, resident_bytes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How much of what is resident counts elsewhere; evenly spread where nobody has looked."""
    start, end = (order_keys(table.target, one) for one in (table.start, table.end))
    in_memory = np.maximum(resident_bytes, 0)
    by_address = covered(repeated, start, end) / (end - start) * in_memory
    repeated_bytes: NDArray[np.float64] = np.where(
        np.isnan(table.repeated), by_address, np.nan_to_num(table.repeated) * table.size
    )
    return np.minimum(np.rint(repeated_bytes).astype(np.int64), in_memory)


def _resident_bytes(table: RegionTable, footprints: tuple[Footprint, ...]) -> NDArray[np.int64]:
    """How much of each region is in memory; where nobody has looked, its share of the RSS."""
    size = table.size
    known = ~np.isnan(table.resident)
    resident = np.where(known, np.rint(np.nan_to_num(table.resident) * size), UNKNOWN)
    for target, footprint in enumerate(footprints):
        mine = slice(*np.searchsorted(table.target, (target, target + 1)))
        lacking = ~known[mine]
        if footprint.rss_bytes and lacking.any():
            left_bytes = max(0.0, footprint.rss_bytes - resident[mine][~lacking].sum())
            share = min(1.0, left_bytes / size[mine][lacking].sum())
            resident[mine] = np.where(lacking, np.rint(size[mine] * share), resident[mine])
    return resident.astype(np.int64)
