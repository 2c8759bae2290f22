"""Adaptive regions adjustment: age, merge, split and fit, over whole columns.

The rules are DAMON's (Linux, Documentation/mm/damon/design.rst, "Adaptive Regions Adjustment").
Merging differs in one way: the kernel merges from left to right, each region into the running
mean of those before it; here neighbours merge in pairs, round after round, which needs as many
rounds as the logarithm of the longest run and no loop over regions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import EMPTY, PAGE_SIZE, Ranges
from pydamon._model.regions import MEANS, RegionTable, join_regions
from pydamon._model.runs import expand

__all__ = [
    "Levels",
    "age",
    "cut",
    "disjoint",
    "fit",
    "in_contrast",
    "initial",
    "merge",
    "merge_within",
    "rescale_counts",
    "size_limit",
    "split",
    "threshold",
    "touched_in",
]

_MERGE_DIVISOR = 10
"""Neighbours merge where they differ by at most a tenth of the largest `nr_accesses`."""
_STEEPNESS = 100.0
"""Of the scale of `Levels`: linear up to a hundredth of the samples, logarithmic above."""
_DEVIATIONS = 2.0
"""Rates that differ by so many standard deviations differ by more than chance."""
_SURE_EPOCHS = 10
"""Rates from so many epochs are sure enough to keep what exact looks cannot tell apart."""
_LEVELS = 16
"""Neighbours merge where their levels differ by at most this part of the largest."""
_LEAST_LEVELS = 0.05
"""Where too many regions are left, differences of levels up to this come first."""
_CONTRAST = 0.5
"""Shares touched that differ by more than this part of the larger one are in contrast."""
_HEAT_CONTRAST = 0.08
"""The same for `heat`, which differs less than the rates that it tells apart."""
_QUARTERS = 4
"""`touched_early` is of a quarter of the aggregation."""
_SURE = 1 - 1e-9
"""Larger shares count as this one: where all pages are touched, the hazard would be infinite."""
_MAX_ROUNDS = 64
"""Several times what a merge takes, except where each join does no more than make the next one
possible: such a chain goes on after the next aggregation, so that no pattern makes a merge slow."""


def size_limit(total_bytes: int, min_regions: int, min_size: int = PAGE_SIZE) -> int:
    """The largest size in bytes a region may have so that there are *min_regions* of them.

    It is a multiple of *min_size*, rounded up as in the kernel: a target of fewer than
    `min_regions ** 2` times *min_size* can end up with a few regions less.
    """
    return max(min_size, -(-total_bytes // (min_regions * min_size)) * min_size)


def cut(table: RegionTable, limit: int) -> RegionTable:
    """Cut every region larger than *limit* bytes into pieces of that size and a rest."""
    pieces = -(-table.size // limit)
    if (pieces == 1).all():
        return table
    region, place = expand(pieces)
    out = table.take(region)
    out.start = out.start + place * limit
    out.end = np.minimum(out.end, out.start + limit)
    return out


def initial(ranges: list[Ranges], min_regions: int) -> RegionTable:
    """Fresh regions over each target's ranges: cut evenly, *min_regions* of them or a few more."""
    target, bounds = _columns(ranges)
    table = RegionTable.of(target, bounds[:, 0], bounds[:, 1])
    return cut(table, size_limit(int(table.size.sum()), min_regions))


def threshold(nr_accesses: NDArray[np.float64]) -> int:
    """The difference in `nr_accesses` up to which two neighbours count as alike."""
    return int(nr_accesses.max(initial=0)) // _MERGE_DIVISOR


def age(table: RegionTable, alike: float, elapsed_ns: int, levels: Levels | None = None) -> None:
    """Let regions grow older by *elapsed_ns*; where the access rate changed, the age becomes 0.

    A rate has changed where it moved by more than *alike* samples, or from or to 0. With *levels*,
    *alike* is a difference of levels, and a rate has changed where that is beyond chance, too.
    """
    if levels is None:
        now, last = np.floor(table.nr_accesses), np.floor(table.last_nr_accesses)
        changed = (np.abs(now - last) > alike) | ((now == 0) != (last == 0))
    else:
        moved = np.abs(levels.now - levels.last)
        changed = moved > np.maximum(alike, levels.slack)
        changed |= (table.nr_accesses > 0) != (table.last_nr_accesses > 0)
    table.age_ns = np.where(changed, 0.0, table.age_ns + elapsed_ns)


