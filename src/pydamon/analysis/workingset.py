"""Working-set size: how many bytes were accessed in each aggregation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.courses import Course, TimeSeriesFold, touched, unseen
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

_AT_ONCE = 2**18
"""Snapshots whose percentiles are found at once."""
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
    def of(cls, courses: TimeSeriesFold, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
        """That of which the first amounts are what was `touched`, and what is `unseen`."""
        series = list(courses.series())
        marks = _percentiles(series, [*percentiles, 50])
        total, *targets = (
            WorkingSetSeries(
                one.target,
                one.end_ns,
                one.amounts[0],
                tuple(zip(map(float, percentiles), sizes, strict=False)),
                one.amounts[1],
                sizes[-1] if sizes else 0,
            )
            for one, sizes in zip(series, marks, strict=True)
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
    courses = TimeSeriesFold(touched, unseen)
    fold(recording, courses)
    return WorkingSet.of(courses, percentiles)


def _percentiles(series: Sequence[Course], percentiles: Sequence[float]) -> list[list[int]]:
    """Bytes at each percentage, of each target; none where there are no snapshots.

    Targets with the same number of snapshots are dealt with together: there may be 100,000.
    """
    found: list[list[int]] = [[] for _ in series]
    lengths = np.array([len(one.end_ns) for one in series])
    for length in np.unique(lengths[lengths > 0]).tolist():
        alike = np.flatnonzero(lengths == length).tolist()
        at_once = max(1, _AT_ONCE // length)
        for begin in range(0, len(alike), at_once):
            some = alike[begin : begin + at_once]
            marks = _percentiles_of([series[index] for index in some], percentiles)
            for index, values in zip(some, marks.tolist(), strict=True):
                found[index] = values
    return found


def _percentiles_of(series: Sequence[Course], percentiles: Sequence[float]) -> NDArray[np.int64]:
    """Bytes at each percentage: shape (targets, percentiles)."""
    window_ns = np.maximum(np.stack([one.end_ns - one.start_ns for one in series]), 1)
    weight = window_ns / np.median(window_ns, axis=1, keepdims=True)
    weight[(weight > 1 / _USUAL) & (weight < _USUAL)] = 1
    sizes = np.stack([one.amounts[0] for one in series])
    order = np.argsort(sizes, axis=1, kind="stable")
    up_to = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    shares = np.array(percentiles) * up_to[:, -1:] / 100
    places = np.zeros(shares.shape, np.intp)
    for column, share in enumerate(shares.T):
        places[:, column] = (up_to <= share[:, None]).sum(axis=1)
    places = np.take_along_axis(order, np.minimum(places, sizes.shape[1] - 1), axis=1)
    return np.take_along_axis(sizes, places, axis=1)
