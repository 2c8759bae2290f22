"""Use of the page cache, estimated from a sample of its folios.

Folios are followed whose place (inode and index) has a hash below a threshold: spatial
sampling. Each followed folio stands for `1 / rate` folios, where `rate` is the threshold's share of
all hashes. The threshold only falls, so that what is followed now was followed from the start
(fixed-size SHARDS: Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALL_HASHES",
    "FIRST_READ",
    "IDLE_TIMES_NS",
    "CacheReport",
    "CgroupCache",
    "FollowedFolios",
    "ReuseSums",
    "bucket_edges_ns",
    "lower_threshold",
    "used_bytes",
]

ALL_HASHES = 1 << 32
"""The threshold below which all hashes lie."""

FIRST_READ = 255
"""The bucket of folios that had not been read before."""

IDLE_TIMES_NS = tuple(seconds * 10**9 for seconds in (1, 10, 60, 300, 600, 3600))
"""The times within which used bytes are told."""

_TICK_SHIFT = 18
_BUCKETS = 128


def bucket_edges_ns() -> NDArray[np.int64]:
    """The shortest idle time of each bucket of the BPF program: four for each doubling."""
    bucket = np.arange(_BUCKETS, dtype=np.int64)
    ticks = (4 + bucket % 4) << np.minimum(bucket // 4, 40)
    edges: NDArray[np.int64] = ticks << _TICK_SHIFT
    edges[0] = 0
    return edges


@dataclass(frozen=True, eq=False)
class FollowedFolios:
    """The followed folios at one moment: an entry for each in all arrays."""

    idle_ns: NDArray[np.int64]
    cgroup: NDArray[np.uint64]
    bytes: NDArray[np.int64]
    rate: float
    """The share of all folios that is followed."""


def used_bytes(
    folios: FollowedFolios, within_ns: int, group: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate the bytes that each group of folios read within a time, and the variances of that.

    Parameters
    ----------
    folios
        All followed folios.
    within_ns
        The time before now.
    group
        The number of each folio's group, from 0 to below *groups*: shape (folios,).
    groups
        How many groups there are.

    Returns
    -------
    used, variance
        Bytes, and bytes squared: shape (groups,).

    Notes
    -----
    Whether a folio is followed is a trial of probability `rate`, independent of other folios: the
    estimate is Horvitz and Thompson's, and its variance is `(1 - rate) / rate**2` times the sum of
    the squares of the followed sizes.
    """
    rows = folios.idle_ns < within_ns
    group, size = group[rows], folios.bytes[rows].astype(np.float64)
    used = np.bincount(group, size, groups) / folios.rate
    variance: NDArray[np.float64] = np.bincount(group, size**2, groups) / folios.rate**2
    return used, variance * (1 - folios.rate)


def lower_threshold(threshold: int, followed: float, spent: float) -> int:
    """Return the threshold at which folios are neither too many nor read too often.

    Parameters
    ----------
    threshold
        The threshold now.
    followed
        How many folios are followed, of those that may be: 1 is just right.
    spent
        How much CPU time they take, of what they may take.
    """
    excess = max(followed, spent)
    if excess <= 1:
        return threshold
    # A little more than needed: each fall discards folios, and the next should not come soon.
    return max(1, int(threshold / (1.25 * excess)))


class ReuseSums:
    """Estimates of reads of folios, by group, and by how long the folios had been idle.

    Parameters
    ----------
    group
        The number of the group that each row is of, from 0 to below *groups*: shape (rows,).
    bucket
        The bucket of idle times: shape (rows,).
    folios, size
        How many folios were read, and their bytes: shape (rows,).
    groups
        How many groups there are.
    """

    def __init__(
        self,
        group: NDArray[np.intp],
        bucket: NDArray[np.int64],
        folios: NDArray[np.float64],
        size: NDArray[np.float64],
        groups: int,
    ) -> None:
        is_first, again = bucket == FIRST_READ, bucket < _BUCKETS
        self.first_bytes = np.bincount(group[is_first], size[is_first], groups)
        """Bytes that had not been read before: shape (groups,)."""
        place = group[again] * _BUCKETS + bucket[again]
        self._folios = np.bincount(place, folios[again], groups * _BUCKETS).reshape(groups, -1)

    def folios_after(self, idle_ns: int) -> NDArray[np.float64]:
        """Estimate how many folios were read after they had been idle for at least a time.

        Within a bucket, idle times are taken to be spread evenly. Shape (groups,).
        """
        after: NDArray[np.float64] = self._folios @ _shares_after(idle_ns)
        return after


