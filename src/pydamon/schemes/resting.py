"""What a scheme has just been applied to, and leaves alone for a while."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon.core.ranges import union
from pydamon.core.regions import Ranges
from pydamon.schemes.chosen import Candidates

__all__ = ["Cooldown"]


class Cooldown:
    """Ranges of memory by process, each with the time when something was done about it.

    DAMON sets the age of a region to 0 then. Where a quota leaves the rest for later, that makes
    the rest younger as well: both are idle, so that they merge, and their ages are averaged.
    """

    def __init__(self) -> None:
        self._rows: dict[int, NDArray[np.int64]] = {}
        """(time, start, end) by pid."""

    def add(self, now_ns: int, pid: int, ranges: Ranges) -> None:
        """Take note of disjoint ranges of a process."""
        rows = np.column_stack([np.full(len(ranges), now_ns), ranges])
        before = self._rows.get(pid)
        self._rows[pid] = rows if before is None else np.concatenate([before, rows])

    def others(self, chosen: Candidates, since_ns: int) -> Candidates:
        """What is not resting since then; what has rested for longer is forgotten."""
        pids = {target.pid: index for index, target in enumerate(chosen.snapshot.targets)}
        young = {pid: rows[rows[:, 0] > since_ns] for pid, rows in self._rows.items()}
        self._rows = {pid: rows for pid, rows in young.items() if pid in pids and len(rows)}
        resting = {pids[pid]: union(rows[:, 1:]) for pid, rows in self._rows.items()}
        if not resting:
            return chosen
        chosen = chosen.cut_at({index: rows.ravel() for index, rows in resting.items()})
        rests = np.zeros(len(chosen), np.bool_)
        for index, rows in resting.items():
            at = np.searchsorted(rows[:, 0], chosen.start, side="right") - 1
            rests |= (chosen.target == index) & (at >= 0) & (chosen.start < rows[at, 1])
        return chosen.take(~rests)
