"""Stretches of memory of which every page is looked at, and flat arrays of their pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import (
    PAGE_SIZE,
    Ranges,
    from_order_keys,
    locate,
    order_keys,
    overlaps,
)
from pydamon._model.runs import running_total

__all__ = ["Stretches"]


@dataclass(frozen=True)
class Stretches:
    """Parts of the memory of several targets: arrays of one length.

    `start` and `end` are bytes, whole pages. What is known of single pages stands in *flat*
    arrays: one entry a page, the pages of one stretch behind those of the one before.
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int]]) -> Self:
        """From (target, start, end) rows."""
        columns = np.array(rows, np.int64).reshape(-1, 3)
        return cls(columns[:, 0].astype(np.int32), columns[:, 1], columns[:, 2])

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def pages(self) -> NDArray[np.int64]:
        """How many pages each stretch has."""
        return (self.end - self.start) // PAGE_SIZE

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where the pages of each stretch begin in a flat array, and its length: shape (n + 1,)."""
        return running_total(self.pages)

    @cached_property
    def keys(self) -> Ranges:
        """The stretches as ranges of `order_keys`."""
        first = order_keys(self.target, self.start)
        return np.stack([first, first + self.pages], axis=1)

    def cut_at(self, keys: NDArray[np.int64]) -> Stretches:
        """The same pages in more stretches: one begins at each of these order keys."""
        stretch = locate(self.keys, keys)
        inside = keys[stretch >= 0]
        inside = inside[inside > self.keys[stretch[stretch >= 0], 0]]
        if not len(inside):
            return self
        target, address = from_order_keys(inside)
        order = np.argsort(np.concatenate([self.keys[:, 0], inside]), kind="stable")
        start = np.concatenate([self.start, address])[order]
        end = np.append(start[1:], 0)
        # A stretch ends where the next one begins, unless it is the last part of what it was.
        last = np.append(order[1:] < len(self), True)
        end[last] = self.end
        return Stretches(np.concatenate([self.target, target.astype(np.int32)])[order], start, end)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Stretches:
        """The stretches that *index* picks."""
        return Stretches(self.target[index], self.start[index], self.end[index])

    def slices(self) -> list[slice]:
        """Where the pages of each stretch stand in a flat array."""
        offsets = self.offsets.tolist()
        return list(map(slice, offsets[:-1], offsets[1:]))

    def of_pages(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A flat array with the value of its stretch for each page."""
        return np.repeat(values, self.pages)

    def place_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in a flat array the page of each order key stands; the stretches hold them all."""
        stretch = locate(self.keys, keys)
        places: NDArray[np.int64] = self.offsets[stretch] + keys - self.keys[stretch, 0]
        return places

    def keys_at(self, places: NDArray[np.intp]) -> NDArray[np.int64]:
        """The order keys of the pages at some places of a flat array."""
        stretch = np.searchsorted(self.offsets, places, side="right") - 1
        keys: NDArray[np.int64] = self.keys[stretch, 0] + places - self.offsets[stretch]
        return keys

    def pages_in(self, ranges: Ranges) -> NDArray[np.bool_]:
        """Which pages lie in ranges of `order_keys`: flat."""
        pairs = overlaps(self.keys, ranges)
        first = self.offsets[pairs.row] + pairs.start - self.keys[pairs.row, 0]
        step = np.zeros(int(self.offsets[-1]) + 1, np.int8)
        step[first] += 1
        np.add.at(step, first + pairs.size, -1)
        inside: NDArray[np.bool_] = np.cumsum(step[:-1]) > 0
        return inside
