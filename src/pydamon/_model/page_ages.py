"""How long pages have been idle, summed up by region.

Every page has an age: the time since it was last seen accessed. Two histograms say what matters of
all ages: how many bytes have been idle for how long (*cold age*), and how many were accessed again
after how long a rest (*promotion*). They are those of kstaled and kreclaimd in "Software-defined
far memory in warehouse-scale computers" (ASPLOS 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.runs import Runs, expand

__all__ = [
    "BLOCK_PAGES",
    "BUCKETS",
    "IDLE_CLASSES_NS",
    "IDLE_EDGES_NS",
    "AgeSums",
    "PageAges",
    "bucket_bounds_ns",
    "bucket_of",
    "share_beyond",
    "spread_over_buckets",
    "youngest",
]

_PER_DECADE, _DECADES = 12, 6
IDLE_EDGES_NS: NDArray[np.int64] = np.rint(
    10 ** (8 + np.arange(_DECADES * _PER_DECADE + 1) / _PER_DECADE)
).astype(np.int64)
"""The idle times between which buckets lie, from 100 ms to 28 hours, 12 for each factor of 10."""
BUCKETS = len(IDLE_EDGES_NS) + 1
"""Bucket 0 is for shorter idle times than all edges, the last one for longer ones."""

BLOCK_PAGES = 512
"""Pages are followed, or not, in blocks of so many: 2 MiB."""

IDLE_CLASSES_NS = tuple(seconds * 10**9 for seconds in (1, 10, 60, 600))
"""The idle times between the classes of memory by idle time, from used within 1 s on."""


def bucket_of(idle_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bucket of each idle time: it begins at `IDLE_EDGES_NS[bucket - 1]`."""
    return np.searchsorted(IDLE_EDGES_NS, idle_ns, side="right")


def bucket_bounds_ns(bucket: int) -> tuple[int, int]:
    """Between which idle times a bucket lies; the last one has no end."""
    bounds = [0, *IDLE_EDGES_NS.tolist(), 2**63 - 1]
    return bounds[bucket], bounds[bucket + 1]


