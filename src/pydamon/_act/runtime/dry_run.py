"""A dry run: an action that only foresees what another action would have done by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions import Action
from pydamon._act.actions.base import Effect, Part
from pydamon._act.memory import Refusal, TargetMemory
from pydamon._act.runtime.candidates import Candidates, rate_fits
from pydamon._model.ranges import EMPTY, overlaps, subtract, union
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.runs import unique
from pydamon._model.schemes.matching import Bounds
from pydamon._model.schemes.scheme import SchemeStats
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.pagemap import PRESENT

__all__ = ["DryRun"]

Fitting = Callable[[int, Ranges], Ranges]
"""Which parts of ranges of a target (by its index in the snapshot) still fit the scheme."""
Bits = NDArray[np.bool_]
Rows = NDArray[np.int64]
"""Ranges with the bytes that count in each: (start, end, bytes)."""
_NO_ROWS: Rows = np.empty((0, 3), np.int64)
_CHUNK_BITS = 15


class DryRun(Action):
    """Counts what another action would do to resident memory: each page once.

    A page counts for as long as it is mapped and its access rate fits the scheme. Memory that
    several targets share counts for one of them. It has no cooldown: it leaves out memory that is
    counted already.
    """

    def __init__(self, action: Action) -> None:
        self.name = action.name
        self.hot_first = action.hot_first
        self.changes = False
        self.needs_process = action.needs_process
        self.of_resident = action.of_resident
        self.by_region = action.by_region
        self.grain_bytes = action.grain_bytes
        self.failures = action.failures
        self._action = action
        self._counted: dict[int, _Counted] = {}
        self._frames = _Frames()

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        """Why the other action cannot be done to this process."""
        return self._action.refusal(memory)

    def apply(self, part: Part) -> Effect:
        """Count what the other action would do to a part."""
        effect = self._action.foresee(part)
        self.note = self._action.note
        self._count(part, effect)
        return effect

    def foresee(self, part: Part) -> Effect:
        """What the other action would do to a part."""
        return self._action.foresee(part)

    def leave_out(
        self, candidates: Candidates, bounds: Bounds, memories: Mapping[int, TargetMemory]
    ) -> Candidates:
        """The candidates that are not counted yet; memory that fits no more is forgotten."""
        snapshot = candidates.snapshot
        fits = rate_fits(snapshot, bounds)

        def fitting(index: int, ranges: Ranges) -> Ranges:
            del ranges
            rows = fits & (snapshot.target == index)
            return np.stack([snapshot.start[rows], snapshot.end[rows]], axis=1)

        self.forget(snapshot, memories, fitting)
        return self.uncounted(candidates)

    def uncounted(self, candidates: Candidates) -> Candidates:
        """The candidates that are not counted yet."""
        targets = candidates.snapshot.targets
        counted = {}
        for index in unique(candidates.target).tolist():
            key = _key(index, targets[index].pid)
            if key in self._counted:
                mine = candidates.target == index
                first, end = candidates.start[mine].min(), candidates.end[mine].max()
                covered = self._counted[key].covered
                counted[index] = covered[(covered[:, 1] > first) & (covered[:, 0] < end)]
        return candidates.without(counted)

    def report(self, stats: SchemeStats) -> None:
        """Set the bytes of the statistics to what would have been done by now."""
        counted = self._counted.values()
        stats.sz_tried = sum(target.bytes_in("tried") for target in counted)
        stats.sz_ops_filter_passed = sum(target.bytes_in("passed") for target in counted)
        stats.sz_applied = sum(
            target.bytes_in("applied", bounded=self.of_resident) for target in counted
        )

    def forget(
        self, snapshot: Snapshot, memories: Mapping[int, TargetMemory], fitting: Fitting
    ) -> None:
        """Forget memory that does not fit any more, and memory that is not mapped."""
        still_here = {}
        for index, target in enumerate(snapshot.targets):
            key = _key(index, target.pid)
            counted = self._counted.get(key)
            if counted is None or (target.pid and counted.memory is not memories.get(target.pid)):
                continue
            counted.keep(fitting(index, counted.covered), self._frames)
            if len(snapshot.footprints) == len(snapshot.targets):
                counted.resident_bytes = snapshot.footprints[index].rss_bytes or None
            still_here[key] = counted
        self._counted = still_here

    def _count(self, part: Part, effect: Effect) -> None:
        """Count the memory of a part: tried, passed by the filters, and acted on."""
        key = _key(part.target, part.pid)
        counted = self._counted.setdefault(key, _Counted(part.memory))
        counted.cover(part.ranges)
        if part.memory is None:
            rows = _shared_out(part.ranges, part.size)
            for table in ("tried", "passed", "applied"):
                counted.add(table, rows)
            return
        tried = self._resident(part.memory, part.ranges)
        counted.add("tried", tried)
        counted.add("passed", _within(tried, part.passed))
        size_bytes = effect.size_bytes
        if self.of_resident:
            size_bytes = min(size_bytes, int(_within(tried, effect.ranges)[:, 2].sum()))
        counted.add("applied", _shared_out(effect.ranges, size_bytes))

    def _resident(self, memory: TargetMemory, ranges: Ranges) -> Rows:
        """The resident runs in ranges, with the bytes of them that no target counts already."""
        runs = memory.runs(ranges)
        present = runs.ranges((runs.flags & PRESENT) != 0)
        return np.column_stack([present, self._frames.claim(memory, present)])


class _Counted:
    """The counted memory of one target.

    Rows are collected in lists while a snapshot is worked on, and put together when somebody asks.
    """

    def __init__(self, memory: TargetMemory | None) -> None:
        self.memory = memory
        self.resident_bytes: int | None = None
        """The bytes of the target that are resident, if they are known."""
        self._covered: list[Ranges] = [EMPTY]
        self._rows: dict[str, list[Rows]] = {
            table: [_NO_ROWS] for table in ("tried", "passed", "applied")
        }

    @property
    def covered(self) -> Ranges:
        """The ranges that were tried."""
        if len(self._covered) > 1:
            self._covered = [union(np.concatenate(self._covered))]
        return self._covered[0]

    def rows(self, table: str) -> Rows:
        """The counted rows of a table."""
        if len(self._rows[table]) > 1:
            self._rows[table] = [np.concatenate(self._rows[table])]
        return self._rows[table][0]

    def bytes_in(self, table: str, *, bounded: bool = True) -> int:
        """The bytes of a table, and where *bounded* no more than is resident."""
        size_bytes = int(self.rows(table)[:, 2].sum())
        known = bounded and self.resident_bytes is not None
        return min(size_bytes, self.resident_bytes or 0) if known else size_bytes

    def add(self, table: str, rows: Rows) -> None:
        """Count rows in a table."""
        self._rows[table].append(rows)

    def cover(self, ranges: Ranges) -> None:
        """Note ranges that are tried."""
        self._covered.append(ranges)

    def keep(self, ranges: Ranges, frames: _Frames) -> None:
        """Forget the memory outside *ranges*."""
        gone = subtract(self.covered, ranges)
        if not len(gone):
            return
        if self.memory is not None:
            frames.release(self.memory, gone)
        self._covered = [subtract(self.covered, gone)]
        for table in self._rows:
            self._rows[table] = [_within(self.rows(table), self.covered)]


class _Frames:
    """The frames of memory that several processes map, and which of them are counted."""

    def __init__(self) -> None:
        self._chunks: dict[int, NDArray[np.bool_]] = {}
        self._owner_of_hidden: TargetMemory | None = None

    def claim(self, memory: TargetMemory, ranges: Ranges) -> NDArray[np.int64]:
        """Bytes of each range that were not counted before; they are counted now."""
        row, pages = memory.frames(ranges)
        is_new = pages.exclusive.copy()
        # Frames that this user may not see cannot be told apart: they count for one process.
        hidden = pages.shared & (pages.frame == 0)
        if hidden.any() and self._owner_of_hidden in (None, memory):
            self._owner_of_hidden = memory
            is_new |= hidden
        shared = np.flatnonzero(pages.shared & (pages.frame != 0))
        frames, first = np.unique(pages.frame[shared], return_index=True)
        for chunk, index, chosen in self._chunks_of(frames):
            is_new[shared[first[chosen]]] = ~chunk[index]
            chunk[index] = True
        return np.bincount(row[is_new], minlength=len(ranges)) * PAGE_SIZE

    def release(self, memory: TargetMemory, ranges: Ranges) -> None:
        """Do not count the shared frames in ranges any more."""
        runs = memory.runs(ranges)
        _, pages = memory.frames(runs.ranges((runs.flags & PRESENT) != 0))
        frames = np.unique(pages.frame[pages.shared & (pages.frame != 0)])
        for chunk, index, _ in self._chunks_of(frames):
            chunk[index] = False

    def _chunks_of(self, frames: NDArray[np.int64]) -> list[tuple[Bits, Rows, Bits]]:
        """The chunks of bits that hold frames: the indices of frames there, and which they are."""
        number = frames >> _CHUNK_BITS
        places = []
        for chunk in np.unique(number).tolist():
            if chunk not in self._chunks:
                self._chunks[chunk] = np.zeros(1 << _CHUNK_BITS, np.bool_)
            chosen = number == chunk
            index = frames[chosen] & ((1 << _CHUNK_BITS) - 1)
            places.append((self._chunks[chunk], index, chosen))
        return places


def _key(target: int, pid: int) -> int:
    """The pid; made-up targets have none, and are told apart by their index."""
    return pid or -1 - target


def _within(rows: Rows, ranges: Ranges) -> Rows:
    """The parts of rows that lie in sorted ranges; their bytes go by the length."""
    if not len(rows) or not len(ranges):
        return _NO_ROWS
    pairs = overlaps(rows[:, :2], ranges)
    whole = rows[pairs.row]
    size_bytes = whole[:, 2] * (pairs.size / (whole[:, 1] - whole[:, 0]))
    return np.column_stack([pairs.start, pairs.end, size_bytes.astype(np.int64)])


def _shared_out(ranges: Ranges, size_bytes: int) -> Rows:
    """Rows of ranges that have *size_bytes* together, by their length."""
    if not len(ranges):
        return _NO_ROWS
    length = ranges[:, 1] - ranges[:, 0]
    reached = np.cumsum(length) * (size_bytes / max(1, int(length.sum())))
    sizes = np.diff(np.round(reached).astype(np.int64), prepend=0)
    return np.column_stack([ranges, sizes])
