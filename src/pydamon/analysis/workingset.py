"""Working-set size: how many bytes were accessed in each aggregation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.courses import Course, Courses, touched, unseen
from pydamon.analysis.folding import fold
from pydamon.core.errors import UsageError
from pydamon.core.snapshot import Target
from pydamon.recording import Recorded

__all__ = [
    "PERCENTILES",
    "WorkingSet",
    "WorkingSetSeries",
    "working_set",
]

_USUAL = 1.5
"""Windows that differ from the usual one by no more than this factor count alike."""

PERCENTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 100.0)


@dataclass(frozen=True)
class WorkingSetSeries:
    """The working set of one target, or of all together where `target` is `None`.

    `end_ns` (Unix time at the end of a snapshot) and `size_bytes` have one entry for each snapshot
    that the target is in: shape (snapshots,). `percentiles` are pairs of a percentage and bytes:
    in p % of the snapshots the working set was at most as large; each is one that was seen. A
    snapshot whose window is not about as long as most of them counts by its length: those of the
    first second, while windows become longer, would outnumber the rest of a short recording.
    `median` is that of 50. `unseen_bytes`, of the same shape, may have been accessed or not: nobody
    had looked at it yet.
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    percentiles: tuple[tuple[float, int], ...]
    unseen_bytes: NDArray[np.int64]
    median: int

    @property
    def most(self) -> int:
        """Bytes: the largest that was seen; of no snapshots 0."""
        return int(self.size_bytes.max(initial=0))


@dataclass(frozen=True)
class WorkingSet:
    """The working set of everything that was recorded, and of each target."""

    total: WorkingSetSeries
    targets: tuple[WorkingSetSeries, ...]

    @classmethod
    def of(cls, courses: Courses, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
        """That of which the first amounts are what was `touched`, and what is `unseen`."""
        total, *targets = (
            WorkingSetSeries(
                one.target,
                one.end_ns,
                one.amounts[0],
                _percentiles(one, percentiles),
                one.amounts[1],
                next((size for _, size in _percentiles(one, (50,))), 0),
            )
            for one in courses.series()
        )
        return cls(total, tuple(targets))


def working_set(recording: Recorded, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
    """The working set over time, and its distribution over the snapshots.

    A snapshot's working set is the memory that was accessed in its windows; what targets share
    counts once in that of all together. Raises `UsageError` for
    percentiles outside 0 to 100.
    """
    if not all(0 <= p <= 100 for p in percentiles):
        raise UsageError("a percentile is a number from 0 to 100")
    courses = Courses(touched, unseen)
    fold(recording, courses)
    return WorkingSet.of(courses, percentiles)


def _percentiles(course: Course, percentiles: Sequence[float]) -> tuple[tuple[float, int], ...]:
    """Pairs of a percentage and bytes; none where there are no snapshots."""
    sizes = course.amounts[0]
    if not len(sizes):
        return ()
    window_ns = np.maximum(course.end_ns - course.start_ns, 1)
    relative = window_ns / np.median(window_ns)
    weight = np.where((relative > 1 / _USUAL) & (relative < _USUAL), 1.0, relative)
    order = np.argsort(sizes, kind="stable")
    up_to = np.cumsum(weight[order])
    last = len(order) - 1
    return tuple(
        (float(p), int(sizes[order[min(int(np.searchsorted(up_to, share, "right")), last)]]))
        for p in percentiles
        for share in [p * up_to[-1] / 100]
    )