class Levels(NamedTuple):
    """Access rates on a scale on which equal differences matter equally, with their uncertainty.

    On a linear scale, whatever is accessed less often than a tenth of the most is alike.
    """

    now: NDArray[np.float64]
    last: NDArray[np.float64]
    slack: NDArray[np.float64]
    """Differences up to about this are chance."""

    @classmethod
    def of(cls, table: RegionTable, samples: int) -> Levels:
        """The levels of rates of so many *samples*: from 0 to 1."""
        deviation = np.nan_to_num(table.deviation)
        now, last, above, below = (
            np.log1p(_STEEPNESS * np.clip(accesses / samples, 0, 1)) / np.log1p(_STEEPNESS)
            for accesses in (
                table.nr_accesses,
                table.last_nr_accesses,
                table.nr_accesses + deviation,
                table.nr_accesses - deviation,
            )
        )
        return cls(now, last, _DEVIATIONS * (above - below) / 2)

    @property
    def alike(self) -> float:
        """The difference up to which two neighbours count as alike, whatever chance does."""
        return float(self.now.max(initial=0)) / _LEVELS


def differ_in_rate(table: RegionTable, samples: int) -> NDArray[np.bool_]:
    """Which neighbours surely have different rates, by many epochs of both: shape (n - 1,)."""
    levels = Levels.of(table, samples)
    levels = levels._replace(now=np.maximum(levels.now, levels.last))
    chance = np.hypot(levels.slack[1:], levels.slack[:-1])
    known = table.evidence[:, 1] >= _SURE_EPOCHS
    differ: NDArray[np.bool_] = np.abs(np.diff(levels.now)) > np.maximum(chance, levels.alike)
    return differ & known[1:] & known[:-1]


def merge(table: RegionTable, alike: float, limit: int) -> RegionTable:
    """Merge neighbours that differ by at most *alike* samples, up to *limit* bytes together."""
    merging = _Merging(table)
    merging.run(alike, limit)
    return merging.result()


def merge_within(
    table: RegionTable,
    alike: float,
    limit: int,
    max_regions: int,
    most: float,
    *,
    keep_contrasts: bool = False,
    levels: Levels | None = None,
) -> RegionTable:
    """Merge; while more than *max_regions* are left, merge again with twice the difference.

    The difference ends at *most*, the number of samples in an aggregation: then all rates are
    alike. If only *limit* still keeps regions apart, the smallest neighbours merge beyond it,
    because the bound on the cost comes first (the kernel stays above the maximum). More regions
    are left only where there are more separate ranges. With *keep_contrasts*, neighbours whose
    `touched` shares clearly differ stay apart, as far as the maximum allows. With *levels*, *alike*
    and *most* are differences of levels.
    """
    merging = _Merging(table, levels)
    if keep_contrasts:
        merging.keep_contrasts()
        merging.run(alike, limit)
        if len(merging) <= max_regions:
            return merging.result()
        merging = _Merging(table, levels)
    merging.run(alike, limit)
    while len(merging) > max_regions and alike < most:
        alike = min(most, max(1 if levels is None else _LEAST_LEVELS, 2 * alike))
        merging.run(alike, limit)
    if len(merging) > max_regions:
        merging.merge_smallest(len(merging) - max_regions)
    return merging.result()


def split(
    table: RegionTable,
    max_regions: int,
    last_count: int,
    rng: np.random.Generator,
    min_size: int = PAGE_SIZE,
    share: float = 1.0,
) -> RegionTable:
    """Split regions, so that the next aggregation can find differences in them.

    A region with a `split_hint` is split there, every other one at a random place. Regions become
    two pieces while at most half of *max_regions* is used, and three where the last split brought
    nothing new (*last_count* regions then and now) and at most a third is used. Above half, only
    as many regions split as the bound leaves room for. Children copy every counter. (The kernel
    has no hints, and does not split regions of two pages.) With a *share* below 1, only so many of
    the regions without a hint split, chosen at random.
    """
    count = len(table)
    room = max_regions - count
    if count == 0 or room <= 0:
        return table
    if count <= max_regions // 2:
        chosen = np.ones(count, np.bool_)
    else:
        chosen = np.zeros(count, np.bool_)
        chosen[rng.choice(count, room, replace=False, shuffle=False)] = True
    if share < 1:
        hinted = (table.split_hint > table.start) & (table.split_hint < table.end)
        chosen &= hinted | (rng.random(count) < share)
    table, left = _split_in_two(table, chosen, rng, min_size)
    if count == last_count and count < max_regions // 3:
        table, _ = _split_in_two(table, left, rng, min_size)
    return table


