"""Analyses as folds: a recording comes in parts, and what is kept of them hardly grows with it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording import Recorded, Recording, RecordingInfo, parts_of
from pydamon._data.recording.arrays import arrow, joined
from pydamon._data.recording.grouping import new_snapshots
from pydamon._data.recording.parts import in_order
from pydamon._data.recording.targets import TargetNumbers
from pydamon._model.classify import RegionClasses, RegionFacts, classify
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot, Target

__all__ = ["Fold", "Latest", "Outline", "Sample", "classes_of", "fold", "fold_some", "row_weights"]


def classes_of(recording: Recording) -> RegionClasses:
    """The classes of all regions of a part of a recording: shape (rows,) each."""
    column = recording.column
    return classify(
        RegionFacts(
            column("end") - column("start"),
            column("nr_accesses") / column("max_nr_accesses"),
            column("age_ns"),
            column("touched_bytes"),
            column("unobservable_bytes"),
            column("resident_bytes"),
            column("unseen_bytes"),
            column("repeated_bytes"),
            np.repeat(np.arange(len(recording.part_snapshots)), np.diff(recording.part_offsets)),
            recording.of_parts("rss_bytes"),
        )
    )


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
    weights: NDArray[np.float64] = np.maximum(recording.of_snapshots("window_ns"), 1).astype(float)
    return weights


def row_weights(recording: Recording) -> NDArray[np.float64]:
    """The `weights` of the snapshots that regions are in: shape (rows,)."""
    return np.repeat(weights(recording), np.diff(recording.snapshot_offsets))


class Outline:
    """When a recording was made, and of what."""

    def __init__(self, recorded: Recorded) -> None:
        self.begin_ns = 2**63 - 1
        self.end_ns = 0
        self._in_order = is_in_order(recorded)
        self._windows = _Windows()
        self._numbers = TargetNumbers()
        self._recorded_ns = 0.0

    def add(self, part: Recording) -> None:
        start_ns, end_ns = part.of_parts("start_ns"), part.of_parts("end_ns")
        self.begin_ns = min(self.begin_ns, int(start_ns.min(initial=self.begin_ns)))
        self.end_ns = max(self.end_ns, int(end_ns.max(initial=0)))
        self._numbers.of_parts(part)
        if self._in_order:
            self._recorded_ns += float(weights(part).sum())
        else:
            self._windows.add(part)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Its processes, with their last names, in the order of appearance."""
        return self._numbers.targets

    @property
    def duration_ns(self) -> int:
        """From the start of the first snapshot to the end of the last."""
        return self.end_ns - self.begin_ns

    @property
    def recorded_ns(self) -> float:
        """The sum of all `weights`."""
        return self._recorded_ns if self._in_order else self._windows.recorded_ns()


def is_in_order(recorded: Recorded) -> bool:
    """Whether its snapshots come one after the other, and each in one piece."""
    return isinstance(recorded, Recording) or recorded.ordered


class _Windows:
    """The aggregations of single targets, in whatever order they come, to find snapshots of."""

    def __init__(self) -> None:
        self.count = 0
        self._numbers = TargetNumbers()
        self._pieces: list[NDArray[np.int64]] = []

    def add(self, part: Recording) -> NDArray[np.int32]:
        """Take those of a part; the numbers of their targets."""
        targets = self._numbers.of_parts(part)
        times = (part.of_parts("start_ns"), part.of_parts("end_ns"))
        self._pieces.append(np.stack([targets, *times]).astype(np.int64))
        self.count += len(targets)
        return targets

    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """The aggregations in the order of time, that order, and where snapshots begin."""
        windows = np.concatenate(self._pieces, axis=1)
        order = np.lexsort(windows)
        windows = windows[:, order]
        return windows, order, new_snapshots(windows[1], windows[2], windows[0])

    def snapshots(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The snapshot of each aggregation, and when each of these ends."""
        windows, order, new = self._sorted()
        place = np.empty(len(order), np.int64)
        place[order] = np.cumsum(new) - 1
        return place, np.maximum.reduceat(windows[2], np.flatnonzero(new))

    def recorded_ns(self) -> float:
        """How long all snapshots are together."""
        windows, _, new = self._sorted()
        heads = np.flatnonzero(new)
        length_ns = (windows[2] - windows[1]).astype(np.float64)
        means = np.add.reduceat(length_ns, heads) / np.diff(heads, append=len(new))
        return float(np.maximum(means, 1).sum())


class Latest:
    """The latest *count* snapshots of a recording, in whatever order they come."""

    def __init__(self, count: int, recorded: Recorded) -> None:
        self._count = count
        self._in_order = is_in_order(recorded)
        self._windows = _Windows()
        self._snapshots = 0
        self._kept: list[tuple[Recording, NDArray[np.int64]]] = []
        """Each with the number of each part's snapshot, or of the part itself if unordered."""
        self._ends_ns = np.empty(0, np.int64)
        self._recent = np.empty((2, 0), np.int64)

    def add(self, part: Recording) -> None:
        facts = [part.of_snapshots(name) for name in ("end_ns", "window_ns")]
        recent = np.append(self._recent, np.stack(facts), axis=1)
        self._recent = recent[:, np.argsort(recent[0], kind="stable")[-_RECENT:]]
        if self._in_order:
            place = part.part_snapshots + self._snapshots
            self._snapshots += len(part)
            self._ends_ns = np.append(self._ends_ns, facts[0])[-self._count :]
            kept = [*self._kept, (part, place)]
            least = self._snapshots - self._count
            self._kept = [_picked(one, at, at >= least) for one, at in kept if (at >= least).any()]
        else:
            # A snapshot may come in pieces, a target in each: of each, as many may be among them.
            first, targets = self._windows.count, self._windows.add(part)
            late = np.zeros(len(targets), np.bool_)
            order = np.lexsort((part.of_parts("end_ns"), targets))
            rank = np.searchsorted(targets[order], targets[order], side="right")
            late[order] = rank - np.arange(len(order)) <= self._count
            place = first + np.arange(len(targets))
            self._kept.append(_picked(part, place, late))

    def _settle(self) -> None:
        """Find the snapshots of aggregations that came out of order."""
        if self._in_order or not self._windows.count:
            return
        place, self._ends_ns = self._windows.snapshots()
        self._snapshots = len(self._ends_ns)
        self._ends_ns = self._ends_ns[-self._count :]
        self._kept = [(one, place[at]) for one, at in self._kept]
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
        """The index of the last; -2, where the end of the recording has cut the last one short."""
        cut = len(self.end_ns) > 1 and 2 * self._recent[1, -1] < self.usual_ns
        return -2 if cut else -1

    def recording(self, index: int) -> Recording:
        """One of them, by itself: -1 is the last."""
        self._settle()
        wanted = self._snapshots + index
        found = [
            _picked(one, at, at == wanted)[0] for one, at in self._kept if (at == wanted).any()
        ]
        full = [one for one in found if len(one.table)]
        if len(full) <= 1:
            return (full or found)[0]
        return Recording(full[0].info, in_order([one.table for one in full]))

    def snapshot(self, index: int) -> Snapshot:
        """One of them: -1 is the last."""
        return self.recording(index).snapshot(0)


def _picked(
    recording: Recording, place: NDArray[np.int64], parts: NDArray[np.bool_]
) -> tuple[Recording, NDArray[np.int64]]:
    return recording.of_parts_where(parts), place[parts]


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
        """Return the sample in the order of time and release it: it may be a lot of memory."""
        assert self._info is not None
        tables = self._tables()
        self._kept.clear()
        return Recording(self._info, in_order(tables))
