"""Working-set size: how many bytes were accessed in each aggregation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.core.errors import UsageError
from pydamon.core.snapshot import Target
from pydamon.recording import Recording

__all__ = ["PERCENTILES", "WorkingSet", "WorkingSetSeries", "working_set"]

PERCENTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 100.0)


@dataclass(frozen=True)
class WorkingSetSeries:
    """The working set of one target, or of all together where `target` is `None`.

    `end_ns` (Unix time at the end of a snapshot) and `size_bytes` have one entry for each snapshot
    that the target is in: shape (snapshots,). `percentiles` are pairs of a percentage and bytes:
    of p % of the snapshots the working set was at most as large; each is one that was seen.
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    percentiles: tuple[tuple[float, int], ...]

    @property
    def median(self) -> int:
        """Bytes: as the percentile of 50, one that was seen; of no snapshots 0."""
        ordered = np.sort(self.size_bytes)
        return int(ordered[len(ordered) // 2]) if len(ordered) else 0

    @property
    def most(self) -> int:
        """Bytes: the largest that was seen; of no snapshots 0."""
        return int(self.size_bytes.max(initial=0))


@dataclass(frozen=True)
class WorkingSet:
    """The working set of everything that was recorded, and of each target."""

    total: WorkingSetSeries
    targets: tuple[WorkingSetSeries, ...]


def working_set(recording: Recording, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
    """The working set over time, and its distribution over the snapshots.

    A snapshot's working set is the sum of its regions' `touched_bytes`. Raises `UsageError` for
    percentiles outside 0 to 100.
    """
    if not all(0 <= p <= 100 for p in percentiles):
        raise UsageError("a percentile is a number from 0 to 100")
    touched = np.append(0, np.cumsum(recording.column("touched_bytes"), dtype=np.int64))
    total = np.diff(touched[recording.snapshot_offsets])
    of_part = np.diff(touched[recording.part_offsets])
    pids, end_ns = recording.of_parts("pid"), recording.of_snapshots("end_ns")

    def series(
        target: Target | None, times: NDArray[np.int64], size_bytes: NDArray[np.int64]
    ) -> WorkingSetSeries:
        ordered = np.sort(size_bytes).tolist()
        last = len(ordered) - 1
        pairs = tuple(
            (float(p), ordered[min(int(p * len(ordered) / 100), last)])
            for p in (percentiles if ordered else ())
        )
        return WorkingSetSeries(target, times, size_bytes, pairs)

    targets = []
    for target in recording.targets:
        mine = pids == target.pid
        found, place = np.unique(recording.part_snapshots[mine], return_inverse=True)
        sizes = np.zeros(len(found), np.int64)
        np.add.at(sizes, place, of_part[mine])
        targets.append(series(target, end_ns[found], sizes))
    return WorkingSet(series(None, end_ns, total), tuple(targets))