@cache
def _shares_after(idle_ns: int) -> NDArray[np.float64]:
    """Which share of each bucket's idle times is at least as long."""
    lower = bucket_edges_ns().astype(np.float64)
    upper = np.append(lower[1:], np.inf)
    with np.errstate(invalid="ignore"):
        share: NDArray[np.float64] = np.clip((upper - idle_ns) / (upper - lower), 0, 1)
    share[-1] = 1.0
    return share


@dataclass(frozen=True, slots=True)
class CgroupCache:
    """The page cache of one cgroup.

    Attributes
    ----------
    cgroup
        Its path below the root of cgroups, such as `/system.slice`; empty for memory of cgroups
        that are gone.
    resident_bytes
        File pages in memory, mapped or not, without tmpfs: the kernel's `active_file` and
        `inactive_file`.
    active_bytes, inactive_bytes
        The kernel's two lists of them.
    refaults_per_s
        Pages a second that were read from disk again soon after the kernel had dropped them:
        `workingset_refault_file`. `None` where the kernel does not count them, and in the first
        report.
    used_bytes
        Bytes that were read within each of `IDLE_TIMES_NS`, in folios that no process maps. The
        first time that is longer than reads have been watched tells what was read since then;
        those beyond are `None`. Empty where reads cannot be traced.
    deviation_bytes
        Their standard deviations: 0 where every folio is followed.
    again_per_s
        Folios a second that were read again after they had been idle for each of `IDLE_TIMES_NS`
        or longer: what would have been read from disk if they had not been kept for that time.
    first_bytes_per_s
        Bytes a second that were read for the first time since the start.
    """

    cgroup: str
    resident_bytes: int
    active_bytes: int
    inactive_bytes: int
    refaults_per_s: float | None = None
    used_bytes: tuple[int | None, ...] = ()
    deviation_bytes: tuple[int | None, ...] = ()
    again_per_s: tuple[float | None, ...] = ()
    first_bytes_per_s: float | None = None

    def used_within(self, idle_ns: int) -> int | None:
        """The bytes read within one of `IDLE_TIMES_NS`; `None` where that is not known."""
        values = dict(zip(IDLE_TIMES_NS, self.used_bytes, strict=False))
        return values.get(idle_ns)


@dataclass(frozen=True, slots=True)
class CacheReport:
    """The page cache of all cgroups at one moment.

    Attributes
    ----------
    time_ns
        When (Unix time).
    watched_ns
        For how long reads have been watched; 0 where they are not.
    source
        `"reads"`: reads are traced. `"kernel"`: only what the kernel counts itself is known.
    reason
        Why reads are not traced; empty if they are.
    cgroups
        A row for each cgroup with page cache of its own, by path.
    followed_share
        The share of all folios that is followed.
    observed_share
        The share of the time in which reads were traced: below 1 where tracing rested to stay in
        the CPU budget. Used bytes are a lower bound then.
    reads_per_s
        Folios a second that were marked as accessed, on the whole machine.
    missed_folios
        Folios that were not followed for lack of room, since the last report: a burst of new
        folios. Used bytes are a lower bound then.
    cpu_percent
        What tracing and this process took, of one CPU, since the last report: the program's part
        is an estimate.
    """

    time_ns: int
    watched_ns: int
    source: str
    reason: str
    cgroups: tuple[CgroupCache, ...]
    followed_share: float = 1.0
    observed_share: float = 1.0
    reads_per_s: float = 0.0
    missed_folios: int = 0
    cpu_percent: float = 0.0

    def of(self, path: str) -> CgroupCache | None:
        """The row of a cgroup; `None` if it has no page cache of its own."""
        return next((row for row in self.cgroups if row.cgroup == path), None)

    def below(self, path: str) -> Sequence[CgroupCache]:
        """The rows of a cgroup and of those below it."""
        prefix = path.rstrip("/") + "/"
        return [row for row in self.cgroups if f"{row.cgroup}/".startswith(prefix)]
