"""An address axis without the gaps between mappings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AddressAxis", "covered"]


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
