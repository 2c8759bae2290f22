"""Working-set size: how many bytes were accessed in each aggregation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.folding import fold
from pydamon.core.errors import UsageError
from pydamon.core.snapshot import Target
from pydamon.recording import Recorded, Recording

__all__ = [
    "PERCENTILES",
    "Courses",
    "WorkingSet",
    "WorkingSetSeries",
    "touched_bytes",
    "working_set",
]

PERCENTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 100.0)

Amount: TypeAlias = Callable[[Recording], NDArray[np.int64]]
"""Bytes of each part, a target of a snapshot: shape (parts,)."""


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

    @classmethod
    def of(cls, courses: Courses, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
        """That of which the first amount is `touched_bytes`."""
        total, *targets = (
            WorkingSetSeries(target, end_ns, size, _percentiles(size, percentiles))
            for target, end_ns, (size, *_) in courses.series()
        )
        return cls(total, tuple(targets))


def working_set(recording: Recorded, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
    """The working set over time, and its distribution over the snapshots.

    A snapshot's working set is the sum of its regions' `touched_bytes`. Raises `UsageError` for
    percentiles outside 0 to 100.
    """
    if not all(0 <= p <= 100 for p in percentiles):
        raise UsageError("a percentile is a number from 0 to 100")
    courses = Courses(touched_bytes)
    fold(recording, courses)
    return WorkingSet.of(courses, percentiles)


def touched_bytes(recording: Recording) -> NDArray[np.int64]:
    """What was accessed of each target in each snapshot: shape (parts,)."""
    touched = np.append(0, np.cumsum(recording.column("touched_bytes"), dtype=np.int64))
    return np.diff(touched[recording.part_offsets])


class Courses:
    """Bytes over time of every target: a fold that keeps a row for each target of a snapshot."""

    def __init__(self, *amounts: Amount) -> None:
        self._amounts = amounts
        self._targets: dict[int, Target] = {}
        self._columns: list[list[NDArray[np.int64]]] = [[] for _ in range(3 + len(amounts))]

    def add(self, part: Recording) -> None:
        self._targets |= {target.pid: target for target in part.targets}
        windows = (part.of_snapshots(name)[part.part_snapshots] for name in ("start_ns", "end_ns"))
        amounts = (amount(part) for amount in self._amounts)
        for column, values in zip(
            self._columns, (part.of_parts("pid"), *windows, *amounts), strict=True
        ):
            column.append(values)

    def series(self) -> Iterator[tuple[Target | None, NDArray[np.int64], list[NDArray[np.int64]]]]:
        """When each snapshot ended, and the amounts in it: of all together, then of each target."""
        pid, start_ns, end_ns, *amounts = (
            np.concatenate(column) if column else np.empty(0, np.int64) for column in self._columns
        )
        if (end_ns[1:] < end_ns[:-1]).any():
            order = np.argsort(end_ns, kind="stable")
            pid, start_ns, end_ns = pid[order], start_ns[order], end_ns[order]
            amounts = [amount[order] for amount in amounts]
        new = np.ones(len(end_ns), np.bool_)
        new[1:] = (end_ns[1:] != end_ns[:-1]) | (start_ns[1:] != start_ns[:-1])
        snapshot = np.cumsum(new)
        every = slice(None)
        for target in (None, *self._targets.values()):
            # Of a single target, all together are the same: their arrays then need no copies.
            mine = every if target is None or len(self._targets) == 1 else pid == target.pid
            first = np.diff(snapshot[mine], prepend=0) > 0
            if first.all():
                yield target, end_ns[mine], [amount[mine] for amount in amounts]
            else:
                heads = np.flatnonzero(first)
                sums = [np.add.reduceat(amount[mine], heads) for amount in amounts]
                yield target, end_ns[mine][heads], sums


def _percentiles(
    size_bytes: NDArray[np.int64], percentiles: Sequence[float]
) -> tuple[tuple[float, int], ...]:
    ordered = np.sort(size_bytes)
    last = len(ordered) - 1
    return tuple(
        (float(p), int(ordered[min(int(p * len(ordered) / 100), last)]))
        for p in (percentiles if len(ordered) else ())
    )
