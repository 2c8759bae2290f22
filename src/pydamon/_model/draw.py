"""Draw regions from what looks saw of every page: borders where pages are accessed differently."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._model.adjust import disjoint
from pydamon._model.ranges import PAGE_SIZE, contains
from pydamon._model.regions import RegionTable, join_regions
from pydamon._model.runs import Runs, is_in, running_total, unique
from pydamon._model.stretches import Stretches

__all__ = ["Accessed", "draw_many", "redraw"]

_ALIKE, _ALIKE_BY_LOOKS = 0.2, 0.05
"""Neighbours always merge where their shares of accessed pages differ by at most this part of the
larger share. Several looks tell rates apart, which differ much more than shares do."""
_FINEST_BLOCKS = 8192
"""Merging starts from at most this many blocks of equal size, which bounds its time."""


Accessed = NDArray[np.bool_] | NDArray[np.uint8]


def redraw(table: RegionTable, surveyed: Stretches, starts: NDArray[np.int64]) -> RegionTable:
    """Make regions begin at *starts* (sorted `order_keys`) inside the *surveyed* stretches.

    The new regions get the figures of the old ones, as means by size. Elsewhere the regions stay.
    """
    if not len(surveyed):
        return table
    old_start, old_end = table.keys.T
    points = unique(np.concatenate([old_start, starts, surveyed.keys.ravel()]))
    source = np.searchsorted(old_start, points, side="right") - 1
    inside = (source >= 0) & (points < old_end[source])
    points, source = points[inside], source[inside]
    pieces = table.take(source)
    ends = np.minimum(np.append(points[1:], np.iinfo(np.int64).max), old_end[source])
    pieces.start = table.start[source] + (points - old_start[source]) * PAGE_SIZE
    pieces.end = table.start[source] + (ends - old_start[source]) * PAGE_SIZE
    after_gap = np.append(True, points[1:] != ends[:-1])
    is_head = ~contains(surveyed.keys, points) | after_gap | is_in(points, starts)
    return join_regions(pieces, np.flatnonzero(is_head))


def draw_many(
    accessed: Accessed, stretches: Stretches, most: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where regions of about the same share of *accessed* pages begin, as sorted `order_keys`.

    *accessed* has the pages of several stretches, flat; where there were several looks, how many of
    them saw each page accessed. *most* has one entry a stretch: every run of equal pages becomes a
    region where so many regions are enough for that. Else neighbours merge, the least different
    first by Ward's criterion (the sum of squared errors that the merge adds), as long as chance
    explains the difference; the borders are still exact to the page.
    """
    if not len(stretches):
        return np.empty(0, np.int64)
    offsets = stretches.offsets
    new = np.ones(len(accessed), np.bool_)
    new[1:] = accessed[1:] != accessed[:-1]
    new[offsets[:-1]] = True
    runs = np.add.reduceat(new, offsets[:-1])
    # All stretches in which every run can be a region are drawn together.
    simple = stretches.of_pages(runs <= most)
    first_keys = stretches.keys[:, 0]
    parts = [stretches.keys_at(np.flatnonzero(new & simple)), first_keys[most <= 1]]
    index = np.flatnonzero((runs > most) & (most > 1))
    if len(index):
        slices = stretches.slices()
        pages = np.concatenate([accessed[slices[place]] for place in index.tolist()])
        bounds = running_total(stretches.pages[index])
        starts = _drawn(pages, bounds, most[index])
        of = _stretch_of(starts, bounds)
        parts.append(first_keys[index][of] + starts - bounds[of])
    return unique(np.concatenate(parts))


