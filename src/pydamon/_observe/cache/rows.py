"""Traced reads summed up by cgroup: each has those of the cgroups below it as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.cache_use import IDLE_TIMES_NS, FollowedFolios, ReuseSums, used_bytes
from pydamon._observe.cache.tracer import Reuses

__all__ = ["GONE", "ReadSums", "sums_by_path", "with_parents"]

GONE = ""
"""The path of cgroups that are gone: their page cache may still be in memory."""


class ReadSums:
    """Sums for one cgroup: an entry in each array for each of `IDLE_TIMES_NS`."""

    def __init__(self) -> None:
        self.used: NDArray[np.float64] = np.zeros(len(IDLE_TIMES_NS))
        self.variance: NDArray[np.float64] = np.zeros(len(IDLE_TIMES_NS))
        self.again: NDArray[np.float64] = np.zeros(len(IDLE_TIMES_NS))
        self.first_bytes = 0.0

    def add_folios(self, folios: FollowedFolios) -> None:
        """Add followed folios."""
        pairs = np.array([used_bytes(folios, within_ns) for within_ns in IDLE_TIMES_NS])
        self.used += pairs[:, 0]
        self.variance += pairs[:, 1] ** 2

    def add_reuses(self, reuses: ReuseSums) -> None:
        """Add reads."""
        self.again += [reuses.folios_after(idle_ns) for idle_ns in IDLE_TIMES_NS]
        self.first_bytes += reuses.first_bytes

    def add(self, other: ReadSums) -> None:
        """Add the sums of another cgroup."""
        self.used += other.used
        self.variance += other.variance
        self.again += other.again
        self.first_bytes += other.first_bytes

    def columns(self, elapsed_s: float, watched_ns: int) -> dict[str, Any]:
        """The fields of a `CgroupCache`; times longer than all was watched are unknown."""
        known = [n == 0 or IDLE_TIMES_NS[n - 1] < watched_ns for n in range(len(IDLE_TIMES_NS))]

        def told(values: NDArray[np.float64]) -> tuple[int | None, ...]:
            pairs = zip(values.tolist(), known, strict=True)
            return tuple(round(value) if is_known else None for value, is_known in pairs)

        again = zip(self.again.tolist(), IDLE_TIMES_NS, strict=True)
        return {
            "used_bytes": told(self.used),
            "deviation_bytes": told(np.sqrt(self.variance)),
            "again_per_s": tuple(
                value / elapsed_s if idle_ns < watched_ns else None for value, idle_ns in again
            ),
            "first_bytes_per_s": self.first_bytes / elapsed_s,
        }


def sums_by_path(
    folios: FollowedFolios, reuses: Reuses, paths: Mapping[int, str]
) -> dict[str, ReadSums]:
    """Sum up by the path of a cgroup, given the path of each id."""
    result: dict[str, ReadSums] = {}
    for cgroup in np.union1d(folios.cgroup, reuses.cgroup).tolist():
        sums = ReadSums()
        sums.add_folios(folios.of(cgroup))
        of_cgroup = ReuseSums()
        rows = reuses.cgroup == cgroup
        of_cgroup.add(reuses.bucket[rows], reuses.folios[rows], reuses.bytes[rows])
        sums.add_reuses(of_cgroup)
        for path in with_parents(paths.get(cgroup, GONE)):
            result.setdefault(path, ReadSums()).add(sums)
    return result


def with_parents(path: str) -> Iterator[str]:
    """A path and those above it; what is gone counts for the root only."""
    if path != "/":
        yield path
    while path.count("/") > 1:
        path = path.rpartition("/")[0]
        yield path
    yield "/"