def fit(table: RegionTable, ranges: list[Ranges]) -> RegionTable:
    """Make the regions of each target cover its new *ranges* exactly.

    Regions inside keep their figures, what lies outside is cut off, and new memory becomes fresh
    regions of age 0. (The kernel stretches the outermost regions instead, so that memory mapped a
    moment ago looks as old as its neighbour.)
    """
    wanted_target, wanted = _columns(ranges)
    n, m = len(table), len(wanted)
    address = np.concatenate([table.start, table.end, wanted[:, 0], wanted[:, 1]])
    target = np.concatenate([table.target, table.target, wanted_target, wanted_target])
    order = np.lexsort((address, target))
    address, target = address[order], target[order]
    # One piece lies between two borders in this order. The old regions (and wanted ranges) that
    # cover it are those that have begun before it, less those that have ended.
    opened = np.repeat(np.array([1, -1, 0], np.int8), [n, n, 2 * m])[order]
    asked = np.repeat(np.array([0, 1, -1], np.int8), [2 * n, m, m])[order]
    source = np.cumsum(opened == 1) - 1
    is_piece = (address[:-1] < address[1:]) & (np.cumsum(asked)[:-1] > 0)
    piece = np.flatnonzero(is_piece)
    known = np.cumsum(opened)[piece] > 0
    out = RegionTable.of(target[piece], address[piece], address[piece + 1])
    for name in MEANS:
        getattr(out, name)[known] = getattr(table, name)[source[piece[known]]]
    return out


def rescale_counts(table: RegionTable, old_samples: int, new_samples: int) -> None:
    """Keep the access rates when an aggregation has another number of samples from now on."""
    # Multiply first: a count that stays whole must not end up just below it.
    table.nr_accesses = table.nr_accesses * new_samples / old_samples
    table.last_nr_accesses = table.last_nr_accesses * new_samples / old_samples


