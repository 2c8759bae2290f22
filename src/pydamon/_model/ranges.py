"""The algebra of address ranges: arrays of shape (n, 2), in bytes, half open, sorted.

Rows do not overlap unless a function says so. Ranges of several targets become ranges of one line
of numbers with `order_keys`, and the same functions work on those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_size import PAGE_SIZE
from pydamon._model.runs import Runs, expand, running_total, unique

__all__ = [
    "EMPTY",
    "PAGE_SIZE",
    "Cut",
    "Overlaps",
    "Ranges",
    "address_at",
    "amount_within",
    "bytes_below",
    "close_gaps",
    "contains",
    "covered",
    "cut_at",
    "from_order_keys",
    "intersect",
    "join",
    "keyed",
    "locate",
    "order_keys",
    "overlaps",
    "size_of",
    "subtract",
    "touches",
    "union",
]

Ranges = NDArray[np.int64]
"""Address ranges of one target: shape (n, 2), bytes, half open, sorted, without overlap."""

EMPTY: Ranges = np.empty((0, 2), np.int64)
"""No ranges."""

_Addresses = NDArray[np.int64]
_Amounts = NDArray[np.integer] | NDArray[np.floating]
_KEY_BITS = 44
"""Bits of a page number in an order key: enough for addresses of 56 bits."""


def size_of(ranges: Ranges) -> int:
    """Bytes of all ranges together."""
    return int((ranges[:, 1] - ranges[:, 0]).sum())


def union(ranges: Ranges) -> Ranges:
    """The same bytes in as few rows as possible, of rows in any order that may overlap."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    return join(np.stack([ranges[:, 0], reach], axis=1))


