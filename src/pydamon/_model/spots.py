"""Spots: small places looked at in memory that is too large to look at all of it.

Hot memory of some size shows in evenly spread spots. Where it begins and ends is then narrowed
down between the two spots that differ, round by round, as one looks up a word in a dictionary.
The cost is that of the spots, whatever the memory's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import PAGE_SIZE, RegionTable, order_keys

__all__ = ["SPOT_BYTES", "Spots", "apply_spots", "choose"]

SPOT_BYTES = 64 * PAGE_SIZE
"""As much as one clear resets for little more than a single page costs."""
_CONTRAST = 0.5
_PLAIN = 3 * PAGE_SIZE / SPOT_BYTES
"""A spot with so many accessed pages is no chance find beside one with none."""
_TRUST = 2
"""What was known of a region counts as so many spots."""
_ENOUGH, _SLIGHT = 3, 0.02
"""So many spots tell how much they vary, and so from which difference on a share has changed."""
_BETWEEN = 3
"""Spots between two that differ: the gap is a quarter of what it was after each round."""


@dataclass(frozen=True, slots=True)
class Spots:
    """Spots sorted by target and address, and the share of each that was touched (NaN: unknown).

    `early` is what was touched of that in the first quarter of the window.
    """

    target: NDArray[np.int32]
    address: NDArray[np.int64]
    share: NDArray[np.float64]
    early: NDArray[np.float64]

    @classmethod
    def none(cls) -> Self:
        """No spots."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.address)

    def take(self, which: NDArray[np.bool_]) -> Self:
        """Those that are picked."""
        return type(self)(
            self.target[which], self.address[which], self.share[which], self.early[which]
        )

    def differ(self) -> NDArray[np.bool_]:
        """For each pair of neighbours whether they plainly differ."""
        differ = _plainly_differ(self.share[1:], self.share[:-1])
        differ &= self.target[1:] == self.target[:-1]
        return differ

    def at_borders(self, most: int) -> Self:
        """The spots between which something begins or ends, about *most* of them."""
        if not len(self):
            return self
        differ = self.differ()
        borders = np.flatnonzero(differ)
        if 2 * len(borders) > most:
            differ[:] = False
            differ[borders[:: 2 * len(borders) // most + 1]] = True
        return self.take(np.append(differ, False) | np.append(False, differ))


def choose(table: RegionTable, before: Spots, count: int, rng: np.random.Generator) -> Spots:
    """About *count* spots to look at, with no share yet; whole spots inside of regions only.

    Those *before* between which something begins or ends, some between them, one in each region
    that is in use, as far as is known, and as many more as are left evenly spread over the memory,
    each at a random place of its part.
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
    region = _regions_of(table, target, address)
    whole = (region >= 0) & (address + SPOT_BYTES <= table.end[region])
    keys, which = np.unique(order_keys(target, address)[whole], return_index=True)
    unknown = np.full(len(keys), np.nan)
    return Spots(target[whole][which], address[whole][which], unknown, unknown)


def apply_spots(table: RegionTable, spots: Spots, most: int) -> RegionTable:
    """What spots tell of the regions around them.

    A region is split half-way between spots that plainly differ, up to *most* regions in all; each
    part is as its spots are. A region whose spots agree with what was known of it stays.
    """
    spots = spots.take(~np.isnan(spots.share))
    region = _regions_of(table, spots.target, spots.address)
    spots, region = spots.take(region >= 0), region[region >= 0]
    if not len(spots):
        return table
    address, share = spots.address, spots.share
    same = region[1:] == region[:-1]
    cut = _at_most(same & spots.differ(), share, most - len(table))
    before = np.flatnonzero(cut)
    middle = (address[before] + SPOT_BYTES + address[before + 1]) // 2 // PAGE_SIZE * PAGE_SIZE
    parts = 1 + np.bincount(region[before], minlength=len(table))
    source = np.repeat(np.arange(len(table)), parts)
    out = table.take(source)
    behind = np.flatnonzero(source[1:] == source[:-1]) + 1
    out.start[behind], out.end[behind - 1] = middle, middle
    # One group of spots on end for each part of a region that has any.
    head = np.flatnonzero(np.append(True, ~same | cut))
    count = np.diff(np.append(head, len(share)))
    mean, early = (np.add.reduceat(column, head) / count for column in (share, spots.early))
    of = region[head]
    at = (np.cumsum(parts) - parts)[of] + np.arange(len(head)) - np.searchsorted(of, of)
    old = out.touched[at]
    new = 1 / (1 + _TRUST / count)
    spread = np.sqrt(np.maximum(np.add.reduceat(share**2, head) / count - mean**2, 0))
    moved = (count >= _ENOUGH) & (np.abs(mean - old) > 3 * spread / np.sqrt(count) + _SLIGHT)
    new = np.where(moved | _plainly_differ(old, mean), new, 0)
    new = np.where((parts[of] > 1) | np.isnan(old), 1, new)
    for column, told in ((out.touched, mean), (out.early, early)):
        column[at] = new * told + (1 - new) * np.nan_to_num(column[at])
    out.missed[at] *= new == 0
    return out


def _plainly_differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether two shares differ by more than chance and a mixed pattern explain."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    differ: NDArray[np.bool_] = (high - low > _CONTRAST) | ((low == 0) & (high >= _PLAIN))
    return differ


def _at_most(cut: NDArray[np.bool_], share: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    """The cuts with the largest differences, no more than *most*."""
    at = np.flatnonzero(cut)
    least_first = np.argsort(np.abs(share[at + 1] - share[at]), kind="stable")
    cut[at[least_first[: max(0, len(at) - max(0, most))]]] = False
    return cut


def _regions_of(
    table: RegionTable, target: NDArray[np.int32], address: NDArray[np.int64]
) -> NDArray[np.intp]:
    """The region that each address is in, -1 for none."""
    starts = order_keys(table.target, table.start)
    region = np.searchsorted(starts, order_keys(target, address), side="right") - 1
    inside = (region >= 0) & (table.target[region] == target) & (address < table.end[region])
    return np.where(inside, region, -1)


def _in_use(
    table: RegionTable, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Up to *most* regions with something in use, those with the most of it; an address in each."""
    used = np.nan_to_num(table.touched) * table.size
    region = np.argsort(-used, kind="stable")[:most]
    region = region[used[region] > 0]
    return region, table.start[region] + rng.integers(0, table.size[region])


def _spread(
    table: RegionTable, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Regions and addresses, each at random in one of *count* equal parts of the memory."""
    ends = np.cumsum(table.size)
    at = ((np.arange(count) + rng.random(count)) / count * ends[-1]).astype(np.int64)
    region = np.searchsorted(ends, at, side="right")
    return region, table.end[region] - (ends[region] - at)