def _drawn(
    accessed: Accessed, bounds: NDArray[np.int64], most: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Where regions begin whose runs are too many: stretch i has the pages from `bounds[i]` on."""
    pages = np.diff(bounds)
    blocks = -(-pages // _FINEST_BLOCKS)
    parts = zip(bounds[:-1].tolist(), bounds[1:].tolist(), blocks.tolist(), strict=True)
    edges = np.concatenate([*(np.arange(*part) for part in parts), bounds[-1:]])
    sums = running_total(accessed)
    edges = _without_equals(edges, sums, bounds)
    looks = np.maximum.reduceat(accessed, bounds[:-1]).astype(np.int64)
    # The Bayesian information criterion, for the largest variance that a share can have.
    penalty = 0.75 * np.log(pages)
    while True:
        edges = _merged(edges, sums, bounds, penalty, looks)
        starts = edges[:-1]
        counts = np.bincount(_stretch_of(starts, bounds), minlength=len(pages))
        if (counts <= most).all():
            break
        penalty[counts > most] *= 2
    coarse = np.flatnonzero(blocks > 1)
    if not len(coarse):
        return starts
    parts_of = np.split(starts, np.cumsum(counts)[:-1])
    for index in coarse.tolist():
        low, high = bounds[index : index + 2].tolist()
        of_stretch = sums[low : high + 1] - sums[low]
        refined = _refined(parts_of[index] - low, of_stretch, int(blocks[index]))
        parts_of[index] = refined + low
    return np.concatenate(parts_of)


def _stretch_of(page: NDArray[np.intp], bounds: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.searchsorted(bounds, page, side="right") - 1


def _without_equals(
    edges: NDArray[np.intp], sums: NDArray[np.intp], bounds: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Drop the borders between blocks of the same share, most often idle ones, all at once."""
    share = np.diff(sums[edges]) / np.diff(edges)
    return edges[Runs.of(share, _stretch_of(edges[:-1], bounds)).bounds]


def _merged(
    edges: NDArray[np.intp],
    sums: NDArray[np.intp],
    bounds: NDArray[np.int64],
    penalty: NDArray[np.float64],
    looks: NDArray[np.int64],
) -> NDArray[np.intp]:
    """Drop borders between blocks while that costs at most a *penalty*, the cheapest first.

    *penalty* and *looks* have one entry a stretch; borders of stretches stay.
    """
    least = np.where(looks == 1, _ALIKE, _ALIKE_BY_LOOKS)
    while len(edges) > 2:
        size, of = np.diff(edges), _stretch_of(edges[:-1], bounds)
        share = np.diff(sums[edges]) / (size * looks[of])
        difference = np.abs(share[1:] - share[:-1])
        cost = size[1:] * size[:-1] / (size[1:] + size[:-1]) * difference**2
        alike = difference <= least[of[1:]] * np.maximum(share[1:], share[:-1])
        most = penalty[of[1:]]
        cost[alike] = np.minimum(cost, most)[alike]
        cost[of[1:] != of[:-1]] = np.inf
        around = np.concatenate([[np.inf], cost, [np.inf]])
        cheapest = (cost <= most) & (cost <= around[:-2]) & (cost <= around[2:])
        if not cheapest.any():
            return edges
        # Each stretch is drawn as if it were alone.
        place = np.arange(len(cost)) - np.searchsorted(of, of[:-1])
        edges = np.delete(edges, np.flatnonzero(disjoint(cheapest, place)) + 1)
    return edges


def _refined(starts: NDArray[np.intp], sums: NDArray[np.intp], block: int) -> NDArray[np.intp]:
    """Move each border by up to a block, to where the two regions differ most."""
    if len(starts) < 2:
        return starts
    ends = np.append(starts[1:], len(sums) - 1)
    share = (sums[ends] - sums[starts]) / (ends - starts)
    middle = (share[1:] + share[:-1]) / 2
    falls = np.where(share[:-1] > share[1:], 1, -1)
    reach = min(block, _FINEST_BLOCKS)
    at = starts[1:, None] + np.arange(1 - reach, reach)
    at = np.clip(at, starts[:-1, None] + 1, ends[1:, None] - 1)
    # The accessed pages up to each place, less those that the middle of both shares would give:
    # highest (or lowest) at the best border.
    gain = falls[:, None] * (sums[at] - middle[:, None] * at)
    best = at[np.arange(len(at)), np.argmax(gain, axis=1)]
    return unique(np.append(starts[:1], best))
