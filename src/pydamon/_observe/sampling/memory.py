"""The memory of the targets: whose it is, where it lies, and when to look again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pydamon._model import adjust
from pydamon._model.errors import TargetError
from pydamon._model.mappings import forked_ranges, repeated_ranges
from pydamon._model.ranges import EMPTY, Ranges, close_gaps, intersect, keyed
from pydamon._model.regions import RegionTable, concatenate
from pydamon._model.snapshot import Footprint
from pydamon._observe.linux.process import Process
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.base import Session
from pydamon._observe.targets import Layout, Space

__all__ = ["CHECK_NS", "MemoryState", "MonitoredMemory"]

CHECK_NS = 100 * 10**6
"""How often to check in a window whether the targets live, and where their memory is."""
_LEAST_REST = 100
"""Where no budget bounds the checks, the time between two is so many times their CPU time."""
_STARTING_NS, _FIRST_CHECK_NS = 10**9, 25 * 10**6
"""So long after the start checks come more often: programs map most of their memory then."""
_EARLY_NS = 5 * 10**9
"""So long after the start updates do not wait for the update interval, only for their cost."""
_MORE_OFTEN = 4
"""Moved memory may be updated so many times as often as the cost of updates allows otherwise."""
_FEW_PROCESSES = 16
_LEAST_RANGES = 3
_MOST_APART, _LARGE_GAP_BYTES = 32, 1 << 28
"""A target may have so many ranges in any case if gaps as large as this lie between them."""


class MemoryState(NamedTuple):
    """The targets as of the last update."""

    layout: Layout
    footprints: tuple[Footprint, ...]
    repeated: Ranges
    """Memory that counts in another target, too, as ranges of `order_keys`."""
    forked: Ranges = EMPTY
    """Memory that a target shares with lower ones if it was forked a moment ago."""


class MonitoredMemory:
    """Follows the targets of a monitor: processes come and go, and memory moves."""

    def __init__(self, space: Space, session: Session, pacer: Pacer) -> None:
        self.state = MemoryState(Layout((), (), (), ()), (), EMPTY)
        self.ranges: list[Ranges] = []
        """The monitored ranges of each target: where it has memory, as far as that is known."""
        self.in_memory: list[Ranges] = []
        """The same without gaps, however many ranges that makes."""
        self.stopped = False
        """Whether monitoring ends: someone asked for it, or all targets have exited."""
        self._space = space
        self._session = session
        self._pacer = pacer
        self._populated: list[Ranges] | None = None
        self._moved = False
        self._sizes_then: list[Footprint] = []
        """VSZ and RSS when `has_moved` last looked at page tables."""
        self._started_ns = self._updated_ns = self._ended_early_ns = 0
        self._update_rest_ns = 0
        """How long to leave out updates after the last one, for the sake of their cost."""
        self._next_check_ns = self._next_look_ns = 0
        """When to compare sizes again, and page tables even where the sizes are the same."""

    def start(self) -> None:
        """Find the targets and their memory; raises `TargetError` if there are none."""
        layout = self._space.update(self._max_ranges)
        if not layout.targets:
            raise TargetError("there is nothing to watch: all processes have exited")
        self._session.set_targets(layout.processes, layout.mappings)
        self._populated = self._session.populated()
        self._set_state(layout)
        self.ranges = self._monitored(layout)
        now_ns = self._session.clock.now_ns()
        self._started_ns = self._updated_ns = self._ended_early_ns = now_ns

    @property
    def processes(self) -> Sequence[Process]:
        """The processes whose memory `ranges` are."""
        return self.state.layout.processes

    @property
    def alive(self) -> bool:
        """Whether monitoring goes on: nobody stopped it, and any target lives."""
        return not self.stopped and self._space.alive

    @property
    def resident_bytes(self) -> int:
        """The RSS of all targets; 0 if it is not known."""
        return sum(footprint.rss_bytes for footprint in self.state.footprints)

    def check_interval_ns(self, now_ns: int, usual_ns: int = CHECK_NS) -> int:
        """How often to ask `ends_window` during a window: every *usual_ns* after the start."""
        return _FIRST_CHECK_NS if self._is_starting(now_ns) else usual_ns

    def ends_window(self, now_ns: int) -> bool:
        """Whether to end the window now: monitoring ends, or memory has moved.

        After a move the window says nothing about where memory is now. If memory moves all the
        time, only some windows end early.
        """
        self.stopped |= not self._space.alive
        return self._must_end_early(now_ns) or self.stopped

    def update_is_due(self, now_ns: int) -> bool:
        """Whether to update now: an update interval has passed, or memory has moved.

        Updates come sooner at the start, and always less often the more they cost.
        """
        since_ns, rest_ns = now_ns - self._updated_ns, self._update_rest_ns
        is_early = now_ns - self._started_ns < _EARLY_NS
        interval_ns = self._pacer.effective.update_ns
        if since_ns >= (rest_ns if is_early else max(interval_ns, 2 * rest_ns)):
            return True
        # Moves are rare, and must not wait as long as regular updates.
        return since_ns >= rest_ns // _MORE_OFTEN and self.has_moved(now_ns)

    def has_moved(self, now_ns: int) -> bool:
        """Whether a target has memory elsewhere than at the last update, as far as is known.

        Asking costs CPU time, so that the answer may be from a moment ago.
        """
        if self._moved or self._populated is None or now_ns < self._next_check_ns:
            return self._moved
        clock = self._session.clock
        begin_ns = clock.cpu_ns()
        sizes = self._sizes()
        # Memory that mremap moves leaves the sizes as they are.
        same = bool(sizes) and sizes == self._sizes_then
        self._next_check_ns = now_ns + self._rest_ns(clock.cpu_ns() - begin_ns, now_ns)
        if not same or now_ns >= self._next_look_ns:
            begin_ns, self._sizes_then = clock.cpu_ns(), sizes
            self._moved = not _same(self._session.populated(), self._populated)
            self._next_look_ns = now_ns + self._rest_ns(clock.cpu_ns() - begin_ns, now_ns)
            if not same:
                self._next_check_ns = self._next_look_ns
        return self._moved

    def _rest_ns(self, cost_ns: int, now_ns: int) -> int:
        """How long not to ask again after a check that cost so much CPU time."""
        rest_ns = max(self._pacer.rest_ns(cost_ns), _LEAST_REST * cost_ns)
        return min(rest_ns, _FIRST_CHECK_NS) if self._is_starting(now_ns) else rest_ns

    def update(self, table: RegionTable, now_ns: int) -> RegionTable:
        """Read the targets and their mappings again; returns regions that fit their memory now."""
        begin_ns = self._session.clock.cpu_ns()
        before, layout = self.state.layout, self._space.update(self._max_ranges)
        changed = layout is not before
        if changed:
            table = _renumbered(table, before, layout)
            self._session.set_targets(layout.processes, layout.mappings)
        self._moved = False
        populated = self._session.populated()
        self._set_state(layout, changed=changed)
        if changed or not _same(populated, self._populated):
            self._populated = populated
            self.ranges = self._monitored(layout)
            table = adjust.fit(table, self.ranges)
        self._updated_ns = now_ns
        rest_ns = self._pacer.rest_ns(self._session.clock.cpu_ns() - begin_ns)
        self._update_rest_ns = min(rest_ns, now_ns - self._started_ns)
        return table

    def refresh_in_memory(self) -> list[Ranges]:
        """What each target has in memory now, for a last look; regions stay as they are."""
        populated = self._session.populated() or self.state.layout.ranges
        pairs = zip(self.state.layout.ranges, populated, strict=True)
        self.in_memory = [intersect(*both) for both in pairs]
        return self.in_memory

    def _is_starting(self, now_ns: int) -> bool:
        return now_ns - self._started_ns < _STARTING_NS

    def _must_end_early(self, now_ns: int) -> bool:
        rest_ns, apart_ns = (
            self._update_rest_ns // _MORE_OFTEN,
            self._pacer.effective.aggregation_ns,
        )
        if self._is_starting(now_ns):
            rest_ns, apart_ns = rest_ns // _MORE_OFTEN, 2 * _FIRST_CHECK_NS
        if now_ns - self._updated_ns < rest_ns or now_ns - self._ended_early_ns < apart_ns:
            return False
        if not self.has_moved(now_ns):
            return False
        self._ended_early_ns = now_ns
        return True

    def _sizes(self) -> list[Footprint]:
        """VSZ and RSS of the processes, which change where memory appears or goes.

        Empty if they are not known, and where processes are so many that asking for all costs more
        than to look at their page tables.
        """
        if len(self.processes) > _FEW_PROCESSES:
            return []
        sizes = [process.footprint() for process in self.processes]
        return sizes if all(size.vsz_bytes for size in sizes) else []

    @property
    def _max_ranges(self) -> int:
        return self._pacer.effective.max_regions // 10

    def _set_state(self, layout: Layout, *, changed: bool = True) -> None:
        footprints = tuple(process.footprint() for process in layout.processes)
        if changed:
            repeated, forked = (
                keyed(ranges(layout.mappings)) for ranges in (repeated_ranges, forked_ranges)
            )
            self.state = MemoryState(layout, footprints, repeated, forked)
        else:
            self.state = self.state._replace(footprints=footprints)

    def _monitored(self, layout: Layout) -> list[Ranges]:
        """The ranges to monitor: memory that never existed cannot be accessed."""
        mapped = list(layout.ranges)
        pairs = zip(mapped, self._populated or mapped, strict=True)
        self.in_memory = [intersect(ranges, populated) for ranges, populated in pairs]
        if not self._space.follows_memory:
            return mapped
        share = max(_LEAST_RANGES, self._max_ranges // max(1, len(mapped)))
        return [
            close_gaps(parts, max(share, min(_MOST_APART, 1 + _large_gaps(parts))))
            for parts in self.in_memory
        ]


def _large_gaps(ranges: Ranges) -> int:
    """How many gaps are too large to be monitored, however many targets there are."""
    return int(np.count_nonzero(ranges[1:, 0] - ranges[:-1, 1] > _LARGE_GAP_BYTES))


def _same(some: Sequence[Ranges] | None, others: Sequence[Ranges] | None) -> bool:
    """Whether each target has the same ranges in both."""
    if some is None or others is None:
        return some is others
    return len(some) == len(others) and all(map(np.array_equal, some, others))


def _renumbered(table: RegionTable, before: Layout, layout: Layout) -> RegionTable:
    """The regions of processes that are still there, by their new number."""
    old = {id(process): index for index, process in enumerate(before.processes)}
    if not old:
        return table
    parts = []
    for new, process in enumerate(layout.processes):
        if id(process) in old:
            part = table.take(table.target == old[id(process)])
            part.target = np.full(len(part), new, np.int32)
            parts.append(part)
    return concatenate(parts)
