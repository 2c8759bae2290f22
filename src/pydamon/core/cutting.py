"""Cut regions at given addresses, over whole columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import Ranges, RegionTable

__all__ = ["Cut", "cut_at", "reset_age"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Pieces of regions, in their order: of which one each is, and from where to where."""

    index: NDArray[np.intp]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


def cut_at(
    target: NDArray[np.int32],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    borders: dict[int, NDArray[np.int64]],
) -> Cut:
    """The pieces of regions (sorted by target and address) that *borders* of their target make.

    Borders are addresses in bytes, in any order; those outside all regions change nothing.
    """
    inside = np.zeros(len(start), np.intp)
    first = np.zeros(len(start), np.intp)
    sorted_borders = [np.unique(borders[number]) for number in borders]
    base = 0
    for number, addresses in zip(borders, sorted_borders, strict=True):
        low, high = np.searchsorted(target, (number, number + 1))
        first[low:high] = np.searchsorted(addresses, start[low:high], side="right")
        behind = np.searchsorted(addresses, end[low:high], side="left")
        inside[low:high] = np.maximum(behind - first[low:high], 0)
        first[low:high] += base
        base += len(addresses)
    index = np.repeat(np.arange(len(start)), 1 + inside)
    order = np.arange(len(index)) - np.repeat(np.cumsum(1 + inside) - 1 - inside, 1 + inside)
    out_start, out_end = start[index], end[index]
    if base:
        all_borders = np.concatenate(sorted_borders)
        later, sooner = order > 0, order < inside[index]
        out_start[later] = all_borders[first[index[later]] + order[later] - 1]
        out_end[sooner] = all_borders[first[index[sooner]] + order[sooner]]
    return Cut(index, out_start, out_end)


def reset_age(table: RegionTable, target: int, ranges: Ranges) -> RegionTable:
    """The table with an age of 0 for what lies in *ranges*, cut where they begin and end."""
    cut = cut_at(table.target, table.start, table.end, {target: ranges.ravel()})
    table = table.take(cut.index)
    table.start, table.end = cut.start, cut.end
    at = np.searchsorted(ranges[:, 0], table.start, side="right") - 1
    inside = (table.target == target) & (at >= 0) & (table.start < ranges[at, 1])
    table.age_ns[inside] = 0.0
    return table
