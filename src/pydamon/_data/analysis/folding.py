"""Analyses as folds over the chunks of a recording, in memory that hardly grows with it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording import AnyRecording, Recording, RecordingInfo, chunks_of
from pydamon._data.recording.arrow import concatenate, to_arrow
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._data.recording.grouping import new_snapshots
from pydamon._data.recording.rows import in_time_order
from pydamon._model.classify import RegionClasses, RegionFacts, classify
from pydamon._model.cold_ages import Looked
from pydamon._model.errors import RecordingError
from pydamon._model.runs import Runs
from pydamon._model.snapshot import Snapshot, Target

__all__ = [
    "Fold",
    "LatestSnapshots",
    "Outline",
    "SnapshotSample",
    "classes_of",
    "fold",
    "fold_with_outline",
    "region_weights",
]

_RECENT = 100
_MAX_PIECES = 32
_LATEST_NS = 2**63 - 1


class Fold(Protocol):
    """Something that is computed chunk by chunk."""

    def add(self, chunk: Recording) -> None:
        """Take the next chunk into account."""
        ...


def fold(recording: AnyRecording, *folds: Fold) -> None:
    """Show every chunk of a recording to each of *folds*."""
    for chunk in chunks_of(recording):
        for each in folds:
            each.add(chunk)


def fold_with_outline(recording: AnyRecording, *folds: Fold) -> Outline:
    """The same; return the outline, or raise `RecordingError` if there are no snapshots."""
    outline = Outline(recording)
    fold(recording, outline, *folds)
    if not outline.targets:
        raise RecordingError("the recording has no snapshots")
    return outline


def classes_of(recording: Recording, *, with_pages: bool = True) -> RegionClasses:
    """The classes of all regions of a chunk: shape (rows,) each.

    Idle bytes are those of pages where there are ages of pages; without them it takes less time.
    """
    column = recording.column
    return classify(
        RegionFacts(
            column("end") - column("start"),
            recording.access_rate,
            column("age_ns"),
            column("touched_bytes"),
            column("unobservable_bytes"),
            column("resident_bytes"),
            column("unseen_bytes"),
            column("repeated_bytes"),
            np.repeat(
                np.arange(len(recording.target_snapshots)), np.diff(recording.target_offsets)
            ),
            recording.per_target("rss_bytes"),
            _looked(recording) if with_pages else None,
        )
    )


def _looked(recording: Recording) -> Looked | None:
    """The ages of pages in a chunk; None if there are none."""
    if not recording.column("looked_ns").any():
        return None
    return Looked(recording.page_ages, recording.column("followed_share") < 1)


def snapshot_weights(recording: Recording) -> NDArray[np.float64]:
    """How long each snapshot took, in ns and at least 1: shape (snapshots,)."""
    weights: NDArray[np.float64] = np.maximum(recording.per_snapshot("window_ns"), 1).astype(float)
    return weights


def region_weights(recording: Recording) -> NDArray[np.float64]:
    """How long the snapshot of each region took, in ns and at least 1: shape (rows,)."""
    return np.repeat(snapshot_weights(recording), np.diff(recording.snapshot_offsets))


class Outline:
    """When a recording was made, and of which targets."""

    def __init__(self, recording: AnyRecording) -> None:
        self.begin_ns = _LATEST_NS
        self.end_ns = 0
        self._in_order = _is_in_order(recording)
        self._windows = _Windows()
        self._numbers = TargetNumbers()
        self._recorded_ns = 0.0

    def add(self, chunk: Recording) -> None:
        start_ns, end_ns = chunk.per_target("start_ns"), chunk.per_target("end_ns")
        self.begin_ns = min(self.begin_ns, int(start_ns.min(initial=self.begin_ns)))
        self.end_ns = max(self.end_ns, int(end_ns.max(initial=0)))
        self._numbers.per_target(chunk)
        if self._in_order:
            self._recorded_ns += float(snapshot_weights(chunk).sum())
        else:
            self._windows.add(chunk)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets with their last names, in the order of appearance."""
        return self._numbers.targets

    @property
    def duration_ns(self) -> int:
        """From the start of the first snapshot to the end of the last."""
        return self.end_ns - self.begin_ns

    @property
    def recorded_ns(self) -> float:
        """The length of all snapshots together."""
        return self._recorded_ns if self._in_order else self._windows.recorded_ns()


