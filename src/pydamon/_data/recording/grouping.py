"""Snapshots are windows of several targets that overlap in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._model.runs import Runs

__all__ = ["new_snapshots"]

_LEAST_OVERLAP = 10
"""Windows overlap if they share more than a tenth of the shorter: clocks differ by less."""
_LEAST_AT_ONCE = 16
"""NumPy pays where this many runs are split side by side."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """The windows of single targets, in the order of time."""

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    target: NDArray[np.integer]

    def overlap(
        self, first: NDArray[np.integer] | slice, second: NDArray[np.integer] | slice
    ) -> NDArray[np.bool_]:
        """Whether the windows at *first* overlap with those at *second*, pair by pair."""
        start, end = self.start_ns[first], self.end_ns[first]
        other_start, other_end = self.start_ns[second], self.end_ns[second]
        shared = np.minimum(end, other_end) - np.maximum(start, other_start)
        shorter = np.minimum(end - start, other_end - other_start)
        is_same = (start == other_start) & (end == other_end)
        overlap: NDArray[np.bool_] = is_same | (shared > shorter // _LEAST_OVERLAP)
        return overlap


def new_snapshots(
    start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], target: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Whether a snapshot begins with each window: shape (windows,), as the arguments.

    Each window is of a single target; they are in the order of time. A window belongs to the
    snapshot before it if it overlaps with the snapshot's first window, and the snapshot does not
    have its *target* yet.
    """
    count = len(target)
    windows = _Windows(start_ns, end_ns, target)
    runs = Runs.split(~windows.overlap(slice(1, None), slice(0, -1)), count)
    begins = np.zeros(count, np.bool_)
    begins[runs.heads] = True
    # Most runs of overlapping windows are one snapshot: every window overlaps with the first, and
    # no target is there twice. Only the other runs are split window by window.
    run = runs.number
    previous = _previous_of_target(run, target)
    breaks = (previous >= 0) | ~windows.overlap(slice(None), runs.heads[run])
    to_split = np.unique(run[breaks])
    if len(to_split):
        _split(windows, previous, runs.bounds[to_split], runs.bounds[to_split + 1], begins)
    return begins


def _previous_of_target(
    run: NDArray[np.integer], target: NDArray[np.integer]
) -> NDArray[np.integer]:
    """The window that the same target had before in the same run; -1 for none."""
    order = np.lexsort((target, run))
    run, target = run[order], target[order]
    is_repeated = (target[1:] == target[:-1]) & (run[1:] == run[:-1])
    previous = np.full(len(order), -1)
    previous[order[1:][is_repeated]] = order[:-1][is_repeated]
    return previous


def _split(
    windows: _Windows,
    previous: NDArray[np.integer],
    first: NDArray[np.integer],
    end: NDArray[np.integer],
    begins: NDArray[np.bool_],
) -> None:
    """Mark in *begins* where snapshots begin within the runs from *first* to before *end*."""
    # Many short runs side by side, a few long ones window by window.
    is_short = end - first <= max(2, len(first) // _LEAST_AT_ONCE)
    _split_side_by_side(windows, previous, first[is_short], end[is_short], begins)
    for low, high in zip(first[~is_short].tolist(), end[~is_short].tolist(), strict=True):
        begins[low:high] = _split_one(windows, low, high)


def _split_side_by_side(
    windows: _Windows,
    previous: NDArray[np.integer],
    head: NDArray[np.integer],
    end: NDArray[np.integer],
    begins: NDArray[np.bool_],
) -> None:
    """Split runs that begin at *head*: the second window of each run, then the third, and so on."""
    window = head + 1
    while len(window):
        is_new = (previous[window] >= head) | ~windows.overlap(window, head)
        begins[window] = is_new
        head = np.where(is_new, window, head)
        goes_on = window + 1 < end
        head, window, end = head[goes_on], window[goes_on] + 1, end[goes_on]


def _split_one(windows: _Windows, low: int, high: int) -> list[bool]:
    """Where snapshots begin in one run, as plain numbers: faster than NumPy, one at a time."""
    begins = []
    targets: set[int] = set()
    first_start = first_end = 0
    columns = (windows.start_ns, windows.end_ns, windows.target)
    for start, end, target in zip(*(column[low:high].tolist() for column in columns), strict=True):
        shared = min(end, first_end) - max(start, first_start)
        shorter = min(end - start, first_end - first_start)
        is_same = start == first_start and end == first_end
        overlaps = is_same or shared > shorter // _LEAST_OVERLAP
        is_new = not targets or target in targets or not overlaps
        if is_new:
            targets, first_start, first_end = set(), start, end
        targets.add(target)
        begins.append(is_new)
    return begins
