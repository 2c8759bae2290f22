"""Adaptive regions adjustment: age, merge, split and fit, over whole columns.

The rules are DAMON's (Linux, Documentation/mm/damon/design.rst, "Adaptive Regions Adjustment").
Merging differs in one way: the kernel merges from left to right, each region into the running
mean of those before it; here neighbours merge in pairs, round after round, which needs as many
rounds as the logarithm of the longest run and no loop over regions.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from pydamon.core.attrs import Attrs
from pydamon.core.regions import PAGE_SIZE, Ranges, RegionTable

__all__ = [
    "age",
    "concatenate",
    "cut",
    "fit",
    "initial",
    "merge",
    "merge_within",
    "rescale",
    "size_limit",
    "split",
    "threshold",
]

_MEANS = ("nr_accesses", "last_nr_accesses", "age", "touched", "unobservable")
_MERGE_DIVISOR = 10
"""Neighbours merge where they differ by at most a tenth of the largest `nr_accesses`."""


def size_limit(total_bytes: int, min_regions: int, min_size: int = PAGE_SIZE) -> int:
    """The largest size in bytes a region may have so that *min_regions* of them really exist."""
    return max(min_size, -(-total_bytes // (min_regions * min_size)) * min_size)


def cut(table: RegionTable, limit: int) -> RegionTable:
    """Cut every region larger than *limit* bytes into pieces of that size and a rest."""
    pieces = -(-table.size // limit)
    if (pieces <= 1).all():
        return table
    return _pieces(table, pieces, np.full(len(table), limit))


def initial(ranges: list[Ranges], min_regions: int) -> RegionTable:
    """Fresh regions over each target's ranges: cut evenly, *min_regions* of them or a few more."""
    target = np.repeat(np.arange(len(ranges), dtype=np.int32), [len(r) for r in ranges])
    bounds = np.concatenate([*ranges, np.empty((0, 2), np.int64)])
    table = RegionTable.of(target, bounds[:, 0], bounds[:, 1])
    total = int(table.size.sum())
    return cut(table, size_limit(total, min_regions)) if total else table


def threshold(nr_accesses: NDArray[np.float64]) -> int:
    """The difference in `nr_accesses` up to which two neighbours count as alike."""
    return int(nr_accesses.max(initial=0)) // _MERGE_DIVISOR


def age(table: RegionTable, alike: int) -> None:
    """Count one aggregation more for regions whose access rate held, 0 for those it changed in.

    A rate has changed where it moved by more than *alike* samples, or from or to nothing at all.
    """
    now, last = np.floor(table.nr_accesses), np.floor(table.last_nr_accesses)
    changed = (np.abs(now - last) > alike) | ((now == 0) != (last == 0))
    table.age = np.where(changed, 0.0, table.age + 1)


def merge(table: RegionTable, alike: int, limit: int) -> RegionTable:
    """Merge neighbours that differ by at most *alike* samples, up to *limit* bytes together."""
    size = table.size.astype(np.float64)
    accesses = table.nr_accesses * size
    adjacent = table.adjacent()
    heads = np.arange(len(table))
    while len(heads) > 1:
        mean = accesses / size
        pairs = adjacent & (np.abs(np.diff(mean)) <= alike) & (size[:-1] + size[1:] <= limit)
        if not pairs.any():
            break
        left = np.flatnonzero(_every_other(pairs))
        size[left] += size[left + 1]
        accesses[left] += accesses[left + 1]
        kept = np.ones(len(heads), np.bool_)
        kept[left + 1] = False
        heads, size, accesses = heads[kept], size[kept], accesses[kept]
        adjacent = np.delete(adjacent, left)
    return _join(table, heads)


def merge_within(
    table: RegionTable, alike: int, limit: int, max_regions: int, most: int
) -> RegionTable:
    """Merge; while more than *max_regions* are left, call twice the difference alike.

    The difference ends at *most*, the number of samples in an aggregation, where all are alike.
    """
    merged = merge(table, alike, limit)
    while len(merged) > max_regions and alike < most:
        alike = min(most, max(1, 2 * alike))
        merged = merge(merged, alike, limit)
    return merged


def split(
    table: RegionTable,
    max_regions: int,
    last_count: int,
    rng: np.random.Generator,
    min_size: int = PAGE_SIZE,
) -> RegionTable:
    """Split regions at random places, so that the next aggregation can find differences in them.

    Two pieces each while at most half of *max_regions* is used; three where the last split
    brought nothing new (*last_count* regions then and now) and a third is not exceeded; above
    half, only as many regions as the bound leaves room for. Children copy every counter.
    """
    count = len(table)
    room = max_regions - count
    if count == 0 or room <= 0:
        return table
    if count <= max_regions // 2:
        chosen = np.ones(count, np.bool_)
    else:
        chosen = np.zeros(count, np.bool_)
        chosen[rng.choice(count, room, replace=False)] = True
    table, left = _split_in_two(table, chosen, rng, min_size)
    if count == last_count and count < max_regions // 3:
        table, _ = _split_in_two(table, left, rng, min_size)
    return table


