"""What one window showed, and the snapshot that is made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydamon.core.attrs import Attrs
from pydamon.core.regions import RegionTable
from pydamon.core.snapshot import Cost, Footprint, Snapshot
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
) -> Snapshot:
    """The snapshot of a merged table; *window_ns* are Unix times, *samples* the largest count."""
    size = table.size
    # Where nothing better is known, a region with an access counts as a whole, as in DAMON.
    by_sampling = (table.nr_accesses >= 1) * (1 - table.unobservable)
    touched = np.where(np.isnan(table.touched), by_sampling, table.touched)
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
        age=table.age.astype(np.int64),
        touched_bytes=np.rint(touched * size).astype(np.int64),
        unobservable_bytes=np.rint(table.unobservable * size).astype(np.int64),
        cost=cost,
        footprints=footprints,
    )
