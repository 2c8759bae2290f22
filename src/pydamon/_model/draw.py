"""Draw regions from what is known of every page: where accessed and idle pages part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._model.adjust import disjoint, join
from pydamon._model.ranges import Stretches
from pydamon._model.regions import PAGE_SIZE, RegionTable, order_keys
from pydamon._model.unique import is_in, unique

__all__ = ["draw", "draw_many", "redraw"]

_ALIKE = 0.2
"""Neighbours whose shares of accessed pages differ by no more of the larger are always one."""
_FINEST_BLOCKS = 8192


def draw(accessed: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Where regions of about the same share of *accessed* pages begin, as page numbers.

    Every run of accessed or idle pages is a region of its own where *most* regions are enough for
    that. Else neighbours become one region from the least different on, by Ward's criterion (what
    the merge adds to the sum of squared errors), for as long as chance explains the difference;
    the borders are still exact to the page.
    """
    n = len(accessed)
    runs = np.append(0, np.flatnonzero(accessed[1:] != accessed[:-1]) + 1)
    if len(runs) <= most:
        return runs
    sums = np.append(0, np.cumsum(accessed))
    block = -(-n // _FINEST_BLOCKS)
    edges = np.append(np.arange(0, n, block), n)
    edges = _without_equals(edges, sums)
    # By the Bayesian information criterion, for the largest variance a share can have.
    penalty = 0.75 * np.log(n)
    while True:
        edges = _merged(edges, sums, penalty)
        if len(edges) - 1 <= most:
            return _refined(edges[:-1], sums, block)
        penalty *= 2


def redraw(table: RegionTable, surveyed: Stretches, starts: NDArray[np.int64]) -> RegionTable:
    """Make regions begin at *starts*, as `order_keys`, wherever it was *surveyed*; both sorted.

    What the old regions counted passes on to the new ones, as means by size. Elsewhere the regions
    stay.
    """
    if not len(surveyed):
        return table
    old_start, old_end = (order_keys(table.target, one) for one in (table.start, table.end))
    points = unique(np.concatenate([old_start, starts, surveyed.keys.ravel()]))
    source = np.searchsorted(old_start, points, side="right") - 1
    inside = (source >= 0) & (points < old_end[source])
    points, source = points[inside], source[inside]
    pieces = table.take(source)
    ends = np.minimum(np.append(points[1:], np.iinfo(np.int64).max), old_end[source])
    pieces.start = table.start[source] + (points - old_start[source]) * PAGE_SIZE
    pieces.end = table.start[source] + (ends - old_start[source]) * PAGE_SIZE
    at = np.searchsorted(surveyed.keys[:, 0], points, side="right") - 1
    kept_as_it_was = (at < 0) | (points >= surveyed.keys[at, 1])
    apart = np.append(True, points[1:] != ends[:-1])
    heads = np.flatnonzero(kept_as_it_was | apart | is_in(points, starts))
    return join(pieces, heads)


def draw_many(
    accessed: NDArray[np.bool_], stretches: Stretches, most: NDArray[np.int64]
) -> NDArray[np.int64]:
    """As `draw`, of several stretches at once, for which *accessed* is flat; as `order_keys`.

    Where every run can be a region of its own, that is done for all stretches together.
    """
    if not len(stretches):
        return np.empty(0, np.int64)
    offsets = stretches.offsets
    new = np.ones(len(accessed), np.bool_)
    new[1:] = accessed[1:] != accessed[:-1]
    new[offsets[:-1]] = True
    runs = np.add.reduceat(new, offsets[:-1])
    simple = stretches.of_pages(runs <= most)
    first = np.flatnonzero(new & simple)
    stretch = np.searchsorted(offsets, first, side="right") - 1
    keys = stretches.keys[:, 0]
    parts = [keys[stretch] + first - offsets[stretch], keys[most <= 1]]
    for index in np.flatnonzero((runs > most) & (most > 1)).tolist():
        mine = accessed[offsets[index] : offsets[index + 1]]
        parts.append(keys[index] + draw(mine, int(most[index])))
    return unique(np.concatenate(parts))


def _without_equals(edges: NDArray[np.intp], sums: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give up borders between blocks of the same share, most often idle ones, all at once."""
    share = np.diff(sums[edges]) / np.diff(edges)
    differ = np.flatnonzero(share[1:] != share[:-1]) + 1
    return np.concatenate([edges[:1], edges[differ], edges[-1:]])


def _merged(edges: NDArray[np.intp], sums: NDArray[np.intp], penalty: float) -> NDArray[np.intp]:
    """Give up borders between blocks while that costs at most *penalty*, the cheapest first."""
    while len(edges) > 2:
        size = np.diff(edges)
        share = np.diff(sums[edges]) / size
        difference = np.abs(share[1:] - share[:-1])
        cost = size[1:] * size[:-1] / (size[1:] + size[:-1]) * difference**2
        alike = difference <= _ALIKE * np.maximum(share[1:], share[:-1])
        cost[alike] = np.minimum(cost[alike], penalty)
        around = np.concatenate([[np.inf], cost, [np.inf]])
        cheapest = (cost <= penalty) & (cost <= around[:-2]) & (cost <= around[2:])
        if not cheapest.any():
            return edges
        edges = np.delete(edges, np.flatnonzero(disjoint(cheapest)) + 1)
    return edges


def _refined(starts: NDArray[np.intp], sums: NDArray[np.intp], block: int) -> NDArray[np.intp]:
    """Move each border, by up to a block, to where the two regions differ most."""
    if len(starts) < 2:
        return starts
    ends = np.append(starts[1:], len(sums) - 1)
    share = (sums[ends] - sums[starts]) / (ends - starts)
    middle = (share[1:] + share[:-1]) / 2
    falls = np.where(share[:-1] > share[1:], 1, -1)
    reach = min(block, _FINEST_BLOCKS)
    at = starts[1:, None] + np.arange(1 - reach, reach)
    at = np.clip(at, starts[:-1, None] + 1, ends[1:, None] - 1)
    # Accessed pages beyond what the middle of both shares would give, summed up to each place:
    # highest (or lowest) at the best border.
    gain = falls[:, None] * (sums[at] - middle[:, None] * at)
    best = at[np.arange(len(at)), np.argmax(gain, axis=1)]
    return unique(np.append(starts[:1], best))
