"""Analyses as folds: a recording comes in parts, and what is kept of them hardly grows with it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Snapshot, Target
from pydamon.recording import Recorded, Recording, RecordingInfo, parts_of
from pydamon.recording.arrays import arrow, joined
from pydamon.recording.parts import in_order

__all__ = ["Fold", "Latest", "Outline", "Sample", "fold", "fold_some", "host_codes", "row_weights"]

_RECENT = 100
_MOST_PIECES = 32


class Fold(Protocol):
    """What is found out of a recording, part by part."""

    def add(self, part: Recording) -> None:
        """Take the next part into account."""
        ...


def fold(recorded: Recorded, *folds: Fold) -> None:
    """Show every part of a recording to each of *folds*."""
    for part in parts_of(recorded):
        for one in folds:
            one.add(part)


def fold_some(recorded: Recorded, *folds: Fold) -> Outline:
    """The same, and its outline; raises `RecordingError` where there are no snapshots."""
    outline = Outline(recorded)
    fold(recorded, outline, *folds)
    if not outline.targets:
        raise RecordingError("the recording has no snapshots")
    return outline


def weights(recording: Recording) -> NDArray[np.float64]:
    """How long each snapshot took, in ns and at least 1: shape (snapshots,)."""
    window_ns = recording.of_snapshots("end_ns") - recording.of_snapshots("start_ns")
    weights: NDArray[np.float64] = np.maximum(window_ns, 1).astype(np.float64)
    return weights


def row_weights(recording: Recording) -> NDArray[np.float64]:
    """The `weights` of the snapshots that regions are in: shape (rows,)."""
    return np.repeat(weights(recording), np.diff(recording.snapshot_offsets))


def host_codes(recording: Recording, known: dict[str, int]) -> NDArray[np.int32]:
    """The host of each snapshot, as its number in *known*, where new ones are added."""
    numbers = [known.setdefault(name, len(known)) for name in recording.names("host")]
    codes: NDArray[np.int32] = np.array(numbers, np.int32)[recording.of_snapshots("host")]
    return codes


class Outline:
    """When a recording was made, and of what.

    `targets` are its processes by pid, with their last names, in the order of appearance.
    """

    def __init__(self, recorded: Recorded) -> None:
        self.targets: dict[int, Target] = {}
        self.begin_ns = 2**63 - 1
        self.end_ns = 0
        # In parts that are out of order, a snapshot may be found again, with another target.
        self._in_order = isinstance(recorded, Recording) or recorded.ordered
        self._windows: list[NDArray[np.int64]] = []
        self._hosts: dict[str, int] = {}
        self._recorded_ns = 0.0

    def add(self, part: Recording) -> None:
        start_ns, end_ns = part.of_snapshots("start_ns"), part.of_snapshots("end_ns")
        self.begin_ns = min(self.begin_ns, int(start_ns.min(initial=self.begin_ns)))
        self.end_ns = max(self.end_ns, int(end_ns.max(initial=0)))
        self.targets |= {target.pid: target for target in part.targets}
        if self._in_order:
            self._recorded_ns += float(weights(part).sum())
        else:
            hosts = host_codes(part, self._hosts)
            self._windows.append(np.column_stack([hosts, start_ns, end_ns]))

    @property
    def duration_ns(self) -> int:
        """From the start of the first snapshot to the end of the last."""
        return self.end_ns - self.begin_ns

    @property
    def recorded_ns(self) -> float:
        """The sum of all `weights`."""
        if self._in_order:
            return self._recorded_ns
        _, start_ns, end_ns = np.unique(np.concatenate(self._windows), axis=0).T
        return float(np.maximum(end_ns - start_ns, 1).sum())


class Latest:
    """The latest *count* snapshots, in whatever order they come."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept: list[Recording] = []
        self.end_ns = np.empty(0, np.int64)
        """When each of them ended, the latest last: shape (at most count,)."""
        self._recent = np.empty((2, 0), np.int64)

    def add(self, part: Recording) -> None:
        start_ns, end_ns = part.of_snapshots("start_ns"), part.of_snapshots("end_ns")
        recent = np.append(self._recent, [end_ns, end_ns - start_ns], axis=1)
        self._recent = recent[:, np.argsort(recent[0], kind="stable")[-_RECENT:]]
        self.end_ns = np.unique(np.append(self.end_ns, end_ns))[-self._count :]
        least = self.end_ns.min(initial=2**63 - 1)
        late = (one.pick_snapshots(_ends(one) >= least) for one in (*self._kept, part))
        self._kept = [one for one in late if len(one)]

    @property
    def usual_ns(self) -> int:
        """How long a snapshot takes towards the end of the recording."""
        return int(np.median(self._recent[1]))

    @property
    def last_whole(self) -> int:
        """The index of the last; -2, where the end of the recording has cut the last one short."""
        cut = len(self.end_ns) > 1 and 2 * self._recent[1, -1] < self.usual_ns
        return -2 if cut else -1

    def recording(self, index: int) -> Recording:
        """One of them, by itself: -1 is the last."""
        found = [one.pick_snapshots(_ends(one) == self.end_ns[index]) for one in self._kept]
        found = [one for one in found if len(one)]
        full = [one for one in found if len(one.table)]
        if len(full) <= 1:
            return (full or found)[0]
        return Recording(full[0].info, joined([one.table for one in full]))

    def snapshot(self, index: int) -> Snapshot:
        """One of them: -1 is the last."""
        return self.recording(index).snapshot(0)


class Sample:
    """The regions of every `step`-th of `count` snapshots: at most *most_rows*."""

    def __init__(self, most_rows: int) -> None:
        self.step = 1
        self.count = 0
        self._most_rows = most_rows
        self._info: RecordingInfo | None = None
        self._kept: list[tuple[NDArray[np.int64], pa.Table]] = []
        """The numbers of the snapshots that rows are of, and the rows."""

    def add(self, part: Recording) -> None:
        self._info = part.info
        numbers = np.arange(self.count, self.count + len(part))
        self.count += len(part)
        self._kept.append((np.repeat(numbers, np.diff(part.snapshot_offsets)), part.table))
        self._thin()
        while self._rows > self._most_rows and self.step < self.count:
            self.step *= 2
            self._thin()
        if self.step > 1 and len(self._kept) > _MOST_PIECES:  # they would pin the heap in pieces
            self._kept = [(np.concatenate([n for n, _ in self._kept]), joined(self._tables()))]

    def _thin(self) -> None:
        thinned = []
        for numbers, table in self._kept:
            some = np.flatnonzero(numbers % self.step == 0)
            if len(some) == len(numbers):
                thinned.append((numbers, table))
            elif len(some):
                thinned.append((numbers[some], joined([table.take(arrow(some))])))
        self._kept = thinned
        self._rows = sum(len(numbers) for numbers, _ in thinned)

    def _tables(self) -> list[pa.Table]:
        return [table for _, table in self._kept]

    def taken(self) -> Recording:
        """They as one, in the order of time, and no longer here: that may be a lot of memory."""
        assert self._info is not None
        tables = self._tables()
        self._kept.clear()
        return Recording(self._info, in_order(tables))


def _ends(recording: Recording) -> NDArray[np.int64]:
    return recording.of_snapshots("end_ns")
