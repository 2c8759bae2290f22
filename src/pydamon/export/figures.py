"""Figures of each target of a snapshot, and their sums over groups of targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pydamon.core.snapshot import Snapshot

__all__ = ["IDLE_S", "Figures", "figures_of"]

IDLE_S = (10, 60, 300, 1800, 3600)
"""For how long memory has to be idle to be counted."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One entry a target, or a group of them: bytes, or bytes a second.

    `idle_bytes` has shape (targets, len(IDLE_S)); each column counts what the next one counts, too.
    """

    working_set_bytes: NDArray[np.float64]
    resident_bytes: NDArray[np.float64]
    monitored_bytes: NDArray[np.float64]
    unobservable_bytes: NDArray[np.float64]
    access_bytes_per_second: NDArray[np.float64]
    idle_bytes: NDArray[np.float64]

    def summed(self, group: Sequence[int], groups: int) -> Figures:
        """The sums over groups: *group* has the index of one for each target."""
        sums = []
        for one in fields(self):
            values = getattr(self, one.name)
            total = np.zeros((groups, *values.shape[1:]))
            np.add.at(total, np.asarray(group, np.intp), values)
            sums.append(total)
        return Figures(*sums)


def figures_of(snapshot: Snapshot) -> Figures:
    """The figures of each target.

    Memory is idle for as long as samples have found none of its region accessed; what is mapped
    but not resident would be, too, so at most the resident bytes outside the working set count.
    The access rate is DAMON_STAT's estimate: a sample that found a region accessed counts as one
    access to all of it.
    """
    n, target = len(snapshot.targets), snapshot.target

    def sums(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(target, values, n).astype(np.float64)

    resident = np.array([one.rss_bytes for one in snapshot.footprints] or [0] * n, np.float64)
    working_set = sums(snapshot.touched_bytes)
    idle_s = np.where(snapshot.nr_accesses == 0, snapshot.age * snapshot.window_ns / 1e9, -1)
    place = np.searchsorted(IDLE_S, idle_s, side="right")
    seen = snapshot.size - snapshot.unobservable_bytes
    columns = len(IDLE_S) + 1
    counts = np.bincount(target * columns + place, seen, n * columns).reshape(n, columns)[:, 1:]
    idle = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    known = resident[:, None] > 0
    cap = np.where(known, np.maximum(resident - working_set, 0)[:, None], np.inf)
    return Figures(
        working_set,
        resident,
        sums(snapshot.size),
        sums(snapshot.unobservable_bytes),
        sums(snapshot.size * snapshot.nr_accesses) / max(snapshot.window_ns / 1e9, 1e-9),
        np.minimum(idle, cap),
    )
