"""How much of each address was touched: in one window, and in several windows together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.accessed_within import share_within

__all__ = ["TouchedShares", "TouchedWindow", "WindowHistory"]


@dataclass(frozen=True, slots=True)
class TouchedShares:
    """Shares by address: `values[i]` from `edges[i]` to before `edges[i + 1]`.

    `values` has shape (edges, columns). The first column are the shares of the target itself, the
    last those that count in sums over targets. Outside the edges, and from the last one on, the
    shares are 0.
    """

    edges: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def nothing(cls, columns: int) -> Self:
        """Shares of 0 everywhere."""
        return cls(np.zeros(1, np.int64), np.zeros((1, columns)))

    @classmethod
    def of(
        cls, start: NDArray[np.int64], end: NDArray[np.int64], shares: NDArray[np.float64]
    ) -> Self:
        """The shares of regions, which are sorted and do not overlap."""
        if not len(start):
            return cls.nothing(shares.shape[1])
        edges = np.stack([start, end], axis=1).ravel()
        values = np.zeros((len(edges), shares.shape[1]))
        values[::2] = shares
        return cls(edges, values)._joined()

    def largest(self, other: TouchedShares) -> TouchedShares:
        """At each address the larger of the two shares."""
        edges = np.unique(np.concatenate([self.edges, other.edges]))
        values = np.maximum(self._at(edges), other._at(edges))
        return TouchedShares(edges, values)._joined()

    def sums(self) -> NDArray[np.float64]:
        """The touched bytes of each column."""
        lengths = np.diff(self.edges).astype(np.float64)
        sums: NDArray[np.float64] = lengths @ self.values[:-1]
        return sums

    def _at(self, address: NDArray[np.int64]) -> NDArray[np.float64]:
        place = np.searchsorted(self.edges, address, side="right") - 1
        return np.where(place[:, None] >= 0, self.values[place], 0.0)

    def _joined(self) -> Self:
        """The same shares, without empty spans and without neighbours that are equal."""
        last = np.append(self.edges[1:] != self.edges[:-1], True)
        edges, values = self.edges[last], self.values[last]
        differs = np.append(True, (values[1:] != values[:-1]).any(axis=1))
        return type(self)(edges[differs], values[differs])


@dataclass(frozen=True, slots=True)
class TouchedWindow:
    """One window of a target; arrays have one entry a region.

    `touched` are the shares of regions that were touched in the window: shape (regions, columns).
    `access_share` is the share of sampling intervals with an access, and `accessed_within` the
    shares accessed within longer times, as in `Snapshot`.
    """

    start_ns: int
    end_ns: int
    sampling_ns: int
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    touched: NDArray[np.float64]
    access_share: NDArray[np.float64]
    accessed_within: NDArray[np.float64]

    def whole(self) -> TouchedShares:
        """The shares that were touched in the window."""
        return TouchedShares.of(self.start, self.end, self.touched)

    def last(self, time_ns: int) -> TouchedShares:
        """The shares that were touched in the last part of the window, which is so long.

        That is at most what was touched in the window. It is at least the part of what was touched
        that the shorter time has of what is accessed in a time as long as the window.
        """
        length_ns = self.end_ns - self.start_ns
        reached, whole = self._accessed_within(time_ns), self._accessed_within(length_ns)
        part = np.full(len(whole), time_ns / max(1, length_ns))
        np.divide(reached, whole, out=part, where=whole > 0)
        least = self.touched * np.minimum(part, 1)[:, None]
        shares = np.maximum(least, np.minimum(self.touched, reached[:, None]))
        return TouchedShares.of(self.start, self.end, shares)

    def _accessed_within(self, time_ns: int) -> NDArray[np.float64]:
        """The share of each region that is usually accessed within a time.

        Where only `access_share` is known, as if accesses came at random: in a share p of the
        sampling intervals, so that 1 - (1 - p)^n of the pages are accessed within n intervals.
        """
        intervals = time_ns / max(1, self.sampling_ns)
        shares: NDArray[np.float64] = 1 - (1 - self.access_share) ** intervals
        known = np.flatnonzero(~np.isnan(self.accessed_within[:, 0]))
        columns = self.accessed_within[known], self.access_share[known]
        shares[known] = share_within(*columns, intervals)
        return shares


class WindowHistory:
    """The last windows of a target, to ask what was touched within a time.

    Windows are taken together in blocks of 2, 4, 8, ... so that a time of many windows takes a few
    blocks only. A window with the number n is in the block n // 2^level of each level.
    """

    def __init__(self, longest_ns: int, columns: int) -> None:
        self._longest_ns = longest_ns
        self._columns = columns
        self._windows: dict[int, TouchedWindow] = {}
        self._blocks: dict[tuple[int, int], TouchedShares] = {}
        self._first = self._count = 0

    def add(self, window: TouchedWindow) -> None:
        """Add the next window; windows that ended too long ago are forgotten."""
        self._windows[self._count] = window
        self._count += 1
        while self._windows[self._first].end_ns <= window.end_ns - self._longest_ns:
            del self._windows[self._first]
            self._first += 1
            self._forget_blocks()

    def within(self, times_ns: list[int]) -> Iterator[NDArray[np.float64]]:
        """The bytes touched within each time before the end of the last window, by column.

        The times rise.
        """
        now_ns = self._windows[self._count - 1].end_ns
        shares, behind = TouchedShares.nothing(self._columns), self._count
        for time_ns in times_ns:
            first = behind
            while first > self._first and self._windows[first - 1].start_ns >= now_ns - time_ns:
                first -= 1
            shares, behind = self._with_windows(shares, first, behind), first
            yield self._with_last_part(shares, behind - 1, now_ns - time_ns).sums()

    def _with_windows(self, shares: TouchedShares, first: int, behind: int) -> TouchedShares:
        """The largest of some shares, and those of the windows from *first* to before *behind*."""
        while behind > first:
            level = 0
            while behind % (2 << level) == 0 and behind - (2 << level) >= first:
                level += 1
            behind -= 1 << level
            shares = shares.largest(self._block(level, behind >> level))
        return shares

    def _with_last_part(self, shares: TouchedShares, number: int, since_ns: int) -> TouchedShares:
        """The same with what a window has touched since a time, if it ended later."""
        window = self._windows.get(number)
        if window is None or window.end_ns <= since_ns:
            return shares
        return shares.largest(window.last(window.end_ns - since_ns))

    def _block(self, level: int, number: int) -> TouchedShares:
        """The largest shares of the windows of a block."""
        if (level, number) not in self._blocks:
            if level == 0:
                block = self._windows[number].whole()
            else:
                first, second = (self._block(level - 1, 2 * number + half) for half in (0, 1))
                block = first.largest(second)
            self._blocks[level, number] = block
        return self._blocks[level, number]

    def _forget_blocks(self) -> None:
        """Forget the blocks that end with the window before the first."""
        level = 0
        while self._first % (1 << level) == 0 and level < self._first.bit_length():
            self._blocks.pop((level, (self._first >> level) - 1), None)
            level += 1
