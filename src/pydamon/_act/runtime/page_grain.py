"""The grain "page": schemes act on idle pages by their own ages, whatever region they are in.

A look at all pages says how much idle memory each region holds. Memory is then asked for its idle
pages in cells, those with the most idle memory first, until the quota is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import Candidates
from pydamon._model.page_ages import IDLE_EDGES_NS, PageAges, share_beyond
from pydamon._model.ranges import (
    EMPTY,
    PAGE_SIZE,
    Ranges,
    amount_within,
    intersect,
    join,
    locate,
    subtract,
    touches,
    union,
)
from pydamon._model.runs import Runs, expand, true_runs, unique
from pydamon._model.schemes.matching import UNBOUNDED, Bounds
from pydamon._model.snapshot import Snapshot, SnapshotRegion
from pydamon._observe.linux.arch import HUGE_BYTES

__all__ = [
    "CELL_BYTES",
    "AgeBounds",
    "Batch",
    "Cell",
    "IdleCells",
    "IdleMemory",
    "IdlePages",
    "RecentlyTried",
    "batches",
    "idle_memory",
    "idle_ranges",
    "still_idle",
    "whole_huge_pages",
]

IdlePages = Callable[[TargetMemory, int, int, int], NDArray[np.bool_] | None]
"""For each page of a range of a process, whether it has been idle for a time (ns) for certain.

