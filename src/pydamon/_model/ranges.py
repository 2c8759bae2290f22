"""Address ranges as arrays: shape (n, 2), bytes, half open, sorted, without overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import PAGE_SIZE, Ranges, order_keys

__all__ = [
    "EMPTY",
    "Stretches",
    "close_gaps",
    "covered",
    "intersect",
    "joined",
    "keyed",
    "size_of",
    "subtract",
    "union",
]

EMPTY: Ranges = np.empty((0, 2), np.int64)


def size_of(ranges: Ranges) -> int:
    """Bytes of all together."""
    return int((ranges[:, 1] - ranges[:, 0]).sum())


def union(ranges: Ranges) -> Ranges:
    """The same bytes in as few rows as possible, of rows in any order that may overlap."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    return joined(np.stack([ranges[:, 0], reach], axis=1))


def subtract(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of *ranges* that lie in none of *others*: rows in any order, without overlap."""
    address = np.concatenate([ranges, others]).ravel()
    step = np.concatenate([np.tile([1, -1], len(ranges)), np.tile([-2, 2], len(others))])
    order = np.argsort(address, kind="stable")
    address, depth = address[order], np.cumsum(step[order])
    left = (depth[:-1] == 1) & (address[:-1] < address[1:])
    return np.stack([address[:-1][left], address[1:][left]], axis=1)


def intersect(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of *ranges* that lie in *others*, a row for each pair that overlaps."""
    first = np.searchsorted(others[:, 1], ranges[:, 0], side="right")
    counts = np.maximum(np.searchsorted(others[:, 0], ranges[:, 1]) - first, 0)
    of = np.repeat(np.arange(len(ranges)), counts)
    other = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    low = np.maximum(ranges[of, 0], others[other, 0])
    return np.stack([low, np.minimum(ranges[of, 1], others[other, 1])], axis=1)


def covered(ranges: Ranges, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """How much of each [start, end) lies in *ranges*: shape (n,)."""
    if not len(ranges):
        return np.zeros(len(start), np.int64)
    length = ranges[:, 1] - ranges[:, 0]
    before = np.cumsum(length) - length

    def below(address: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.maximum(np.searchsorted(ranges[:, 0], address, side="right") - 1, 0)
        bytes_below: NDArray[np.int64] = before[at] + np.clip(
            address - ranges[at, 0], 0, length[at]
        )
        return bytes_below

    return below(end) - below(start)


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


def keyed(ranges: Sequence[Ranges]) -> Ranges:
    """The ranges of each target as ranges of `order_keys`, all in one array."""
    targets = np.repeat(np.arange(len(ranges), dtype=np.int32), [len(one) for one in ranges])
    bounds = np.concatenate([EMPTY, *ranges])
    return np.stack([order_keys(targets, bounds[:, 0]), order_keys(targets, bounds[:, 1])], axis=1)


@dataclass(frozen=True)
class Stretches:
    """Parts of the memory of several targets, page by page: arrays of one length.

    `start` and `end` are bytes, whole pages. What is known of their pages stands in flat arrays,
    one stretch behind the other.
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    @classmethod
    def of(cls, rows: list[tuple[int, int, int]]) -> Self:
        """From (target, start, end) rows."""
        columns = np.array(rows, np.int64).reshape(-1, 3)
        return cls(columns[:, 0].astype(np.int32), columns[:, 1], columns[:, 2])

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def pages(self) -> NDArray[np.int64]:
        """How many pages each has."""
        return (self.end - self.start) // PAGE_SIZE

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where the pages of each begin in a flat array, and its length: shape (n + 1,)."""
        return np.append(0, np.cumsum(self.pages))

    @cached_property
    def keys(self) -> Ranges:
        """The stretches as ranges of `order_keys`."""
        first = order_keys(self.target, self.start)
        return np.stack([first, first + self.pages], axis=1)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Stretches:
        """Those that *index* picks."""
        return Stretches(self.target[index], self.start[index], self.end[index])

    def of_pages(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """One value for each page, of one for each stretch."""
        return np.repeat(values, self.pages)
