"""An address axis without the gaps between mappings, and how regions fill its cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AddressAxis", "AxisSpans", "covered", "spread"]


@dataclass(frozen=True)
class AddressAxis:
    """Segments of an address space put end to end; a position on it counts bytes from 0.

    `segments` has shape (n, 2): bytes, half open, sorted, without overlap.
    """

    segments: NDArray[np.int64]

    @property
    def length(self) -> int:
        """Bytes of all segments together."""
        return int((self.segments[:, 1] - self.segments[:, 0]).sum())

    @property
    def begins(self) -> NDArray[np.int64]:
        """The position at which each segment begins: shape (n,)."""
        sizes = self.segments[:, 1] - self.segments[:, 0]
        begins: NDArray[np.int64] = np.cumsum(sizes) - sizes
        return begins

    def position(self, address: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where addresses lie on the axis; those in a gap lie where the next segment begins."""
        if len(self.segments) == 0:
            return np.zeros(len(address), np.int64)
        index = np.searchsorted(self.segments[:, 1], address, side="right")
        index = np.minimum(index, len(self.segments) - 1)
        low, high = self.segments[index, 0], self.segments[index, 1]
        place: NDArray[np.int64] = self.begins[index] + np.clip(address, low, high) - low
        return place

    def address(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """The addresses at positions; at the end of a segment that of the next one's start."""
        begins = self.begins
        index = np.maximum(np.searchsorted(begins, position, side="right") - 1, 0)
        found: NDArray[np.int64] = self.segments[index, 0] + position - begins[index]
        return found

    def part(self, low: int, high: int) -> AddressAxis:
        """The part of the axis between two positions on it."""
        begins = self.begins
        size = self.segments[:, 1] - self.segments[:, 0]
        start = self.segments[:, 0] + np.clip(low - begins, 0, size)
        end = self.segments[:, 0] + np.clip(high - begins, 0, size)
        return AddressAxis(np.column_stack([start, end])[start < end])


def covered(start: NDArray[np.int64], end: NDArray[np.int64]) -> AddressAxis:
    """The axis of every address that any of the ranges covers; they may be in any order."""
    if len(start) == 0:
        return AddressAxis(np.empty((0, 2), np.int64))
    # A segment begins where as many ranges have ended as have started before.
    starts, ends = np.sort(start), np.sort(end)
    first = np.flatnonzero(np.append(True, starts[1:] > ends[:-1]))
    last = np.append(first[1:], len(starts)) - 1
    return AddressAxis(np.column_stack([starts[first], ends[last]]))


@dataclass(frozen=True)
class AxisSpans:
    """The regions of one target in a row of snapshots, by their position on an axis.

    `low`, `high` (bytes on the axis), `rate` (0 to 1), `mapping` and `unseen` (the share of it that
    nobody had looked at yet) have one entry a region, `start_ns` and `end_ns` one a snapshot;
    snapshot i has the regions from `offsets[i]` on.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    rate: NDArray[np.float64]
    mapping: NDArray[np.int32]
    offsets: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    unseen: NDArray[np.float64]

    def between(self, low: int, high: int) -> AxisSpans:
        """The same on the part of the axis between two positions; what is outside is empty."""
        return AxisSpans(
            np.clip(self.low, low, high) - low,
            np.clip(self.high, low, high) - low,
            self.rate,
            self.mapping,
            self.offsets,
            self.start_ns,
            self.end_ns,
            self.unseen,
        )

    def chunks(self, snapshots: int) -> Iterator[AxisSpans]:
        """The same, so many snapshots at a time."""
        for first in range(0, len(self.start_ns), snapshots):
            offsets = self.offsets[first : first + snapshots + 1]
            rows = slice(int(offsets[0]), int(offsets[-1]))
            yield AxisSpans(
                self.low[rows],
                self.high[rows],
                self.rate[rows],
                self.mapping[rows],
                offsets - offsets[0],
                self.start_ns[first : first + snapshots],
                self.end_ns[first : first + snapshots],
                self.unseen[rows],
            )

    def blocks(
        self, line: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Low and high of what regions side by side fill together, and the line of each.

        *line* has one entry a region; regions of different lines stay apart.
        """
        new = np.ones(len(self.low), np.bool_)
        new[1:] = (self.low[1:] != self.high[:-1]) | (line[1:] != line[:-1])
        heads = np.flatnonzero(new)
        tails = np.append(heads, len(new))[1:] - 1
        return self.low[heads], self.high[tails], line[heads]


def spread(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    *,
    line: NDArray[np.int64],
    lines: int,
    edges: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How many bytes of equal cells spans fill, times their weight: shape (lines, cells).

    *low*, *high*, *weight* (1 where it is `None`) and *line* have one entry a span; *edges* bound
    the cells, from 0 on.
    """
    # A span is the difference of two that both reach to the end of the axis. Such a one fills a
    # part of the cell it starts in, and all of those behind: that is two counts a span's end.
    cells = len(edges) - 1
    width = float(edges[-1]) / cells
    wide = cells + 1
    count = lines * wide
    filled, whole = np.zeros(count), np.zeros(count)
    for place, sign in ((low, 1.0), (high, -1.0)):
        position = place / width
        cell = position.astype(np.int64)
        share = cell + 1 - position
        if weight is not None:
            share *= weight
        cell += line * wide
        filled += sign * np.bincount(cell, share, count)
        whole += sign * np.bincount(cell, weight, count)
    behind = np.cumsum(whole.reshape(lines, wide), axis=1)
    total = filled.reshape(lines, wide)
    total[:, 1:] += behind[:, :-1]
    result: NDArray[np.float64] = total[:, :-1] * width
    return result
