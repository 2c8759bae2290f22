"""What one window showed: of access rates, for or against surveys; and its snapshot."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._model import adjust
from pydamon._model.attrs import Attrs
from pydamon._model.ranges import covered, order_keys
from pydamon._model.regions import Ranges, RegionTable
from pydamon._model.snapshot import UNKNOWN, Cost, Footprint, Snapshot
from pydamon._observe.probes.base import Counts
from pydamon._observe.targets import Layout

__all__ = ["Window", "check_survey", "snapshot_of", "update_rates"]


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


_DOUBTFUL, _IMPROBABLE = 0.05, 1e-5
"""Regions are many and looked at often: what has a chance of one in 20 happens all the time."""
_MOST, _MOST_OF_FEW = 0.95, 0.75
"""No figure is so sure that a single miss would contradict it; that of a few samples least."""


def update_rates(table: RegionTable, counts: Counts, samples: int, *, careful: bool) -> None:
    """Set `nr_accesses`, of *samples* an aggregation, and what could not be watched.

    Without a sample nothing is known that is newer than the last figure. Where samples cannot
    watch, there is what a survey could see, if any. With *careful*, one sample alone does not
    decide: the last figure counts as another.
    """
    tried = counts.checks + counts.unobservable
    lone = (counts.checks == 1) & careful
    hits = counts.hits + lone * table.last_nr_accesses / samples
    surveyed = np.nan_to_num(table.touched) * samples
    unknown = np.where(tried > 0, surveyed, table.last_nr_accesses)
    table.nr_accesses = np.where(
        counts.checks > 0, hits * samples / np.maximum(counts.checks + lone, 1), unknown
    )
    table.seen = np.where(tried > 0, 1.0, table.seen)
    # What a survey found of each page is better than what samples tell.
    sampled = (tried > 0) & np.isnan(table.touched)
    table.unobservable = np.where(
        sampled, counts.unobservable / np.maximum(tried, 1), table.unobservable
    )


def check_survey(
    table: RegionTable, counts: Counts, samples: int, sample_window: float
) -> tuple[float, float]:
    """Set what is `touched` as samples leave it of what surveys found, and what is idle.

    *sample_window* is how long a sample is watched, as a part of the aggregation. Returns how many
    bytes are in doubt now, of how many in use: when a survey is worth its price.
    """
    known = table.touched
    table.misses_since_hit = np.where(counts.hits > 0, 0, table.misses_since_hit + counts.checks)
    table.touched, in_doubt = _still_known(
        table, counts, samples, table.misses_since_hit * sample_window
    )
    table.contradicted = np.maximum(table.contradicted, in_doubt)
    table.touched_early = np.where(table.touched == known, table.touched_early, table.touched)
    # Few samples miss a few pages, but what a survey saw in use is not idle.
    in_use, _ = adjust.touched_in(table, sample_window)
    seen = (table.touched > 0) & (2 * in_use * samples >= 1)
    table.nr_accesses = np.where(seen, np.maximum(table.nr_accesses, 1), table.nr_accesses)
    used = np.nan_to_num(np.maximum(table.touched, known)) * table.size
    return float(used @ in_doubt), float(used.sum())


def _still_known(
    table: RegionTable, counts: Counts, samples: int, missed_windows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The shares that surveys found, as far as samples do not contradict them; which are in doubt.

    A survey says what is touched in a window. Samples watch for a small part of it each, so that
    memory that is used every 100 ms is missed by most of them: together they must have watched
    for *missed_windows*, and without a single hit, to say that it is idle now. Sooner does a
    region that samples themselves found hot, and do not any more; and one that has more hits than
    chance gives is in use by more. A region that no survey has seen stays NaN.
    """
    share, hits, checks = table.touched, counts.hits, counts.checks
    rate = hits / np.maximum(checks, 1)
    fell = (2 * table.last_nr_accesses >= samples) & (4 * table.nr_accesses <= samples)
    # What was hot for one window only may have been just starting.
    sure = np.where(table.age_ns > 0, _MOST, _MOST_OF_FEW)
    still_hot = (1 - np.minimum(table.last_nr_accesses / samples, sure)) ** checks
    chance = np.minimum(
        np.where(fell, still_hot, 1), (1 - np.minimum(share, _MOST)) ** (2 * missed_windows)
    )
    # An upper bound of the probability of so many hits, by Chernoff.
    by_chance = (checks * share * math.e / np.maximum(hits, 1)) ** hits
    warmed = (hits >= 2) & (by_chance < _IMPROBABLE)
    # As if some pages were accessed all the time and others never: the next survey will know.
    by_rate = rate * (1 - table.unobservable)
    told = np.where(chance < _IMPROBABLE, 0.0, np.where(warmed, by_rate, share))
    surprising = (hits >= 1) & (by_chance < _DOUBTFUL)
    return told, (chance < _DOUBTFUL) | surprising
