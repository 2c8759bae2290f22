"""Make the snapshot of a window from the merged regions."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_ages import BLOCK_PAGES, PageAges
from pydamon._model.ranges import PAGE_SIZE, Ranges, covered, from_order_keys
from pydamon._model.regions import RegionTable
from pydamon._model.runs import group_bounds
from pydamon._model.snapshot import UNKNOWN, Cost, Footprint, Snapshot
from pydamon._observe.pages.repeated import Repeated
from pydamon._observe.sampling.memory import MemoryState

__all__ = ["Timing", "renewed", "snapshot_of"]


class Timing(NamedTuple):
    """The window of a snapshot, and the intervals that it was taken with."""

    start_ns: int
    end_ns: int
    """The window (Unix time)."""
    sampling_ns: int
    aggregation_ns: int
    samples: int
    """The largest `nr_accesses`."""


def snapshot_of(
    table: RegionTable,
    memory: MemoryState,
    timing: Timing,
    cost: Cost,
    page_ages: PageAges | None = None,
    repeated: Repeated | None = None,
) -> Snapshot:
    """The snapshot of merged regions.

    *repeated* is what counts in another target, where looks at pages tell.
    """
    size = table.size
    resident_bytes = _resident_bytes(table, memory.footprints)
    known = resident_bytes != UNKNOWN
    in_memory = np.where(known, resident_bytes, size)
    # Without a survey, a region with an access counts as a whole, as in DAMON.
    by_sampling = (table.nr_accesses >= 1) * (1 - table.unobservable) * in_memory
    by_survey = np.nan_to_num(table.touched) * size
    touched_bytes = _rounded(np.where(np.isnan(table.touched), by_sampling, by_survey))
    # Touched bytes are in memory, even if they were not yet when that was last read.
    resident_bytes = np.where(known, np.maximum(resident_bytes, touched_bytes), UNKNOWN)
    unseen_bytes = _rounded((1 - table.seen) * size)
    unseen_bytes[known] = np.minimum(unseen_bytes, resident_bytes)[known]
    return Snapshot(
        start_ns=timing.start_ns,
        end_ns=timing.end_ns,
        sampling_ns=timing.sampling_ns,
        max_nr_accesses=timing.samples,
        targets=memory.layout.targets,
        target=table.target,
        start=table.start,
        end=table.end,
        nr_accesses=_whole(table),
        age=_rounded(table.age_ns / timing.aggregation_ns),
        touched_bytes=touched_bytes,
        unobservable_bytes=_rounded(table.unobservable * size),
        cost=cost,
        footprints=memory.footprints,
        age_ns=table.age_ns.astype(np.int64),
        resident_bytes=resident_bytes,
        unseen_bytes=unseen_bytes,
        repeated_bytes=_repeated_bytes(table, memory.repeated, repeated, resident_bytes),
        access_share=table.nr_accesses / timing.samples,
        access_share_error=table.deviation / timing.samples,
        accessed_within=table.accessed_within,
        page_ages=page_ages,
    )


def renewed(snapshot: Snapshot, table: RegionTable, timing: Timing, cost: Cost) -> Snapshot:
    """The snapshot of the next window of the same regions, in which nothing new was seen."""
    return replace(
        snapshot,
        start_ns=timing.start_ns,
        end_ns=timing.end_ns,
        cost=cost,
        age=_rounded(table.age_ns / timing.aggregation_ns),
        age_ns=table.age_ns.astype(np.int64),
        page_ages=None,
        page_maps=(),
    )


def _whole(table: RegionTable) -> NDArray[np.int64]:
    """`nr_accesses` as whole numbers: 0 only where nothing was found.

    Without a deviation they are counts, which merges turn into means: truncated as in the kernel.
    """
    accesses = table.nr_accesses
    estimated = np.maximum(np.rint(accesses), accesses > 0)
    return np.where(np.isnan(table.deviation), accesses, estimated).astype(np.int64)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(values).astype(np.int64)


def _repeated_bytes(
    table: RegionTable,
    by_mapping: Ranges,
    looked: Repeated | None,
    resident_bytes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How much of the resident bytes counts elsewhere, where looks have found that."""
    in_memory = np.maximum(resident_bytes, 0)
    if looked is None:
        repeated_bytes = _mapped_repeatedly(table, by_mapping, in_memory)
    elif looked.files is None:
        repeated_bytes = _mapped_repeatedly(table, by_mapping, in_memory)
        repeated_bytes += _forked_bytes(table, looked)
    else:
        pages = [covered(ranges, *table.keys.T) for ranges in (looked.files, looked.forked)]
        repeated_bytes = np.sum(pages, axis=0) * float(PAGE_SIZE)
    return np.minimum(_rounded(repeated_bytes), in_memory)


def _mapped_repeatedly(
    table: RegionTable, by_mapping: Ranges, in_memory: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much of what is in memory belongs to files that count elsewhere.

    That is spread evenly where no survey has looked.
    """
    start, end = table.keys.T
    by_address = covered(by_mapping, start, end) / (end - start) * in_memory
    by_survey = np.nan_to_num(table.repeated) * table.size
    return np.where(np.isnan(table.repeated), by_address, by_survey)


def _forked_bytes(table: RegionTable, looked: Repeated) -> NDArray[np.float64]:
    """How much counts elsewhere since a fork, by a sample of addresses.

    Where the sample has nothing of a region, by what it has nearby.
    """
    keys = _with_samples(table, looked.sampled)
    sampled, forked = (covered(ranges, *keys.T) for ranges in (looked.sampled, looked.forked))
    return forked / np.maximum(sampled, 1) * table.size


def _with_samples(table: RegionTable, sampled: Ranges) -> Ranges:
    """The order keys of regions; of those without a sample, of the nearest block of their target.

    Where a target has no sample at all, nothing is said of it.
    """
    keys = table.keys.copy()
    if not len(sampled):
        return keys
    lacking = np.flatnonzero(covered(sampled, *keys.T) == 0)
    start, end = keys[lacking].T
    beyond = np.searchsorted(sampled[:, 0], start)
    above = sampled[np.minimum(beyond, len(sampled) - 1), 0]
    below = sampled[np.maximum(beyond - 1, 0), 1]
    far = np.iinfo(np.int64).max
    is_above = (from_order_keys(above)[0] == table.target[lacking]) & (above >= end)
    is_below = (from_order_keys(below - 1)[0] == table.target[lacking]) & (below <= start)
    is_nearest = np.where(is_below, start - below, far) <= np.where(is_above, above - end, far)
    first = np.where(is_nearest, below - BLOCK_PAGES, above)
    known = is_above | is_below
    keys[lacking[known]] = np.stack([first, first + BLOCK_PAGES], axis=1)[known]
    return keys


def _resident_bytes(table: RegionTable, footprints: tuple[Footprint, ...]) -> NDArray[np.int64]:
    """How much of each region is in memory; a share of the RSS where no survey has looked."""
    size = table.size
    known = ~np.isnan(table.resident)
    resident = np.where(known, np.rint(np.nan_to_num(table.resident) * size), UNKNOWN)
    bounds = group_bounds(table.target, len(footprints)).tolist()
    for footprint, rows in zip(footprints, map(slice, bounds[:-1], bounds[1:]), strict=True):
        lacking = ~known[rows]
        if footprint.rss_bytes and lacking.any():
            left_bytes = max(0.0, footprint.rss_bytes - resident[rows][~lacking].sum())
            share = min(1.0, left_bytes / size[rows][lacking].sum())
            resident[rows] = np.where(lacking, np.rint(size[rows] * share), resident[rows])
    return resident.astype(np.int64)