def _is_in_order(recording: AnyRecording) -> bool:
    """Whether snapshots come in the order of time, each in a single chunk."""
    return isinstance(recording, Recording) or recording.ordered


class _SortedWindows(NamedTuple):
    """Windows of targets in the order of time; `order` is where each stood before."""

    order: NDArray[np.intp]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    snapshots: Runs


class _Windows:
    """The windows of single targets, in any order, to find snapshots of."""

    def __init__(self) -> None:
        self.count = 0
        self._numbers = TargetNumbers()
        self._pieces: list[NDArray[np.int64]] = []

    def add(self, chunk: Recording) -> NDArray[np.int32]:
        """Add the windows of a chunk; return the numbers of their targets."""
        targets = self._numbers.per_target(chunk)
        times = (chunk.per_target("start_ns"), chunk.per_target("end_ns"))
        self._pieces.append(np.stack([targets, *times]).astype(np.int64))
        self.count += len(targets)
        return targets

    def _sorted(self) -> _SortedWindows:
        windows = np.concatenate(self._pieces, axis=1)
        order = np.lexsort(windows)
        target, start_ns, end_ns = windows[:, order]
        begins = new_snapshots(start_ns, end_ns, target)
        return _SortedWindows(order, start_ns, end_ns, Runs.split(begins[1:], len(begins)))

    def snapshots(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The number of the snapshot that each window is in, and when each snapshot ends."""
        windows = self._sorted()
        numbers = np.empty(len(windows.order), np.int64)
        numbers[windows.order] = windows.snapshots.number
        return numbers, windows.snapshots.max(windows.end_ns)

    def recorded_ns(self) -> float:
        """The length of all snapshots together."""
        windows = self._sorted()
        length_ns = (windows.end_ns - windows.start_ns).astype(np.float64)
        means = windows.snapshots.sum(length_ns) / windows.snapshots.lengths
        return float(np.maximum(means, 1).sum())


class _Kept(NamedTuple):
    """Some targets of snapshots: the number of each one's snapshot, or window if unordered."""

    recording: Recording
    numbers: NDArray[np.int64]

    def pick(self, targets: NDArray[np.bool_]) -> _Kept:
        return _Kept(self.recording.pick_targets(targets), self.numbers[targets])


class LatestSnapshots:
    """The latest *count* snapshots of a recording, in whatever order they come."""

    def __init__(self, count: int, recording: AnyRecording) -> None:
        self._count = count
        self._in_order = _is_in_order(recording)
        self._windows = _Windows()
        self._snapshot_count = 0
        self._kept: list[_Kept] = []
        self._ends_ns = np.empty(0, np.int64)
        self._recent = np.empty((2, 0), np.int64)
        """The ends and the lengths of the latest windows."""

    def add(self, chunk: Recording) -> None:
        facts = [chunk.per_snapshot(name) for name in ("end_ns", "window_ns")]
        recent = np.append(self._recent, np.stack(facts), axis=1)
        self._recent = recent[:, np.argsort(recent[0], kind="stable")[-_RECENT:]]
        if self._in_order:
            self._add_in_order(chunk)
        else:
            self._add_unordered(chunk)

    def _add_in_order(self, chunk: Recording) -> None:
        numbers = chunk.target_snapshots + self._snapshot_count
        self._snapshot_count += len(chunk)
        self._ends_ns = np.append(self._ends_ns, chunk.per_snapshot("end_ns"))[-self._count :]
        least = self._snapshot_count - self._count
        kept = [*self._kept, _Kept(chunk, numbers)]
        self._kept = [
            each.pick(each.numbers >= least) for each in kept if (each.numbers >= least).any()
        ]

    def _add_unordered(self, chunk: Recording) -> None:
        # The targets of a snapshot may come in different chunks. Of each target of this chunk, as
        # many windows as are asked for may be among the latest.
        first, targets = self._windows.count, self._windows.add(chunk)
        is_late = np.zeros(len(targets), np.bool_)
        order = np.lexsort((chunk.per_target("end_ns"), targets))
        target_ends = np.searchsorted(targets[order], targets[order], side="right")
        is_late[order] = target_ends - np.arange(len(order)) <= self._count
        numbers = first + np.arange(len(targets))
        self._kept.append(_Kept(chunk, numbers).pick(is_late))

    def _settle(self) -> None:
        """Find the snapshots of windows that came out of order."""
        if self._in_order or not self._windows.count:
            return
        numbers, ends_ns = self._windows.snapshots()
        self._snapshot_count = len(ends_ns)
        self._ends_ns = ends_ns[-self._count :]
        self._kept = [_Kept(each.recording, numbers[each.numbers]) for each in self._kept]
        self._in_order = True

    @property
    def end_ns(self) -> NDArray[np.int64]:
        """When each of them ended, the latest last: shape (at most count,)."""
        self._settle()
        return self._ends_ns

    @property
    def usual_ns(self) -> int:
        """How long a snapshot takes towards the end of the recording."""
        return int(np.median(self._recent[1]))

    @property
    def last_whole(self) -> int:
        """The index of the last snapshot; -2 if the end of the recording has cut that short."""
        is_cut = len(self.end_ns) > 1 and 2 * self._recent[1, -1] < self.usual_ns
        return -2 if is_cut else -1

    def recording(self, index: int) -> Recording:
        """One snapshot by itself: -1 is the last."""
        self._settle()
        number = self._snapshot_count + index
        pieces = [
            each.pick(each.numbers == number).recording
            for each in self._kept
            if (each.numbers == number).any()
        ]
        with_rows = [piece for piece in pieces if len(piece.table)]
        if len(with_rows) <= 1:
            return (with_rows or pieces)[0]
        return Recording(with_rows[0].info, in_time_order([each.table for each in with_rows]))

    def snapshot(self, index: int) -> Snapshot:
        """One snapshot: -1 is the last."""
        return self.recording(index).snapshot(0)


class _Rows(NamedTuple):
    """Some rows, and the number of the snapshot that each is of."""

    numbers: NDArray[np.int64]
    table: pa.Table


class SnapshotSample:
    """Every `step`-th of `count` snapshots, so that there are at most *most_rows* regions."""

    def __init__(self, most_rows: int) -> None:
        self.step = 1
        self.count = 0
        self._most_rows = most_rows
        self._info: RecordingInfo | None = None
        self._kept: list[_Rows] = []

    def add(self, chunk: Recording) -> None:
        self._info = chunk.info
        numbers = np.arange(self.count, self.count + len(chunk))
        self.count += len(chunk)
        row_numbers = np.repeat(numbers, np.diff(chunk.snapshot_offsets))
        self._kept.append(_Rows(row_numbers, chunk.table))
        self._thin()
        while self._row_count > self._most_rows and self.step < self.count:
            self.step *= 2
            self._thin()
        if self.step > 1 and len(self._kept) > _MAX_PIECES:  # pieces would pin the heap
            row_numbers = np.concatenate([rows.numbers for rows in self._kept])
            self._kept = [_Rows(row_numbers, concatenate([rows.table for rows in self._kept]))]

    def _thin(self) -> None:
        """Drop the snapshots that `step` leaves out."""
        thinned = []
        for rows in self._kept:
            taken = np.flatnonzero(rows.numbers % self.step == 0)
            if len(taken) == len(rows.numbers):
                thinned.append(rows)
            elif len(taken):
                table = concatenate([rows.table.take(to_arrow(taken))])
                thinned.append(_Rows(rows.numbers[taken], table))
        self._kept = thinned

    @property
    def _row_count(self) -> int:
        return sum(len(rows.numbers) for rows in self._kept)

    def take(self) -> Recording:
        """Return the sample in time order and release it: it may take much memory."""
        assert self._info is not None
        tables = [rows.table for rows in self._kept]
        self._kept.clear()
        return Recording(self._info, in_time_order(tables))