def fit(table: RegionTable, ranges: list[Ranges]) -> RegionTable:
    """Make the regions of each target cover its new *ranges* exactly, and keep what still holds.

    What lies outside is cut off, what is new becomes fresh regions of age 0. (The kernel
    stretches the outermost regions instead, so that memory mapped a moment ago looks as old as
    its neighbour.)
    """
    parts = []
    for target, wanted in enumerate(ranges):
        old = table.take(table.target == target)
        points = np.unique(np.concatenate([old.start, old.end, wanted.ravel()]))
        start, end = points[:-1], points[1:]
        wanted_here = _inside(start, wanted[:, 0], wanted[:, 1])
        start, end = start[wanted_here], end[wanted_here]
        known = _inside(start, old.start, old.end)
        part = RegionTable.of(target, start, end)
        source = np.searchsorted(old.start, start[known], side="right") - 1
        for name in _MEANS:
            getattr(part, name)[known] = getattr(old, name)[source]
        parts.append(part)
    return concatenate(parts)


def concatenate(tables: list[RegionTable]) -> RegionTable:
    """One table of several; they must be in the order of their targets."""
    if not tables:
        return RegionTable.of([], [], [])
    return RegionTable(
        *(
            np.concatenate([getattr(table, field.name) for table in tables])
            for field in fields(RegionTable)
        )
    )


def rescale(table: RegionTable, old: Attrs, new: Attrs) -> None:
    """Carry counters over a change of attributes, so that they mean the same as before.

    `nr_accesses` keeps its share of the samples of an aggregation, `age` keeps its time.
    """
    samples = new.samples_per_aggregation / old.samples_per_aggregation
    table.nr_accesses = table.nr_accesses * samples
    table.last_nr_accesses = table.last_nr_accesses * samples
    table.age = table.age * old.aggregation_ns / new.aggregation_ns


def _inside(
    points: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each of *points* lies in one of the sorted intervals."""
    if len(start) == 0:
        return np.zeros(len(points), np.bool_)
    index = np.searchsorted(start, points, side="right") - 1
    found: NDArray[np.bool_] = (index >= 0) & (points < end[index])
    return found


def _every_other(pairs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of each run of pairs the first, third, fifth...: no region is then in two pairs."""
    index = np.arange(len(pairs))
    begins = pairs & ~np.append(False, pairs[:-1])
    run_start = np.maximum.accumulate(np.where(begins, index, 0))
    return pairs & ((index - run_start) % 2 == 0)


def _join(table: RegionTable, heads: NDArray[np.intp]) -> RegionTable:
    """One region for each run of regions that begins at one of *heads*; means by size."""
    if len(heads) == len(table):
        return table
    weight = table.size.astype(np.float64)
    total = np.add.reduceat(weight, heads)
    means = {
        name: np.add.reduceat(getattr(table, name) * weight, heads) / total for name in _MEANS
    }
    tails = np.append(heads[1:], len(table)) - 1
    return RegionTable(table.target[heads], table.start[heads], table.end[tails], **means)


def _split_in_two(
    table: RegionTable, chosen: NDArray[np.bool_], rng: np.random.Generator, min_size: int
) -> tuple[RegionTable, NDArray[np.bool_]]:
    """Split the *chosen* regions that are large enough; also says which results are left parts."""
    tenths = rng.integers(1, 10, len(table))
    left = table.size // 10 * tenths // min_size * min_size
    possible = chosen & (left > 0)
    pieces = 1 + possible.astype(np.int64)
    is_left = np.zeros(int(pieces.sum()), np.bool_)
    is_left[(np.cumsum(pieces) - pieces)[possible]] = True
    return _pieces(table, pieces, np.where(possible, left, table.size)), is_left


def _pieces(
    table: RegionTable, pieces: NDArray[np.int64], step: NDArray[np.int64]
) -> RegionTable:
    """Repeat region i *pieces[i]* times; all pieces but the last are *step[i]* bytes long."""
    out = table.take(np.repeat(np.arange(len(table)), pieces))
    first = np.cumsum(pieces) - pieces
    order = np.arange(len(out)) - np.repeat(first, pieces)
    steps = np.repeat(step, pieces)
    origin = out.start
    out.start = origin + order * steps
    out.end = np.where(order == np.repeat(pieces, pieces) - 1, out.end, out.start + steps)
    return out
