"""Traced reads summed up by cgroup: each has those of the cgroups below it as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.cache_use import IDLE_TIMES_NS, FollowedFolios, ReuseSums, used_bytes
from pydamon._model.runs import unique
from pydamon._observe.cache.tracer import Reuses

__all__ = ["GONE", "ReadSums", "sums_by_path", "used_by_path"]

GONE = ""
"""The path of cgroups that are gone: their page cache may still be in memory."""
_TIMES = len(IDLE_TIMES_NS)
_NOTHING = np.zeros(_TIMES)


class ReadSums(NamedTuple):
    """Sums for one path: an entry in each array for each of `IDLE_TIMES_NS`."""

    used: NDArray[np.float64] = _NOTHING
    variance: NDArray[np.float64] = _NOTHING
    again: NDArray[np.float64] = _NOTHING
    first_bytes: float = 0.0

    def columns(self, elapsed_s: float, watched_ns: int) -> dict[str, Any]:
        """The fields of a `CgroupCache`; times longer than all was watched are unknown."""
        known = [n == 0 or IDLE_TIMES_NS[n - 1] < watched_ns for n in range(_TIMES)]

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
    ids = unique(np.concatenate([folios.cgroup, reuses.cgroup]))
    group, count = np.searchsorted(ids, folios.cgroup), len(ids)
    pairs = [used_bytes(folios, within_ns, group, count) for within_ns in IDLE_TIMES_NS]
    group = np.searchsorted(ids, reuses.cgroup)
    reads = ReuseSums(group, reuses.bucket, reuses.folios, reuses.bytes, count)
    columns = [
        *(used for used, _ in pairs),
        *(variance for _, variance in pairs),
        *(reads.folios_after(idle_ns) for idle_ns in IDLE_TIMES_NS),
        reads.first_bytes,
    ]
    names, table = _with_parents(ids, paths, np.stack(columns, axis=1))
    used, variance, again, first = np.split(table, range(_TIMES, 4 * _TIMES, _TIMES), axis=1)
    return {
        name: ReadSums(*rows)
        for name, *rows in zip(names, used, variance, again, first[:, 0].tolist(), strict=True)
    }


def used_by_path(
    folios: FollowedFolios, within_ns: int, paths: Mapping[int, str]
) -> dict[str, int]:
    """The bytes that were read within a time, by the path of a cgroup."""
    ids = unique(folios.cgroup)
    used, _ = used_bytes(folios, within_ns, np.searchsorted(ids, folios.cgroup), len(ids))
    names, table = _with_parents(ids, paths, used[:, None])
    return {name: round(size) for name, size in zip(names, table[:, 0].tolist(), strict=True)}


def _with_parents(
    ids: NDArray[np.uint64], paths: Mapping[int, str], rows: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64]]:
    """The paths of cgroups and of those above them, and for each the sum of its cgroups' *rows*."""
    number: dict[str, int] = {}
    of_row = [
        (row, number.setdefault(path, len(number)))
        for row, cgroup in enumerate(ids.tolist())
        for path in _upwards(paths.get(cgroup, GONE))
    ]
    source, place = np.array(of_row, np.intp).reshape(-1, 2).T
    table = np.zeros((len(number), rows.shape[1]))
    np.add.at(table, place, rows[source])
    return list(number), table


def _upwards(path: str) -> Iterator[str]:
    """A path and those above it; what is gone counts for the root only."""
    if path != "/":
        yield path
    while path.count("/") > 1:
        path = path.rpartition("/")[0]
        yield path
    yield "/"