`None` where nobody keeps ages of pages.
"""

CELL_BYTES = max(32 << 20, HUGE_BYTES)
"""Memory is asked for idle pages in cells of at most this size, so that the quota of time holds."""
_HUGE_PAGES = HUGE_BYTES // PAGE_SIZE
_MAX_RANGES = 1024
"""An action is given so many ranges at once: process_madvise takes no more in one call."""
_SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class AgeBounds:
    """The ages of the pages to act on: at least `min_ns`, and at most `max_ns` if there is one."""

    min_ns: int
    max_ns: int | None

    @classmethod
    def of(cls, bounds: Bounds, aggregation_ns: int) -> AgeBounds:
        """The bounds of an access pattern, in time."""
        max_ns = bounds.max_age_ns
        if max_ns is None and bounds.max_age != UNBOUNDED:
            max_ns = bounds.max_age * aggregation_ns
        return cls(bounds.least_age_ns(aggregation_ns), max_ns)


@dataclass(frozen=True, slots=True)
class Cell:
    """Memory to be asked for pages that have been idle for at least `idle_ns`.

    A huge page lies in one cell, or across an end of the monitored memory.
    """

    pid: int
    start: int
    end: int
    idle_ns: int


class IdleCells:
    """The cells that held idle pages at the last look; each has its turn once a look.

    Cells with the most idle memory come first. With *oldest_first*, the oldest pages of all cells
    come before younger ones, by powers of two, as far as the quota is too small for all of them.
    """

    def __init__(self, *, oldest_first: bool) -> None:
        self.began_ns = 0
        """When the turns of the last look began."""
        self._oldest_first = oldest_first
        self._look: Snapshot | None = None
        self._looked_ns = 0
        self._has_news = False
        self._cells: Iterator[Cell] = iter(())
        self._unfinished: Cell | None = None

    @property
    def has_looked(self) -> bool:
        """Whether there was a look at all."""
        return self._look is not None

    def note(self, snapshot: Snapshot) -> None:
        """Remember a snapshot that has ages of pages."""
        ages = snapshot.page_ages
        if ages is not None and ages.looked_ns != self._looked_ns:
            self._look, self._looked_ns, self._has_news = snapshot, ages.looked_ns, True

    def begin(self, now_ns: int, idle_ns: int, limit_bytes: int | None) -> bool:
        """Begin the turns of a new look, and return whether there is one.

        *limit_bytes* is what the quota allows; `None` is no limit.
        """
        if not self._has_news or self._look is None:
            return False
        self._has_news, self._unfinished, self.began_ns = False, None, now_ns
        by_age = self._oldest_first and limit_bytes is not None
        ages = _ages_in_turn(self._look, idle_ns, limit_bytes or 0) if by_age else [idle_ns]
        look = self._look
        self._cells = (cell for age_ns in ages for cell in _cells(look, now_ns, age_ns))
        return True

    def __iter__(self) -> Iterator[Cell]:
        while True:
            cell, self._unfinished = self._unfinished, None
            if cell is None:
                cell = next(self._cells, None)
            if cell is None:
                return
            yield cell

    def put_back(self, cell: Cell) -> None:
        """Go on with a cell the next time."""
        self._unfinished = cell


def _ages_in_turn(look: Snapshot, idle_ns: int, limit_bytes: int) -> list[int]:
    """The ages to ask for, down to *idle_ns*: the first is the oldest that fills the limit."""
    ages: PageAges | None = look.page_ages
    assert ages is not None
    turns = [idle_ns]
    while True:
        older_ns = max(2 * turns[-1], _SECOND_NS)
        idle_bytes = int(ages.idle_bytes(older_ns, len(look)).sum())
        if idle_bytes < max(limit_bytes, PAGE_SIZE) or older_ns > IDLE_EDGES_NS[-1]:
            return turns[::-1]
        turns.append(older_ns)


def _cells(look: Snapshot, now_ns: int, idle_ns: int) -> list[Cell]:
    """The cells with pages that are idle for so long by now, the most idle memory first."""
    ages: PageAges | None = look.page_ages
    assert ages is not None
    idle_at_look_ns = max(0, idle_ns - max(0, now_ns - ages.looked_ns))
    # Not rounded: a single page must not be missed because some of its bucket is younger.
    shares = share_beyond(idle_at_look_ns)[ages.bucket]
    idle_bytes = np.bincount(ages.region, ages.resident_bytes * shares, minlength=len(look))
    pids, rows, amounts = [], [EMPTY], [np.zeros(0)]
    for index, target in enumerate(look.targets):
        regions = look.target == index
        if not target.pid or not idle_bytes[regions].any():
            continue
        bounds = np.stack([look.start[regions], look.end[regions]], axis=1)
        cells = _grid(bounds, bounds[idle_bytes[regions] > 0])
        pids += [target.pid] * len(cells)
        rows.append(cells)
        amounts.append(amount_within(bounds, idle_bytes[regions], cells[:, 0], cells[:, 1]))
    order = np.argsort(-np.concatenate(amounts), kind="stable").tolist()
    bounds = np.concatenate(rows).tolist()
    return [Cell(pids[row], bounds[row][0], bounds[row][1], idle_ns) for row in order]


def _grid(regions: Ranges, with_idle: Ranges) -> Ranges:
    """The cells of a target: whole huge pages around regions that hold idle pages."""
    whole = np.stack([with_idle[:, 0] // HUGE_BYTES, -(-with_idle[:, 1] // HUGE_BYTES)], axis=1)
    around = intersect(union(whole * HUGE_BYTES), join(regions))
    first, behind = around[:, 0] // CELL_BYTES, -(-around[:, 1] // CELL_BYTES)
    row, place = expand(behind - first)
    start = (first[row] + place) * CELL_BYTES
    return np.stack(
        [np.maximum(start, around[row, 0]), np.minimum(start + CELL_BYTES, around[row, 1])], axis=1
    )


def idle_ranges(cell: Cell, memory: TargetMemory, ages: AgeBounds, idle_pages: IdlePages) -> Ranges:
    """Runs of the pages of a cell that have been idle for as long as they should have been."""
    pages = idle_pages(memory, cell.start, cell.end, cell.idle_ns)
    if pages is None:
        return EMPTY
    if ages.max_ns is not None:
        too_old = idle_pages(memory, cell.start, cell.end, ages.max_ns + 1)
        pages = pages if too_old is None else pages & ~too_old
    return cell.start + true_runs(pages).astype(np.int64) * PAGE_SIZE


def still_idle(
    memory: TargetMemory, pid: int, ranges: Ranges, ages: AgeBounds, idle_pages: IdlePages
) -> Ranges:
    """The pages in ranges that have been idle for as long as they should have been."""
    pieces = _grid(ranges, ranges)
    if not len(pieces):
        return EMPTY
    hulls = Runs.of(pieces[:, 0] // CELL_BYTES)
    cells = zip(pieces[hulls.heads, 0].tolist(), pieces[hulls.tails, 1].tolist(), strict=True)
    runs = [
        idle_ranges(Cell(pid, start, end, ages.min_ns), memory, ages, idle_pages)
        for start, end in cells
    ]
    return intersect(ranges, join(np.concatenate(runs)))


@dataclass(frozen=True, slots=True, eq=False)
class IdleMemory:
    """The idle pages of a cell: candidates to act on, and the huge pages among them."""

    candidates: Candidates
    huge: Ranges

    def whole(self, candidates: Candidates) -> Candidates:
        """These candidates, cut around huge pages, and without parts of huge pages."""
        if not len(self.huge) or not len(candidates):
            return candidates
        target = int(candidates.target[0])
        ranges = np.stack([candidates.start, candidates.end], axis=1)
        broken = _broken(ranges, self.huge)
        kept = candidates.without({target: broken}) if len(broken) else candidates
        return kept.cut_at({target: self.huge.ravel()})

    def is_huge(self, candidates: Candidates) -> NDArray[np.bool_]:
        """Which of the candidates, as `whole` returned them, are huge pages."""
        return locate(self.huge, candidates.start) >= 0


def idle_memory(
    cell: Cell, memory: TargetMemory, target: int, snapshot: Snapshot, ranges: Ranges
) -> IdleMemory:
    """Candidates for the idle *ranges* of a cell, as far as a snapshot has regions there."""
    huge, broken = _huge_pages(cell, memory, ranges)
    if len(broken):
        ranges = subtract(ranges, broken)
    rows = np.flatnonzero(snapshot.target == target)
    regions = np.stack([snapshot.start[rows], snapshot.end[rows]], axis=1)
    ranges = intersect(ranges, join(regions))
    region = rows[locate(regions, ranges[:, 0])] if len(rows) else np.zeros(0, np.intp)
    nothing = np.zeros(len(ranges), np.bool_)
    return IdleMemory(Candidates(snapshot, region, ranges[:, 0], ranges[:, 1], nothing), huge)


def _huge_pages(cell: Cell, memory: TargetMemory, ranges: Ranges) -> tuple[Ranges, Ranges]:
    """The huge pages that lie in *ranges* of a cell, and huge pages across the cell's ends.

    All of a huge page has one age, so that it lies in idle ranges as a whole, or not at all.
    """
    first, behind = -(-ranges[:, 0] // HUGE_BYTES), ranges[:, 1] // HUGE_BYTES
    row, place = expand(np.maximum(behind - first, 0))
    ends = [end // HUGE_BYTES for end in (cell.start, cell.end) if end % HUGE_BYTES]
    number = unique(np.concatenate([first[row] + place, np.array(ends, np.int64)]))
    blocks = np.stack([number, number + 1], axis=1) * HUGE_BYTES
    huge = blocks[_are_huge(memory, blocks)]
    inside = (huge[:, 0] >= cell.start) & (huge[:, 1] <= cell.end)
    return huge[inside], huge[~inside]


def _are_huge(memory: TargetMemory, blocks: Ranges) -> NDArray[np.bool_]:
    """Whether each block of 2 MiB may be one huge page: its frames are neighbours.

    The flags of pages tell it too, but only since Linux 6.7. Where this user may not see frames,
    every block that is in memory counts as huge.
    """
    _, frames = memory.frames(blocks)
    present = (frames.exclusive | frames.shared).reshape(-1, _HUGE_PAGES)
    frame = frames.frame.reshape(-1, _HUGE_PAGES)
    together = (frame - frame[:, :1] == np.arange(_HUGE_PAGES)).all(axis=1)
    aligned: NDArray[np.bool_] = frame[:, 0] % _HUGE_PAGES == 0
    hidden = (frame == 0).all(axis=1)
    are_huge: NDArray[np.bool_] = present.all(axis=1) & (hidden | (together & aligned))
    return are_huge


def _broken(ranges: Ranges, huge: Ranges) -> Ranges:
    """The huge pages of which *ranges* have a part, but no range has all of it."""
    start, end = huge[:, 0], huge[:, 1]
    broken: Ranges = huge[touches(ranges, start, end) & (locate(ranges, start, end) < 0)]
    return broken


def whole_huge_pages(ranges: Ranges, huge: Ranges) -> Ranges:
    """Sorted ranges without the huge pages of which they have a part only."""
    broken = _broken(ranges, huge) if len(huge) and len(ranges) else EMPTY
    return subtract(ranges, broken) if len(broken) else ranges


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Candidates that an action is given at once: ranges of one target."""

    candidates: Candidates

    @property
    def ranges(self) -> Ranges:
        """Their addresses, joined where they touch."""
        return join(np.stack([self.candidates.start, self.candidates.end], axis=1))

    def region(self) -> SnapshotRegion:
        """The first of the candidates."""
        return self.candidates.at(0)


