"""The figures of each target of a snapshot, and their sums over groups of targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pydamon._model.classify import resident_bytes
from pydamon._model.snapshot import Snapshot

__all__ = ["IDLE_S", "Figures", "figures_of"]

IDLE_S = (10, 60, 300, 1800, 3600)
"""Idle times in seconds: memory counts that has not been accessed for at least so long."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes, or bytes a second; one entry a target, or a group of targets.

    `idle_bytes` has shape (targets, len(IDLE_S)); each column includes the next one.
    """

    working_set_bytes: NDArray[np.float64]
    resident_bytes: NDArray[np.float64]
    monitored_bytes: NDArray[np.float64]
    unobservable_bytes: NDArray[np.float64]
    unseen_bytes: NDArray[np.float64]
    access_bytes_per_second: NDArray[np.float64]
    idle_bytes: NDArray[np.float64]

    def summed(self, group: Sequence[int], groups: int) -> Figures:
        """The sums over groups: *group* has the index of a group for each target."""
        sums = []
        for field in fields(self):
            values = getattr(self, field.name)
            total = np.zeros((groups, *values.shape[1:]))
            np.add.at(total, np.asarray(group, np.intp), values)
            sums.append(total)
        return Figures(*sums)

    def replaced(self, rows: NDArray[np.bool_], other: Figures) -> Figures:
        """The same figures, with some *rows* taken from *other*."""
        columns = []
        for field in fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            which = rows[:, None] if mine.ndim > 1 else rows
            columns.append(np.where(which, others, mine))
        return Figures(*columns)


def figures_of(snapshot: Snapshot, *, once: bool = False) -> Figures:
    """The figures of each target; *once* is for sums: memory that targets share counts in one.

    The access rate is that of DAMON_STAT: an access to a region counts as one to all of it, at
    most one a sampling interval.
    """
    n, target = len(snapshot.targets), snapshot.target
    classes = snapshot.classes.once() if once else snapshot.classes

    def sums(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(target, values, n).astype(np.float64)

    rss_bytes = [footprint.rss_bytes for footprint in snapshot.footprints] or [0] * n
    resident = resident_bytes(snapshot.classes, target, np.array(rss_bytes, np.int64), once=once)
    idle = np.array([sums(classes.idle(seconds * 10**9)) for seconds in IDLE_S])
    return Figures(
        sums(classes.accessed),
        resident.astype(np.float64),
        sums(snapshot.size),
        sums(classes.unobservable),
        sums(classes.unseen),
        sums(snapshot.size * snapshot.access_hz),
        idle.T,
    )
