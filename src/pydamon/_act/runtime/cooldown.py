"""The cooldown: memory that was acted on is left alone for the minimum age of the scheme."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import Candidates
from pydamon._model.ranges import union
from pydamon._model.regions import Ranges
from pydamon._model.schemes.pattern import Bounds

__all__ = ["Cooldown"]


class Cooldown:
    """Ranges of processes that were acted on, and when.

    The kernel's DAMON sets the age of such a region to 0 instead. Where a quota leaves a part of an
    idle region for later, the two parts merge and their ages are averaged, which makes that part
    too young as well.
    """

    def __init__(self) -> None:
        self._rows: dict[int, NDArray[np.int64]] = {}
        """(time, start, end) by pid."""

    def add(self, now_ns: int, pid: int, ranges: Ranges) -> None:
        """Take note of ranges of a process, without overlap."""
        rows = np.column_stack([np.full(len(ranges), now_ns), ranges])
        before = self._rows.get(pid)
        self._rows[pid] = rows if before is None else np.concatenate([before, rows])

    def leave_out(
        self, candidates: Candidates, bounds: Bounds, memories: Mapping[int, TargetMemory]
    ) -> Candidates:
        """The candidates outside their cooldown; what has cooled down is forgotten."""
        del memories
        snapshot = candidates.snapshot
        since_ns = snapshot.end_ns - bounds.least_age_ns(snapshot.window_ns)
        targets = {target.pid: index for index, target in enumerate(snapshot.targets)}
        recent = {pid: rows[rows[:, 0] > since_ns] for pid, rows in self._rows.items()}
        self._rows = {pid: rows for pid, rows in recent.items() if pid in targets and len(rows)}
        return candidates.without(
            {targets[pid]: union(rows[:, 1:]) for pid, rows in self._rows.items()}
        )
