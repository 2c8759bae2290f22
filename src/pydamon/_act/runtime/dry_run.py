"""A dry run: what a scheme would have done by now, each page counted once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import Candidates
from pydamon._model.ranges import subtract, union
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.pattern import Bounds
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.pages import PRESENT

__all__ = ["DryRun"]

Rows = NDArray[np.int64]
_NONE: Rows = np.empty((0, 3), np.int64)
_CHUNK_BITS = 15


class DryRun:
    """What was counted, by target: as long as it is mapped and its access rate fits.

    Only resident memory counts, and what several targets map counts for one of them.
    """

    def __init__(self, *, of_resident: bool = True) -> None:
        self._of_resident = of_resident
        """Whether the action is done to resident memory only."""
        self._counted: dict[int, _Counted] = {}
        self._frames = _Frames()

    @property
    def tried_bytes(self) -> int:
        """Resident bytes of what the scheme would have tried."""
        return sum(one.total("tried") for one in self._counted.values())

    @property
    def passed_bytes(self) -> int:
        """Those of them that the filters let pass."""
        return sum(one.total("passed") for one in self._counted.values())

    @property
    def applied_bytes(self) -> int:
        """Bytes for which the action would have happened."""
        bounded = self._of_resident
        return sum(one.total("applied", bounded=bounded) for one in self._counted.values())

    def forget(
        self, snapshot: Snapshot, bounds: Bounds, memories: Mapping[int, TargetMemory]
    ) -> None:
        """Leave out what is accessed at another rate now, is not mapped any more, or is gone."""
        rate = snapshot.nr_accesses
        fits = (rate >= bounds.min_nr_accesses) & (rate <= bounds.max_nr_accesses)
        here = {}
        for index in range(len(snapshot.targets)):
            key = _key(snapshot, index)
            one = self._counted.get(key)
            if one is None or (key > 0 and one.memory is not memories.get(key)):
                continue
            rows = fits & (snapshot.target == index)
            kept = np.stack([snapshot.start[rows], snapshot.end[rows]], axis=1)
            one.keep(kept, self._frames)
            if len(snapshot.footprints) == len(snapshot.targets):
                one.most_bytes = snapshot.footprints[index].rss_bytes or None
            here[key] = one
        self._counted = here

    def others(self, chosen: Candidates) -> Candidates:
        """What is not counted yet."""
        for index in range(len(chosen.snapshot.targets)):
            one = self._counted.get(_key(chosen.snapshot, index))
            if one is None or not len(one.covered):
                continue
            chosen = chosen.cut_at({index: one.covered.ravel()})
            at = np.searchsorted(one.covered[:, 0], chosen.start, side="right") - 1
            inside = (chosen.target == index) & (at >= 0) & (chosen.start < one.covered[at, 1])
            chosen = chosen.take(~inside)
        return chosen

    def count(
        self,
        snapshot: Snapshot,
        target: int,
        step: tuple[int, int],
        memory: TargetMemory | None,
        passed: Ranges,
        applied: tuple[Ranges, int],
    ) -> None:
        """Note one step: what passed the filters, and the ranges and bytes that would be done."""
        one = self._counted.setdefault(_key(snapshot, target), _Counted(memory))
        one.cover(*step)
        if memory is None:
            for table in ("tried", "passed", "applied"):
                one.add(table, np.array([[*step, step[1] - step[0]]], np.int64))
            return
        tried = self._resident(memory, np.array([step], np.int64))
        one.add("tried", tried)
        one.add("passed", _within(tried, passed))
        ranges, size_bytes = applied
        if self._of_resident:
            size_bytes = min(size_bytes, int(_within(tried, ranges)[:, 2].sum()))
        one.add("applied", _shared_out(ranges, size_bytes))

    def _resident(self, memory: TargetMemory, ranges: Ranges) -> Rows:
        """The resident runs in ranges, with the bytes of them that no target counts already."""
        runs = memory.pages.runs(ranges)
        present = runs.ranges((runs.flags & PRESENT) != 0)
        return np.column_stack([present, self._frames.claim(memory, present)])


class _Counted:
    """Rows (start, end, bytes) of one target; `covered` are the ranges that were tried."""

    def __init__(self, memory: TargetMemory | None) -> None:
        self.memory = memory
        self.covered: Ranges = np.empty((0, 2), np.int64)
        self.most_bytes: int | None = None
        """What is resident of the target, if that is known."""
        self._rows = {"tried": _NONE, "passed": _NONE, "applied": _NONE}

    def total(self, table: str, *, bounded: bool = True) -> int:
        found = int(self._rows[table][:, 2].sum())
        return min(found, self.most_bytes) if bounded and self.most_bytes is not None else found

    def add(self, table: str, rows: Rows) -> None:
        self._rows[table] = np.concatenate([self._rows[table], rows])

    def cover(self, start: int, end: int) -> None:
        """Note a range that is tried."""
        self.covered = union(np.concatenate([self.covered, np.array([[start, end]], np.int64)]))

    def keep(self, ranges: Ranges, frames: _Frames) -> None:
        """Leave out what is not in ranges."""
        gone = subtract(self.covered, ranges)
        if not len(gone):
            return
        if self.memory is not None:
            frames.release(self.memory, gone)
        self.covered = subtract(self.covered, gone)
        self._rows = {table: _within(rows, self.covered) for table, rows in self._rows.items()}


class _Frames:
    """Which frames of memory that several processes map are counted."""

    def __init__(self) -> None:
        self._chunks: dict[int, NDArray[np.bool_]] = {}
        self._hidden_of: TargetMemory | None = None

    def claim(self, memory: TargetMemory, ranges: Ranges) -> NDArray[np.int64]:
        """Bytes of each range that nobody has counted; they are counted now."""
        return np.array([self._claim(memory, *one) for one in ranges.tolist()], np.int64)

    def _claim(self, memory: TargetMemory, start: int, end: int) -> int:
        pages = memory.pages.frames(start, end)
        fresh = int(pages.exclusive.sum())
        # Frames that are not shown to this user cannot be told apart: they count for one process.
        hidden = int((pages.shared & (pages.frame == 0)).sum())
        if hidden and self._hidden_of in (None, memory):
            self._hidden_of = memory
            fresh += hidden
        frames = np.unique(pages.frame[pages.shared & (pages.frame != 0)])
        for chunk, place in self._places(frames):
            fresh += int((~chunk[place]).sum())
            chunk[place] = True
        return fresh * PAGE_SIZE

    def release(self, memory: TargetMemory, ranges: Ranges) -> None:
        """Do not count the shared frames in ranges any more."""
        runs = memory.pages.runs(ranges)
        for start, end in runs.ranges((runs.flags & PRESENT) != 0).tolist():
            pages = memory.pages.frames(start, end)
            frames = np.unique(pages.frame[pages.shared & (pages.frame != 0)])
            for chunk, place in self._places(frames):
                chunk[place] = False

    def _places(self, frames: NDArray[np.int64]) -> list[tuple[NDArray[np.bool_], Rows]]:
        number = frames >> _CHUNK_BITS
        found = []
        for chunk in np.unique(number).tolist():
            if chunk not in self._chunks:
                self._chunks[chunk] = np.zeros(1 << _CHUNK_BITS, np.bool_)
            inside = frames[number == chunk] & ((1 << _CHUNK_BITS) - 1)
            found.append((self._chunks[chunk], inside))
        return found


def _key(snapshot: Snapshot, target: int) -> int:
    """The pid; made-up targets have none, and are told apart by their number."""
    return snapshot.targets[target].pid or -1 - target


def _within(rows: Rows, ranges: Ranges) -> Rows:
    """The parts of rows (start, end, bytes) in sorted ranges; bytes go by their length."""
    if not len(rows) or not len(ranges):
        return _NONE
    first = np.searchsorted(ranges[:, 1], rows[:, 0], side="right")
    beyond = np.searchsorted(ranges[:, 0], rows[:, 1], side="left")
    counts = np.maximum(beyond - first, 0)
    row = np.repeat(np.arange(len(rows)), counts)
    at = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    part = ranges[first[row] + at]
    start = np.maximum(rows[row, 0], part[:, 0])
    end = np.minimum(rows[row, 1], part[:, 1])
    share = (end - start) / (rows[row, 1] - rows[row, 0])
    return np.column_stack([start, end, (rows[row, 2] * share).astype(np.int64)])


def _shared_out(ranges: Ranges, size_bytes: int) -> Rows:
    """Rows of ranges that have *size_bytes* together, by their length."""
    if not len(ranges):
        return _NONE
    length = ranges[:, 1] - ranges[:, 0]
    reached = np.cumsum(length) * (size_bytes / max(1, int(length.sum())))
    sizes = np.diff(np.round(reached).astype(np.int64), prepend=0)
    return np.column_stack([ranges, sizes])
