"""Address ranges as arrays: shape (n, 2), bytes, half open, sorted, without overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import Ranges

__all__ = ["EMPTY", "close_gaps", "intersect", "joined"]

EMPTY: Ranges = np.empty((0, 2), np.int64)


def intersect(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of *ranges* that lie in *others*, a row for each pair that overlaps."""
    first = np.searchsorted(others[:, 1], ranges[:, 0], side="right")
    counts = np.maximum(np.searchsorted(others[:, 0], ranges[:, 1]) - first, 0)
    of = np.repeat(np.arange(len(ranges)), counts)
    other = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    low = np.maximum(ranges[of, 0], others[other, 0])
    return np.stack([low, np.minimum(ranges[of, 1], others[other, 1])], axis=1)


def joined(ranges: Ranges) -> Ranges:
    """The same bytes, in as few rows as possible."""
    return _without_gaps(ranges, ranges[1:, 0] - ranges[:-1, 1] > 0)


def close_gaps(ranges: Ranges, most: int) -> Ranges:
    """At most *most* ranges that cover all of *ranges*: the smallest gaps are covered too."""
    gaps = ranges[1:, 0] - ranges[:-1, 1]
    if len(ranges) <= most:
        return joined(ranges)
    # Stable: of equal gaps the lowest is kept, as often as it is asked.
    largest = np.argsort(-gaps, kind="stable")[: most - 1]
    kept = np.zeros(len(gaps), np.bool_)
    kept[largest] = gaps[largest] > 0
    return _without_gaps(ranges, kept)


def _without_gaps(ranges: Ranges, kept: NDArray[np.bool_]) -> Ranges:
    """The ranges joined over every gap that is not *kept*."""
    if not len(ranges):
        return EMPTY
    start, end = ranges[np.append(True, kept), 0], ranges[np.append(kept, True), 1]
    return np.stack([start, end], axis=1)