def touched_in(
    table: RegionTable, factor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`touched` and `touched_early` of a window that is *factor* times as long.

    How they grow shows in what a quarter of the window touched. Where some pages are in constant
    use and the others are idle, nothing grows; where all pages are accessed at random with one
    chance, the untouched share shrinks exponentially. In between, the exponent is a power of the
    time. Only resident pages can be touched, and only observable ones were seen to be.
    """
    possible = np.nan_to_num(table.resident, nan=1) - table.unobservable
    possible = np.maximum(possible, np.maximum(np.nan_to_num(table.touched), 1e-9))
    hazard, early_hazard = (
        -np.log1p(-np.minimum(share / possible, _SURE))
        for share in (table.touched, table.touched_early)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.log(hazard / early_hazard) / np.log(_QUARTERS)
    growth = factor ** np.clip(np.nan_to_num(power), 0, 1)
    return -possible * np.expm1(-hazard * growth), -possible * np.expm1(-early_hazard * growth)


def _columns(ranges: list[Ranges]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The ranges of all targets as one array, and the target of each."""
    target = np.repeat(np.arange(len(ranges), dtype=np.int32), list(map(len, ranges)))
    return target, np.concatenate([EMPTY, *ranges])


def in_contrast(shares: NDArray[np.float64], contrast: float = _HEAT_CONTRAST) -> NDArray[np.bool_]:
    """Which neighbours have clearly different shares: shape (n - 1,).

    NaN is in contrast with nothing.
    """
    left, right = shares[:-1], shares[1:]
    differ: NDArray[np.bool_] = np.abs(right - left) > contrast * np.maximum(left, right)
    return differ


class _Merging:
    """A merge under way: the columns that decide which neighbours merge.

    `heads` are the first regions of the runs that have become one region; the other columns of
    the table follow once, at the end.
    """

    def __init__(self, table: RegionTable, levels: Levels | None = None) -> None:
        self.table = table
        self.heads = np.arange(len(table))
        self.size = table.size.astype(np.float64)
        self.accesses = (table.nr_accesses if levels is None else levels.now) * self.size
        self.slack = np.zeros(len(table)) if levels is None else levels.slack * self.size
        # A region that nobody has looked at yet does not merge with one that is known.
        self.adjacent = table.adjacent() & ((table.seen[1:] > 0) == (table.seen[:-1] > 0))

    def __len__(self) -> int:
        return len(self.heads)

    def keep_contrasts(self) -> None:
        """Do not merge where surveys saw one neighbour accessed clearly more than the other."""
        self.adjacent &= ~in_contrast(self.table.touched, _CONTRAST)
        self.adjacent &= ~in_contrast(self.table.heat)

    def run(self, alike: float, limit: int) -> None:
        """Merge until no two neighbours are left that may merge."""
        for _ in range(_MAX_ROUNDS):
            mean = self.accesses / self.size
            slack = self.slack / self.size
            pairs = np.abs(mean[1:] - mean[:-1]) <= np.maximum(
                alike, np.hypot(slack[1:], slack[:-1])
            )
            pairs &= self.size[1:] + self.size[:-1] <= limit
            pairs &= self.adjacent
            chosen = disjoint(pairs)
            left = np.flatnonzero(chosen)
            if len(left) == 0:
                return
            self.size[left] += self.size[left + 1]
            self.accesses[left] += self.accesses[left + 1]
            self.slack[left] += self.slack[left + 1]
            self._keep(~chosen)

    def merge_smallest(self, count: int) -> None:
        """Give up the *count* borders whose two neighbours are the smallest together."""
        together = np.where(self.adjacent, self.size[1:] + self.size[:-1], np.inf)
        given_up = np.zeros(len(together), np.bool_)
        given_up[np.argsort(together, kind="stable")[:count]] = True
        self.heads = self.heads[np.append(True, ~(given_up & self.adjacent))]

    def result(self) -> RegionTable:
        """The table, joined."""
        return join_regions(self.table, self.heads)

    def _keep(self, borders: NDArray[np.bool_]) -> None:
        kept = np.ones(len(self.heads), np.bool_)
        kept[1:] = borders
        index = np.flatnonzero(kept)
        self.heads, self.adjacent = self.heads[index], self.adjacent[borders]
        self.size, self.accesses = self.size[index], self.accesses[index]
        self.slack = self.slack[index]


def disjoint(
    pairs: NDArray[np.bool_], place: NDArray[np.integer] | None = None
) -> NDArray[np.bool_]:
    """As many of the *pairs* of neighbours as fit where no region is in two of them.

    Pairs at an even *place* (their index, unless given) come first.
    """
    odd = (np.arange(len(pairs)) if place is None else place) % 2 == 1
    beside = np.append(pairs[1:], False) | np.append(False, pairs[:-1])
    chosen: NDArray[np.bool_] = pairs & ~(odd & beside)
    return chosen


def _split_in_two(
    table: RegionTable, chosen: NDArray[np.bool_], rng: np.random.Generator, min_size: int
) -> tuple[RegionTable, NDArray[np.bool_]]:
    """Split the *chosen* regions that are large enough; also say which results are left parts."""
    tenths = rng.integers(1, 10, len(table))
    left = table.size * tenths // 10 // min_size * min_size
    hint = table.split_hint
    has_hint = (hint > table.start) & (hint < table.end)
    left = np.where(has_hint, (hint - table.start) // min_size * min_size, left)
    possible = chosen & (left > 0)
    which = np.flatnonzero(possible)
    out = table.take(np.repeat(np.arange(len(table)), 1 + possible))
    at = which + np.arange(len(which))
    border = table.start[which] + left[which]
    out.end[at] = border
    out.start[at + 1] = border
    is_left = np.zeros(len(out), np.bool_)
    is_left[at] = True
    return out, is_left
