"""How long the cold bytes of regions have been idle, where their pages have ages.

The classes of regions say which bytes are cold; the ages of pages say how old these are. Both are
of one window, but the touched bytes of a region may be an estimate: so no more bytes are idle than
are cold, and the oldest count first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_ages import (
    BUCKETS,
    IDLE_EDGES_NS,
    AgeSums,
    share_beyond,
    youngest,
)
from pydamon._model.runs import Runs, expand

__all__ = ["ColdAges", "ColdParts", "Looked", "cold_ages_of", "joined_ages"]

_Bytes = NDArray[np.int64]
_LOWER_NS = np.append(0, IDLE_EDGES_NS)
"""The shortest idle time of each bucket."""


class Looked(NamedTuple):
    """The ages of the pages of regions, and which regions stand for memory beyond their own."""

    ages: AgeSums
    is_sampled: NDArray[np.bool_]
    """Which regions are followed in part only: shape (regions,)."""

    def of_no_age(self, total: _Bytes) -> _Bytes:
        """How much of the *total* bytes of each region can have no age.

        A page with an age was cleared, and seen again: it can be watched, whatever samples say.
        """
        aged = np.bincount(self.ages.region, self.ages.resident_bytes, len(total))
        return np.where(self.is_sampled, total, np.maximum(total - aged.astype(np.int64), 0))


class ColdParts(NamedTuple):
    """Cold bytes in parts: the region of each part, and how many of some ages it has reached."""

    region: NDArray[np.intp]
    reached: NDArray[np.intp]
    size_bytes: _Bytes


@dataclass(frozen=True, slots=True)
class ColdAges:
    """Cold bytes by bucket of their idle time: arrays of one length, sorted by region, then bucket.

    The last two have an entry for each region: whether its pages have ages (`is_aged`), and whether
    pages of its target have any in this window (`is_looked`).
    """

    region: NDArray[np.int64]
    bucket: NDArray[np.int64]
    size_bytes: _Bytes
    is_aged: NDArray[np.bool_]
    is_looked: NDArray[np.bool_]

    @property
    def sums(self) -> _Bytes:
        """The bytes of each region that have an age."""
        return np.bincount(self.region, self.size_bytes, len(self.is_aged)).astype(np.int64)

    def rows(self, rows: slice) -> ColdAges:
        """The ages of some of the regions."""
        first, beyond, _ = rows.indices(len(self.is_aged))
        kept = slice(*np.searchsorted(self.region, [first, beyond]).tolist())
        return ColdAges(
            self.region[kept] - first,
            self.bucket[kept],
            self.size_bytes[kept],
            self.is_aged[rows],
            self.is_looked[rows],
        )

    def within(self, cold: _Bytes, left: _Bytes) -> ColdAges:
        """The ages of what is *left* of the *cold* bytes of each region: the youngest.

        Cold bytes without an age are younger than all others.
        """
        size_bytes = youngest(self.region, self.size_bytes, left - (cold - self.sums))
        return ColdAges(self.region, self.bucket, size_bytes, self.is_aged, self.is_looked)

    def parts(self, ages_ns: _Bytes) -> ColdParts:
        """The bytes by how many of the sorted ages they have reached."""
        shares = np.array([share_beyond(int(age_ns)) for age_ns in ages_ns])
        shares = shares.reshape(len(ages_ns), BUCKETS)
        least, most = (shares == 1).sum(axis=0), (shares > 0).sum(axis=0)
        is_split = (least < most)[self.bucket]
        if not is_split.any():
            return ColdParts(self.region, least[self.bucket], self.size_bytes)
        whole, cut = ~is_split, np.flatnonzero(is_split)
        # A bucket in which some of the ages lie: a part before the first of these, and so on.
        bucket = self.bucket[cut]
        entry, place = expand(most[bucket] - least[bucket] + 1)
        reached = least[bucket][entry] + place
        size = self.size_bytes[cut][entry]
        beyond = np.vstack([np.ones(BUCKETS), shares, np.zeros(BUCKETS)])
        low, high = (
            np.rint(size * beyond[reached + after, bucket[entry]]).astype(np.int64)
            for after in (0, 1)
        )
        return ColdParts(
            np.append(self.region[whole], self.region[cut][entry]),
            np.append(least[self.bucket[whole]], reached),
            np.append(self.size_bytes[whole], low - high),
        )

    @property
    def idle_ns(self) -> NDArray[np.int64]:
        """The shortest idle time that the bytes of each entry can have."""
        return _LOWER_NS[self.bucket]


def joined_ages(several: list[tuple[ColdAges | None, int]]) -> ColdAges | None:
    """The ages of several parts with so many regions each, one part after the other."""
    if all(ages is None for ages, _ in several):
        return None
    parts = [ages or _no_ages(regions) for ages, regions in several]
    firsts = np.cumsum([0] + [regions for _, regions in several])[:-1].tolist()
    return ColdAges(
        np.concatenate([part.region + first for part, first in zip(parts, firsts, strict=True)]),
        np.concatenate([part.bucket for part in parts]),
        np.concatenate([part.size_bytes for part in parts]),
        np.concatenate([part.is_aged for part in parts]),
        np.concatenate([part.is_looked for part in parts]),
    )


def _no_ages(regions: int) -> ColdAges:
    nothing, none = np.zeros(0, np.int64), np.zeros(regions, np.bool_)
    return ColdAges(nothing, nothing, nothing, none, none)


def cold_ages_of(
    looked: Looked, owner: NDArray[np.integer], cold: _Bytes, observable: _Bytes
) -> ColdAges | None:
    """The ages of the *cold* bytes of each region; None if no pages have any.

    *owner* numbers the part (one target of one snapshot) that a region belongs to.
    """
    ages = looked.ages
    regions = len(cold)
    in_memory = ages.resident_bytes > 0
    region, bucket = ages.region[in_memory], ages.bucket[in_memory]
    size = ages.resident_bytes[in_memory]
    if not len(region):
        return None
    is_looked = np.zeros(int(owner.max()) + 1, np.bool_)
    is_looked[owner[region]] = True
    is_looked = is_looked[owner]
    if looked.is_sampled.any():
        region, bucket, size = _for_all(region, bucket, size, looked.is_sampled, owner, observable)
    is_aged = np.zeros(regions, np.bool_)
    is_aged[region] = True
    size = _oldest(region, size, cold)
    kept = size > 0
    return ColdAges(region[kept], bucket[kept], size[kept], is_aged, is_looked)


def _oldest(region: NDArray[np.int64], size: _Bytes, most: _Bytes) -> _Bytes:
    """Leave out the youngest bytes of each region that has more than the most that it may have."""
    runs = Runs.of(region)
    up_to = np.cumsum(size)
    older = np.repeat(up_to[runs.tails], runs.lengths) - up_to
    return np.clip(most[region] - older, 0, size)


def _for_all(
    region: NDArray[np.int64],
    bucket: NDArray[np.int64],
    size: _Bytes,
    is_sampled: NDArray[np.bool_],
    owner: NDArray[np.integer],
    observable: _Bytes,
) -> tuple[NDArray[np.int64], NDArray[np.int64], _Bytes]:
    """Make sampled ages stand for all *observable* bytes of their regions.

    A region without any sampled page has the ages of its part.
    """
    regions = len(observable)
    known = np.bincount(region, size, regions)
    without = np.flatnonzero(is_sampled & (known == 0) & (observable > 0))
    cells = owner[region].astype(np.int64) * BUCKETS + bucket
    cell, place = np.unique(cells, return_inverse=True)
    sums = np.bincount(place, size, len(cell))
    first = np.searchsorted(cell // BUCKETS, owner[without], side="left")
    beyond = np.searchsorted(cell // BUCKETS, owner[without], side="right")
    added, place = expand(beyond - first)
    cell_of = first[added] + place
    region = np.append(region, without[added])
    bucket = np.append(bucket, cell[cell_of] % BUCKETS)
    amount = np.append(size, sums[cell_of])
    known = np.bincount(region, amount, regions)
    share = np.where(is_sampled, observable / np.maximum(known, 1), 1.0)[region]
    order = np.lexsort((bucket, region))
    amount = np.floor(amount * share + 1e-6).astype(np.int64)
    return region[order], bucket[order], amount[order]
