"""What belongs to one snapshot: aggregations of several targets that overlap in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass

__all__ = ["new_snapshots"]

_LEAST_OVERLAP = 10
"""Windows overlap if they share more than a tenth of the shorter: less is how clocks differ."""


_LEAST_AT_ONCE = 16


def new_snapshots(
    start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], target: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """With which aggregations of single targets, in the order of time, a snapshot begins.

    An aggregation belongs to the snapshot before it if their windows overlap, and its *target* is
    not in there yet: shape (aggregations,), as the arguments.
    """
    new = np.ones(len(target), np.bool_)
    if len(target) < 2:
        return new
    before = np.arange(len(target)) - 1
    before[0] = 0
    new[1:] = ~_overlap(start_ns, end_ns, before)[1:]
    runs = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    # Most runs are snapshots as they are: all of them overlap with the first, and no target is
    # there twice. Only the others are looked at one by one.
    odd = np.zeros(len(runs), np.bool_)
    odd[run[~_overlap(start_ns, end_ns, runs[run])]] = True
    order = np.lexsort((target, run))
    twice = (target[order][1:] == target[order][:-1]) & (run[order][1:] == run[order][:-1])
    odd[run[order][1:][twice]] = True
    if not odd.any():
        return new
    last = np.full(len(target), -1)  # where the target was before in its run
    last[order[1:][twice]] = order[:-1][twice]
    ends = np.append(runs[1:], len(target))
    rest = _side_by_side(start_ns, end_ns, last, runs[odd], ends[odd], new)
    for first, beyond in zip(*(each.tolist() for each in rest), strict=True):
        new[first:beyond] = _one_by_one(
            start_ns[first:beyond].tolist(),
            end_ns[first:beyond].tolist(),
            target[first:beyond].tolist(),
        )
    return new


def _side_by_side(
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    last: NDArray[np.int64],
    runs: NDArray[np.int64],
    ends: NDArray[np.int64],
    new: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find out of many short runs, all at once, with which windows snapshots begin.

    Begin and end of the runs that are left: long ones.
    """
    short = ends - runs <= max(2, len(runs) // _LEAST_AT_ONCE)
    left = runs[~short], ends[~short]
    head, at, ends = runs[short], runs[short] + 1, ends[short]
    while len(at):
        is_new = (last[at] >= head) | ~_overlap(start_ns, end_ns, head, at)
        new[at] = is_new
        head = np.where(is_new, at, head)
        goes_on = at + 1 < ends
        head, at, ends = head[goes_on], at[goes_on] + 1, ends[goes_on]
    return left


def _overlap(
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    other: NDArray[np.int64],
    which: NDArray[np.int64] | slice = slice(None),
) -> NDArray[np.bool_]:
    """Whether each window, or those of *which*, overlaps with that of the index in *other*."""
    low, high = start_ns[other], end_ns[other]
    start_ns, end_ns = start_ns[which], end_ns[which]
    shared = np.minimum(end_ns, high) - np.maximum(start_ns, low)
    shorter = np.minimum(end_ns - start_ns, high - low)
    same = (start_ns == low) & (end_ns == high)
    found: NDArray[np.bool_] = same | (shared > shorter // _LEAST_OVERLAP)
    return found


def _one_by_one(start_ns: list[int], end_ns: list[int], target: list[int]) -> list[bool]:
    new = []
    seen: set[int] = set()
    low = high = 0
    for start, end, one in zip(start_ns, end_ns, target, strict=True):
        shared = min(end, high) - max(start, low)
        shorter = min(end - start, high - low)
        overlaps = (start == low and end == high) or shared > shorter // _LEAST_OVERLAP
        begins = not seen or one in seen or not overlaps
        if begins:
            seen, low, high = set(), start, end
        seen.add(one)
        new.append(begins)
    return new
