"""Spots: small places that stand for memory that is too large to look at every page of it.

Hot memory of some size shows in evenly spread spots. Where it begins and ends is then narrowed
down between two spots that differ, round by round, as in a binary search. The cost is that of the
spots, whatever the size of the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import PAGE_SIZE, order_keys
from pydamon._model.regions import RegionTable
from pydamon._model.runs import Runs

__all__ = ["SPOT_BYTES", "Spots", "apply_spots", "choose"]

SPOT_BYTES = 64 * PAGE_SIZE
"""The size of a spot: one clear resets so much for little more than a single page costs."""
_CONTRAST = 0.5
"""Two spots whose shares differ by more than this plainly differ."""
_PLAIN = 3 * PAGE_SIZE / SPOT_BYTES
"""A spot with so many touched pages plainly differs from one with none."""
_TRUST = 2
"""What was known of a region weighs as much as so many spots."""
_ENOUGH = 3
"""From so many spots in a region on, their spread tells whether its share has changed."""
_SLIGHT = 0.02
"""A smaller change of a region's share is none."""
_BETWEEN = 3
"""Spots between two that differ: each round leaves a quarter of the gap."""


@dataclass(frozen=True, slots=True)
class Spots:
    """Spots sorted by target and address: arrays of one length.

    `touched` is the share of each spot that was touched in the window, and `touched_early` that of
    the first quarter of the window; NaN where nothing is known.
    """

    target: NDArray[np.int32]
    address: NDArray[np.int64]
    touched: NDArray[np.float64]
    touched_early: NDArray[np.float64]

    @classmethod
    def none(cls) -> Self:
        """No spots."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.address)

    def take(self, index: NDArray[np.bool_]) -> Self:
        """The spots that *index* picks."""
        return type(self)(
            self.target[index],
            self.address[index],
            self.touched[index],
            self.touched_early[index],
        )

    def differ(self) -> NDArray[np.bool_]:
        """Whether two neighbours in one target plainly differ: shape (n - 1,)."""
        differ = _plainly_differ(self.touched[1:], self.touched[:-1])
        differ &= self.target[1:] == self.target[:-1]
        return differ

    def at_borders(self, most: int) -> Self:
        """The pairs of neighbours that plainly differ, about *most* spots."""
        if not len(self):
            return self
        differ = self.differ()
        borders = np.flatnonzero(differ)
        if 2 * len(borders) > most:
            differ[:] = False
            differ[borders[:: 2 * len(borders) // most + 1]] = True
        return self.take(np.append(differ, False) | np.append(False, differ))


def choose(table: RegionTable, before: Spots, count: int, rng: np.random.Generator) -> Spots:
    """About *count* spots to look at, of which nothing is known yet; each lies inside a region.

    These are the spots of the round *before* between which something begins or ends, some spots
    between those, one spot in each region that is in use as far as is known, and as many more as
    are left: evenly spread over the memory, each at a random place of its part.
    """
    kept = before.at_borders(count // 3)
    left = np.flatnonzero(kept.differ())
    gap = kept.address[left + 1] - kept.address[left]
    part = (np.arange(_BETWEEN) + rng.random((len(left), _BETWEEN))) / _BETWEEN
    between = (kept.address[left][:, None] + part * gap[:, None]).astype(np.int64).ravel()
    used, inside = _in_use(table, count // 4, rng)
    rest = count - len(kept) - len(between) - len(used)
    region, spread = _spread(table, max(count // 4, rest), rng)
    target = np.concatenate(
        [
            kept.target,
            np.repeat(kept.target[left], _BETWEEN),
            table.target[used],
            table.target[region],
        ]
    )
    address = np.concatenate([kept.address, between, inside, spread]) // SPOT_BYTES * SPOT_BYTES
    region = table.at(target, address)
    whole = (region >= 0) & (address + SPOT_BYTES <= table.end[region])
    keys, first = np.unique(order_keys(target, address)[whole], return_index=True)
    unknown = np.full(len(keys), np.nan)
    return Spots(target[whole][first], address[whole][first], unknown, unknown)


def apply_spots(table: RegionTable, spots: Spots, max_regions: int) -> RegionTable:
    """Update the regions from the spots in them.

    A region is split half-way between spots that plainly differ, as long as there are at most
    *max_regions* in all; each part gets the mean of its spots. A region whose spots agree with what
    was known of it stays as it is.
    """
    spots = spots.take(~np.isnan(spots.touched))
    region = table.at(spots.target, spots.address)
    spots, region = spots.take(region >= 0), region[region >= 0]
    if not len(spots):
        return table
    same_region = region[1:] == region[:-1]
    is_split = _at_most(same_region & spots.differ(), spots.touched, max_regions - len(table))
    out, parts = _split_between(table, spots, region, np.flatnonzero(is_split))
    # One group of neighbouring spots for each part of a region that has any.
    groups = Runs.split(~same_region | is_split, len(spots))
    group_region = region[groups.heads]
    place = np.arange(len(groups)) - np.searchsorted(group_region, group_region)
    first_part = np.cumsum(parts) - parts
    _update(out, first_part[group_region] + place, spots, groups, parts[group_region] > 1)
    return out


def _split_between(
    table: RegionTable, spots: Spots, region: NDArray[np.intp], left: NDArray[np.intp]
) -> tuple[RegionTable, NDArray[np.intp]]:
    """Split regions half-way between each spot in *left* and the next one.

    Returns the table of the parts, and how many parts each region has.
    """
    middle = (spots.address[left] + SPOT_BYTES + spots.address[left + 1]) // 2
    middle = middle // PAGE_SIZE * PAGE_SIZE
    parts = 1 + np.bincount(region[left], minlength=len(table))
    source = np.repeat(np.arange(len(table)), parts)
    out = table.take(source)
    behind = np.flatnonzero(source[1:] == source[:-1]) + 1
    out.start[behind], out.end[behind - 1] = middle, middle
    return out, parts


def _update(
    table: RegionTable,
    index: NDArray[np.intp],
    spots: Spots,
    groups: Runs,
    was_split: NDArray[np.bool_],
) -> None:
    """Set what is touched of the regions at *index*, from one of the *groups* of spots each.

    *was_split* says whether a region is a part of one that was split just now.
    """
    count = groups.lengths
    mean, mean_early = groups.sum(spots.touched) / count, groups.sum(spots.touched_early) / count
    old = table.touched[index]
    weight = 1 / (1 + _TRUST / count)
    spread = np.sqrt(np.maximum(groups.sum(spots.touched**2) / count - mean**2, 0))
    moved = (count >= _ENOUGH) & (np.abs(mean - old) > 3 * spread / np.sqrt(count) + _SLIGHT)
    weight = np.where(moved | _plainly_differ(old, mean), weight, 0)
    weight = np.where(was_split | np.isnan(old), 1, weight)
    for column, means in ((table.touched, mean), (table.touched_early, mean_early)):
        column[index] = weight * means + (1 - weight) * np.nan_to_num(column[index])
    table.misses_since_hit[index] *= weight == 0


def _plainly_differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether two shares differ by more than chance and a mixed pattern explain."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    differ: NDArray[np.bool_] = (high - low > _CONTRAST) | ((low == 0) & (high >= _PLAIN))
    return differ


def _at_most(
    is_split: NDArray[np.bool_], touched: NDArray[np.float64], most: int
) -> NDArray[np.bool_]:
    """The splits between spots with the largest differences, no more than *most*."""
    at = np.flatnonzero(is_split)
    least_first = np.argsort(np.abs(touched[at + 1] - touched[at]), kind="stable")
    is_split[at[least_first[: max(0, len(at) - max(0, most))]]] = False
    return is_split


def _in_use(
    table: RegionTable, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Up to *most* regions with something in use, the most used first; an address in each."""
    used = np.nan_to_num(table.touched) * table.size
    region = np.argsort(-used, kind="stable")[:most]
    region = region[used[region] > 0]
    return region, table.start[region] + rng.integers(0, table.size[region])


def _spread(
    table: RegionTable, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Random regions and addresses, one in each of *count* equal parts of the memory."""
    ends = np.cumsum(table.size)
    at = ((np.arange(count) + rng.random(count)) / count * ends[-1]).astype(np.int64)
    region = np.searchsorted(ends, at, side="right")
    return region, table.end[region] - (ends[region] - at)
