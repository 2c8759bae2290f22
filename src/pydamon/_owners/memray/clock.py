"""When the records of a capture were made: the sizes of the heap at known moments tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._model.runs import is_in, unique

__all__ = ["RecordClock", "anchors"]

_NS_PER_MS = 10**6
_AT_ONCE = 2**20


class RecordClock:
    """Tells when each record was made (Unix time).

    Parameters
    ----------
    heap
        The size of the heap after each record.
    moments
        Times in ms, and the size of the heap then: shape (n, 2).
    began_ns
        When the capture began.
    """

    def __init__(self, heap: NDArray[np.int64], moments: NDArray[np.int64], began_ns: int) -> None:
        counts, times_ns = anchors(heap, moments)
        self.note = (
            "the capture does not say when its allocations were made: they count from its start"
        )
        """How well the times are known."""
        if len(counts) < 2:
            self._known = np.zeros(1, np.int64)
            self._begin_ns = self._end_ns = np.full(1, began_ns)
            return
        first = np.flatnonzero(np.append(True, counts[1:] != counts[:-1]))
        last = np.append(first[1:], len(counts)) - 1
        self._known, self._begin_ns, self._end_ns = counts[first], times_ns[first], times_ns[last]
        gap_ms = float(np.median(np.diff(times_ns))) / _NS_PER_MS
        self.note = f"times of allocations are known to {gap_ms:.0f} ms"

    def at(self, numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
        """When the records of these numbers, from 0, were made."""
        times_ns = np.empty(len(numbers), np.int64)
        for first in range(0, len(numbers), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            times_ns[rows] = self._at(numbers[rows].astype(np.int64) + 1)
        return times_ns

    def _at(self, count: NDArray[np.int64]) -> NDArray[np.int64]:
        known, begin_ns, end_ns = self._known, self._begin_ns, self._end_ns
        if len(known) < 2:
            return np.full(len(count), end_ns[-1])
        # Each record comes between the last moment with fewer records and the first with as many.
        place = np.clip(np.searchsorted(known, count, side="left"), 1, len(known) - 1)
        low, high = end_ns[place - 1], begin_ns[place]
        width = np.maximum(known[place] - known[place - 1], 1)
        share = np.clip((count - known[place - 1]) / width, 0, 1)
        times_ns: NDArray[np.int64] = low + ((high - low) * share).astype(np.int64)
        times_ns[count > known[-1]] = end_ns[-1]
        return times_ns


def anchors(
    heap: NDArray[np.int64], moments: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many records came before some moments, and when these were.

    A moment has the size of the heap then: the first place from the moment before on at which the
    records add up to that. Where there is none, the moment does not count.
    """
    wanted = unique(moments[:, 1])
    chunks = range(0, len(heap), _AT_ONCE)
    found = [np.flatnonzero(is_in(heap[low : low + _AT_ONCE], wanted)) + low + 1 for low in chunks]
    # Before the first record, the heap was empty.
    places = np.concatenate([np.zeros(int(0 in wanted), np.intp), *found])
    sums = np.zeros(len(places), np.int64)
    sums[places > 0] = heap[places[places > 0] - 1]
    order = np.argsort(sums, kind="stable")
    ordered, places = sums[order], places[order]
    first = np.searchsorted(ordered, moments[:, 1], side="left").tolist()
    beyond = np.searchsorted(ordered, moments[:, 1], side="right").tolist()
    counts, times = [], []
    at = 0
    for time_ms, low, high in zip(moments[:, 0].tolist(), first, beyond, strict=True):
        same = places[low:high]
        place = int(np.searchsorted(same, at))
        if place < len(same):
            at = int(same[place])
            counts.append(at)
            times.append(time_ms * _NS_PER_MS)
    return np.array(counts, np.int64), np.array(times, np.int64)