def spread_over_buckets(
    least_ns: NDArray[np.int64], most_ns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Which part of the times between two bounds lies in each bucket: shape (n, `BUCKETS`).

    All times between the bounds are taken to be equally likely.
    """
    lower = np.concatenate([[0], IDLE_EDGES_NS]).astype(np.float64)
    upper = np.concatenate([IDLE_EDGES_NS, [np.inf]])
    low, high = least_ns[:, None].astype(np.float64), most_ns[:, None].astype(np.float64)
    overlap = np.minimum(high, upper) - np.maximum(low, lower)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) / np.maximum(high - low, 1)
    exact = np.flatnonzero(most_ns <= least_ns)
    shares[exact] = 0
    shares[exact, bucket_of(least_ns[exact])] = 1
    return shares


def share_beyond(idle_ns: int) -> NDArray[np.float64]:
    """Which part of each bucket has been idle for at least so long: shape (`BUCKETS`,).

    Within a bucket, ages are taken to be spread evenly on a scale of ratios.
    """
    lower = np.concatenate([[1], IDLE_EDGES_NS])
    upper = np.concatenate([IDLE_EDGES_NS, [np.inf]])
    time_ns = max(idle_ns, 1)
    # No age beyond the last edge is told from another.
    upper[-1] = max(2 * lower[-1], 2 * time_ns)
    parts = np.log(upper / time_ns) / np.log(upper / lower)
    shares: NDArray[np.float64] = np.clip(parts, 0.0, 1.0)
    return shares


def youngest(
    region: NDArray[np.int64], size_bytes: NDArray[np.int64], most: NDArray[np.int64]
) -> NDArray[np.int64]:
    """What is left of the bytes of each bucket of a region that may have so many at *most*.

    Entries are sorted by region, then bucket; *most* has one entry a region.
    """
    runs = Runs.of(region)
    before = np.cumsum(size_bytes) - size_bytes
    younger = before - np.repeat(before[runs.heads], runs.lengths)
    return np.clip(most[region] - younger, 0, size_bytes)


@dataclass(frozen=True, eq=False)
class AgeSums:
    """Bytes by region and idle time: arrays of one length, sorted by region, then bucket.

    Parameters
    ----------
    region
        The number of the region.
    bucket
        The bucket of the idle time: see `IDLE_EDGES_NS`.
    resident_bytes
        How much is in memory and has been idle for so long.
    returned_bytes
        How much was accessed again, since the look before, after having been idle for so long.
    """

    region: NDArray[np.int64]
    bucket: NDArray[np.int64]
    resident_bytes: NDArray[np.int64]
    returned_bytes: NDArray[np.int64]

    def pick(self, regions: NDArray[np.integer]) -> Self:
        """The sums of the regions of these numbers, in this order; they are numbered anew."""
        first = np.searchsorted(self.region, regions, side="left")
        beyond = np.searchsorted(self.region, regions, side="right")
        number, place = expand(beyond - first)
        rows = first[number] + place
        return replace(
            self,
            region=number,
            bucket=self.bucket[rows],
            resident_bytes=self.resident_bytes[rows],
            returned_bytes=self.returned_bytes[rows],
        )

    def idle_bytes(self, idle_ns: int, regions: int) -> NDArray[np.int64]:
        """How much of each of so many regions has been idle for at least *idle_ns*."""
        idle = self.resident_bytes * share_beyond(idle_ns)[self.bucket]
        sums = np.bincount(self.region, idle, minlength=regions)
        return np.rint(sums).astype(np.int64)

    def known_bytes(self, regions: int) -> NDArray[np.int64]:
        """How much of each of so many regions has an age at all."""
        sums = np.bincount(self.region, self.resident_bytes, minlength=regions)
        return sums.astype(np.int64)

    def once(self, share: NDArray[np.float64]) -> AgeSums:
        """The same of a *share* of each region: shape (regions,).

        What is left out counts in a target that has used it later: so the youngest bytes stay, and
        returns as far as they are among those.
        """
        regions = len(share)
        most = np.rint(self.known_bytes(regions) * share).astype(np.int64)
        returned = np.bincount(self.region, self.returned_bytes, regions)
        of_returns = np.minimum(most / np.maximum(returned, 1), 1)[self.region]
        return AgeSums(
            self.region,
            self.bucket,
            youngest(self.region, self.resident_bytes, most),
            np.rint(self.returned_bytes * of_returns).astype(np.int64),
        )

    def histograms(
        self, group: NDArray[np.int64], groups: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Resident and returned bytes by bucket, of groups of regions: shape (groups, `BUCKETS`).

        *group* has the group of each region; regions of group -1 do not count.
        """
        of = group[self.region]
        kept = of >= 0
        cell = of[kept] * BUCKETS + self.bucket[kept]
        resident, returned = (
            np.bincount(cell, amounts[kept], minlength=groups * BUCKETS)
            .astype(np.int64)
            .reshape(groups, BUCKETS)
            for amounts in (self.resident_bytes, self.returned_bytes)
        )
        return resident, returned


@dataclass(frozen=True, eq=False)
class PageAges(AgeSums):
    """The ages of the pages of a snapshot's regions, as of one look at all of them.

    Bytes are estimates where only a part of the memory is followed: that part stands for the rest.

    Parameters
    ----------
    looked_ns
        When the pages were looked at (Unix time).
    since_ns
        When they were looked at for the snapshot before; returns are those since then.
    looks
        How many looks there were since then. Between two looks running nothing is known of a rest.
    followed_share
        The part of the memory that is followed page by page: 1 where that is all.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=100),)),))
    >>> *_, last = [s for s in pydamon.simulate(trace, [(0, 256 << 20)]).run("30s") if s.page_ages]
    >>> idle_bytes = last.page_ages.idle_bytes(10 * 10**9, len(last)).sum()
    >>> pydamon.format_size(idle_bytes)
    '192 MiB'
    """

    looked_ns: int = field(kw_only=True)
    since_ns: int = field(kw_only=True)
    looks: int = field(default=1, kw_only=True)
    followed_share: float = field(default=1.0, kw_only=True)