def batches(candidates: Candidates, step_bytes: int) -> Iterator[Batch]:
    """Cut candidates of one cell into batches of at most *step_bytes* and 1,024 ranges.

    *step_bytes* is a multiple of the size of huge pages, which stay whole.
    """
    if not len(candidates):
        return
    first, end = int(candidates.start[0]), int(candidates.end[-1])
    borders = np.arange(first // step_bytes + 1, -(-end // step_bytes)) * step_bytes
    cut = candidates.cut_at({int(candidates.target[0]): borders})
    before = np.cumsum(cut.size) - cut.size
    step = before // step_bytes + np.arange(len(cut)) // _MAX_RANGES
    for begin, behind in Runs.of(step, cut.allowed):
        yield Batch(cut.take(slice(begin, behind)))


class RecentlyTried:
    """Pages that were acted on lately, by cell; they are left alone for a while."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], NDArray[np.int64]] = {}
        """(time, start, end) by pid and number of the cell."""

    def add(self, now_ns: int, cell: Cell, ranges: Ranges) -> None:
        """Take note of ranges of a cell."""
        rows = np.column_stack([np.full(len(ranges), now_ns), ranges])
        before = self._rows.get(_key(cell))
        self._rows[_key(cell)] = rows if before is None else np.concatenate([before, rows])

    def ranges(self, cell: Cell, since_ns: int) -> Ranges:
        """What was acted on since then in a cell; what was acted on before is forgotten."""
        rows = self._rows.pop(_key(cell), None)
        if rows is None:
            return EMPTY
        recent = rows[rows[:, 0] >= since_ns]
        if len(recent):
            self._rows[_key(cell)] = recent
        return union(recent[:, 1:])

    def forget_others(self, pids: set[int]) -> None:
        """Forget the pages of all processes but these."""
        self._rows = {key: rows for key, rows in self._rows.items() if key[0] in pids}


def _key(cell: Cell) -> tuple[int, int]:
    return cell.pid, cell.start // CELL_BYTES
