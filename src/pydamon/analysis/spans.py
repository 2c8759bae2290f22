"""Regions as spans on an address axis, and how much of its cells they fill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AxisSpans", "spread"]


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
