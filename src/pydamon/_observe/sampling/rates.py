"""Turn what samples counted into access rates, and check what surveys found against samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pydamon._model import adjust
from pydamon._model.regions import RegionTable
from pydamon._observe.probes.base import Counts

__all__ = ["check_survey", "keep_in_use", "update_rates"]

_DOUBTFUL, _IMPROBABLE = 0.05, 1e-5
"""Chances below which samples raise doubts about a survey, and contradict it. With so many
regions and windows, events with a chance of one in 20 happen all the time."""
_MOST, _MOST_OF_FEW = 0.95, 0.75
"""The surest that a survey can be, and few samples: a single miss must not contradict them."""


def update_rates(table: RegionTable, counts: Counts, samples: int, *, careful: bool) -> None:
    """Set `nr_accesses`, of *samples* an aggregation, and the share that could not be watched.

    Unsampled regions keep their last rate. Regions that samples cannot watch get the share that a
    survey saw touched, if any. With *careful*, a single sample does not decide: the last rate
    counts as another one.
    """
    tried = counts.checks + counts.unobservable
    lone = (counts.checks == 1) & careful
    hits = counts.hits + lone * table.last_nr_accesses / samples
    surveyed = np.nan_to_num(table.touched) * samples
    unsampled = np.where(tried > 0, surveyed, table.last_nr_accesses)
    table.nr_accesses = np.where(
        counts.checks > 0, hits * samples / np.maximum(counts.checks + lone, 1), unsampled
    )
    table.seen = np.where(tried > 0, 1.0, table.seen)
    # A survey knows every page, and so more than samples.
    only_sampled = (tried > 0) & np.isnan(table.touched)
    table.unobservable = np.where(
        only_sampled, counts.unobservable / np.maximum(tried, 1), table.unobservable
    )


def check_survey(
    table: RegionTable, counts: Counts, samples: int, sample_window: float
) -> tuple[float, float]:
    """Correct `touched` where samples contradict it.

    *sample_window* is how long a sample is watched, as a part of the aggregation. Returns how many
    bytes are contradicted now, and how many are in use: together they tell when a survey is worth
    its price.
    """
    before = table.touched
    misses = np.where(counts.hits > 0, 0, table.misses_since_hit + counts.checks)
    table.misses_since_hit = misses
    table.touched, contradicted = _corrected(table, counts, samples, misses * sample_window)
    table.contradicted = np.maximum(table.contradicted, contradicted)
    table.touched_early = np.where(table.touched == before, table.touched_early, table.touched)
    used_bytes = np.nan_to_num(np.maximum(table.touched, before)) * table.size
    return float(used_bytes @ contradicted), float(used_bytes.sum())


def keep_in_use(table: RegionTable, samples: int, sample_window: float) -> None:
    """Let no rate be 0 where a survey saw memory in use: a few samples miss a few pages."""
    touched_in_sample, _ = adjust.touched_in(table, sample_window)
    in_use = (table.touched > 0) & (2 * touched_in_sample * samples >= 1)
    table.nr_accesses = np.where(in_use, np.maximum(table.nr_accesses, 1), table.nr_accesses)


def _corrected(
    table: RegionTable, counts: Counts, samples: int, missed_windows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """`touched` as samples correct it, and whether they contradict it at all.

    A survey tells what is touched in a window. A sample is watched for a small part of that, so
    that most samples miss memory that is used every 100 ms. Only if samples have watched for
    *missed_windows* without a single hit, the region is idle now. It is so sooner if samples found
    it hot before, and do not any more. A region with more hits than chance explains is in use by
    more than the survey saw. A region that no survey has seen stays NaN.
    """
    share, hits, checks = table.touched, counts.hits, counts.checks
    rate = hits / np.maximum(checks, 1)
    fell = (2 * table.last_nr_accesses >= samples) & (4 * table.nr_accesses <= samples)
    # A region that was hot in one window only may have been just starting.
    sure = np.where(table.age_ns > 0, _MOST, _MOST_OF_FEW)
    still_hot = (1 - np.minimum(table.last_nr_accesses / samples, sure)) ** checks
    chance_of_misses = np.minimum(
        np.where(fell, still_hot, 1), (1 - np.minimum(share, _MOST)) ** (2 * missed_windows)
    )
    # An upper bound of the probability of so many hits, by Chernoff.
    chance_of_hits = (checks * share * math.e / np.maximum(hits, 1)) ** hits
    warmed = (hits >= 2) & (chance_of_hits < _IMPROBABLE)
    # As if some pages were accessed all the time and others never: the next survey will know.
    by_rate = rate * (1 - table.unobservable)
    corrected = np.where(chance_of_misses < _IMPROBABLE, 0.0, np.where(warmed, by_rate, share))
    surprising = (hits >= 1) & (chance_of_hits < _DOUBTFUL)
    return corrected, (chance_of_misses < _DOUBTFUL) | surprising