def subtract(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of *ranges* that lie in none of *others*; the rows may be in any order."""
    address = np.concatenate([ranges, others]).ravel()
    step = np.concatenate([np.tile([1, -1], len(ranges)), np.tile([-2, 2], len(others))])
    order = np.argsort(address, kind="stable")
    address, depth = address[order], np.cumsum(step[order])
    left = (depth[:-1] == 1) & (address[:-1] < address[1:])
    return np.stack([address[:-1][left], address[1:][left]], axis=1)


class Overlaps(NamedTuple):
    """The pairs of a range and another one that have bytes in common, in the order of both.

    `row` and `other` are the rows of the two, `start` and `end` bound the common bytes.
    """

    row: NDArray[np.intp]
    other: NDArray[np.intp]
    start: _Addresses
    end: _Addresses

    @property
    def size(self) -> NDArray[np.int64]:
        """The common bytes of each pair."""
        return self.end - self.start


def overlaps(ranges: Ranges, others: Ranges) -> Overlaps:
    """Every pair of a row of *ranges* and a row of *others* that overlap.

    Rows of *ranges* may be in any order and overlap each other.
    """
    first = np.searchsorted(others[:, 1], ranges[:, 0], side="right")
    beyond = np.searchsorted(others[:, 0], ranges[:, 1], side="left")
    row, place = expand(np.maximum(beyond - first, 0))
    other = first[row] + place
    return Overlaps(
        row,
        other,
        np.maximum(ranges[row, 0], others[other, 0]),
        np.minimum(ranges[row, 1], others[other, 1]),
    )


def intersect(ranges: Ranges, others: Ranges) -> Ranges:
    """The parts of *ranges* that lie in *others*, a row for each pair that overlaps."""
    pairs = overlaps(ranges, others)
    return np.stack([pairs.start, pairs.end], axis=1)


def join(ranges: Ranges, gap: int = 0) -> Ranges:
    """The same ranges with neighbours joined that are at most *gap* bytes apart."""
    runs = Runs.split(ranges[1:, 0] - ranges[:-1, 1] > gap, len(ranges))
    return np.stack([ranges[runs.heads, 0], ranges[runs.tails, 1]], axis=1)


def close_gaps(ranges: Ranges, most: int) -> Ranges:
    """At most *most* ranges that cover all of *ranges*: the smallest gaps are covered too."""
    if len(ranges) <= most:
        return join(ranges)
    gaps = ranges[1:, 0] - ranges[:-1, 1]
    # Stable: of equal gaps the lowest is kept, as often as this is asked.
    largest = np.argsort(-gaps, kind="stable")[: most - 1]
    kept = np.zeros(len(gaps), np.bool_)
    kept[largest] = gaps[largest] > 0
    runs = Runs.split(kept, len(ranges))
    return np.stack([ranges[runs.heads, 0], ranges[runs.tails, 1]], axis=1)


def locate(ranges: Ranges, address: _Addresses, end: _Addresses | None = None) -> NDArray[np.intp]:
    """The row of *ranges* that each address lies in; -1 for none.

    With *end*, the row that each [address, end) lies in as a whole.
    """
    if not len(ranges):
        return np.full(len(address), -1, np.intp)
    last = address if end is None else end - 1
    row = np.searchsorted(ranges[:, 0], address, side="right") - 1
    return np.where(last < ranges[row, 1], row, -1)


def contains(ranges: Ranges, address: _Addresses) -> NDArray[np.bool_]:
    """Whether each address lies in *ranges*."""
    return locate(ranges, address) >= 0


def touches(ranges: Ranges, start: _Addresses, end: _Addresses) -> NDArray[np.bool_]:
    """Whether each [start, end) has bytes in common with *ranges*."""
    first = np.searchsorted(ranges[:, 1], start, side="right")
    touching: NDArray[np.bool_] = first < np.searchsorted(ranges[:, 0], end, side="left")
    return touching


def bytes_below(ranges: Ranges, address: _Addresses) -> NDArray[np.int64]:
    """How many bytes of *ranges* lie below each address."""
    if not len(ranges):
        return np.zeros(len(address), np.int64)
    before = running_total(ranges[:, 1] - ranges[:, 0])
    at = np.maximum(np.searchsorted(ranges[:, 0], address, side="right") - 1, 0)
    below: NDArray[np.int64] = np.minimum(
        before[at] + np.maximum(address - ranges[at, 0], 0), before[at + 1]
    )
    return below


def address_at(ranges: Ranges, position: NDArray[np.int64]) -> _Addresses:
    """The inverse of `bytes_below`: the address of the byte with so many bytes of *ranges* below.

    A *position* is at least 0. Where it is the bytes of all ranges, the address is their end.
    """
    before = running_total(ranges[:, 1] - ranges[:, 0])
    at = np.minimum(np.searchsorted(before[1:], position, side="right"), len(ranges) - 1)
    address: _Addresses = ranges[at, 0] + position - before[at]
    return address


def covered(ranges: Ranges, start: _Addresses, end: _Addresses) -> NDArray[np.int64]:
    """How many bytes of each [start, end) lie in *ranges*: shape (n,)."""
    return bytes_below(ranges, end) - bytes_below(ranges, start)


def amount_within(
    ranges: Ranges, amounts: _Amounts, start: _Addresses, end: _Addresses
) -> NDArray[np.float64]:
    """How much of the *amounts* of ranges lies in each [start, end).

    The amount of a range is spread evenly over it.
    """
    if not len(ranges):
        return np.zeros(len(start))
    # The amount below an address grows linearly within a range, and stands still between two.
    below = np.repeat(np.cumsum(amounts), 2).astype(np.float64)
    below[::2] -= amounts
    points = ranges.ravel()
    within: NDArray[np.float64] = np.interp(end, points, below) - np.interp(start, points, below)
    return within


class Cut:
    """Pieces of ranges in their order: `index` is the row that each piece is of."""

    __slots__ = ("end", "index", "start")

    def __init__(self, index: NDArray[np.intp], start: _Addresses, end: _Addresses) -> None:
        self.index = index
        self.start = start
        self.end = end


def cut_at(
    target: NDArray[np.int32],
    start: _Addresses,
    end: _Addresses,
    borders: dict[int, _Addresses],
) -> Cut:
    """Cut ranges (sorted by target and address) at the *borders* of their target.

    Borders are addresses in bytes, in any order; those outside all ranges change nothing.
    """
    by_target = {number: unique(addresses) for number, addresses in borders.items()}
    every_border = np.concatenate([EMPTY[:, 0], *by_target.values()])
    first, beyond = np.zeros((2, len(start)), np.intp)
    offset = 0
    for number, addresses in by_target.items():
        rows = slice(*np.searchsorted(target, (number, number + 1)))
        first[rows] = offset + np.searchsorted(addresses, start[rows], side="right")
        beyond[rows] = offset + np.searchsorted(addresses, end[rows], side="left")
        offset += len(addresses)
    inside = np.maximum(beyond - first, 0)
    index, place = expand(1 + inside)
    out_start, out_end = start[index], end[index]
    has_before, has_behind = place > 0, place < inside[index]
    border = first[index] + place
    out_start[has_before] = every_border[border[has_before] - 1]
    out_end[has_behind] = every_border[border[has_behind]]
    return Cut(index, out_start, out_end)


def order_keys(target: NDArray[np.integer], address: _Addresses) -> NDArray[np.int64]:
    """Numbers in the order of targets and of the pages that addresses are in."""
    return (target.astype(np.int64) << _KEY_BITS) + address // PAGE_SIZE


def from_order_keys(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], _Addresses]:
    """The target and the address of the page of each order key."""
    return keys >> _KEY_BITS, (keys & ((1 << _KEY_BITS) - 1)) * PAGE_SIZE


def keyed(ranges: Sequence[Ranges]) -> Ranges:
    """The ranges of each target as ranges of `order_keys`, all in one array."""
    targets = np.repeat(np.arange(len(ranges), dtype=np.int32), list(map(len, ranges)))
    bounds = np.concatenate([EMPTY, *ranges])
    return np.stack([order_keys(targets, bounds[:, 0]), order_keys(targets, bounds[:, 1])], axis=1)
