"""Exact looks at every page of a stretch of memory, from which regions are drawn.

Random splits find a small hot spot, or an exact border, late or never. But reading every accessed
bit is cheap (2 us a MiB), and clearing is only owed for what was touched (60 ns a page). So now
and then, as often as a share of the CPU budget allows, one aggregation is not sampled: all
accessed bits are cleared at its start and read at its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon.core import adjust
from pydamon.core.draw import draw, redraw
from pydamon.core.regions import PAGE_SIZE, Ranges, RegionTable
from pydamon.probes.base import Counts, PageBits, Session

__all__ = ["Survey", "still_known"]

_CHUNK_BYTES = 1 << 30
_MOST_NS = 30 * 10**6
"""The CPU time that one survey may take: what does not fit is looked at in the next ones."""
_IMPROBABLE = 0.05
_REST_NS = 10**9
"""Even where surveys cost nothing, sampling has its time between two of them."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a target's range, with its pages as they were when they were cleared."""

    target: int
    cleared: PageBits

    @property
    def start(self) -> int:
        return self.cleared.start

    @property
    def end(self) -> int:
        return self.cleared.start + len(self.cleared.accessed) * PAGE_SIZE


class Survey:
    """Surveys the targets' ranges in turn, with at most *share* of one CPU over time.

    With *exact*, each is of everything, whatever it costs.
    """

    def __init__(self, session: Session, share: float, *, exact: bool = False) -> None:
        self._session = session
        self._share = share
        self._exact = exact
        self._next_ns = 0
        self._paid_ns = 0
        self._window_ns = 0
        self._cursor = (0, 0)
        self._stretches: list[_Stretch] = []
        self._cpu_ns = 0

    def due(self, now_ns: int, window_ns: int) -> bool:
        """Whether the next survey is paid for.

        What was touched in a window says little of one of twice its length: a third of the price
        is enough then.
        """
        outdated = window_ns >= 2 * self._window_ns
        return now_ns >= (self._paid_ns if outdated else self._next_ns)

    def begin(self, ranges: Sequence[Ranges]) -> None:
        """Clear the accessed bits of the next stretches, as much as fits into one survey."""
        begin_ns = time.thread_time_ns()
        self._stretches = []
        reset: dict[int, bool] = {}
        chunks = _chunks(ranges)
        at = next((i for i, (t, start, _) in enumerate(chunks) if (t, start) >= self._cursor), 0)
        for number in range(len(chunks)):
            target, start, end = chunks[(at + number) % len(chunks)]
            # What took its time to clear takes as much again to read and to draw.
            if not self._exact and time.thread_time_ns() - begin_ns > _MOST_NS / 2:
                self._cursor = (target, start)
                break
            if target not in reset:
                reset[target] = self._session.clear_shared(target)
            bits = self._session.scan(target, start, end, clear=True)
            if reset[target]:
                # All was clear already; what is accessed was touched since.
                bits = replace(bits, unobservable=np.zeros_like(bits.unobservable))
            self._stretches.append(_Stretch(target, bits))
        self._cpu_ns = time.thread_time_ns() - begin_ns

    def end(self, table: RegionTable, max_regions: int) -> RegionTable:
        """Draw the surveyed regions anew, with the share of their pages that was touched."""
        begin_ns = time.thread_time_ns()
        looks = [
            (stretch, self._look(stretch)) for stretch in sorted(self._stretches, key=_position)
        ]
        total_bytes = max(1, int(table.size.sum()))
        parts = []
        for target in range(int(table.target.max(initial=-1)) + 1):
            mine = [(stretch, bits) for stretch, bits in looks if stretch.target == target]
            part = table.take(table.target == target)
            if mine and len(part):
                starts = [
                    stretch.start
                    + PAGE_SIZE * draw(bits.accessed, _room(stretch, max_regions, total_bytes))
                    for stretch, bits in mine
                ]
                surveyed = np.array([(stretch.start, stretch.end) for stretch, _ in mine])
                part = redraw(part, surveyed, np.concatenate(starts))
                _fill(part, mine)
            parts.append(part)
        self._cpu_ns += time.thread_time_ns() - begin_ns
        return adjust.concatenate(parts)

    def pay(self, now_ns: int, window_ns: int) -> None:
        """Let time pass until what the survey of such a window cost is paid for."""
        price_ns = max(_REST_NS, int(self._cpu_ns / self._share))
        self._next_ns, self._paid_ns = now_ns + price_ns, now_ns + price_ns // 3
        self._window_ns = window_ns
        self._stretches = []

    def _look(self, stretch: _Stretch) -> PageBits:
        bits = self._session.scan(stretch.target, stretch.start, stretch.end, clear=False)
        stuck = stretch.cleared.unobservable
        return replace(bits, accessed=bits.accessed & ~stuck, unobservable=stuck)


def still_known(table: RegionTable, counts: Counts, samples: int) -> NDArray[np.float64]:
    """The `touched` shares that surveys found, as far as samples do not contradict them.

    They do where a region that was hot has too few hits for its share, and where one has more
    than chance gives. A region that no survey has seen stays NaN.
    """
    share, hits, checks = table.touched, counts.hits, counts.checks
    rate = hits / np.maximum(checks, 1)
    expected = np.minimum(table.last_nr_accesses / samples, share)
    cooled = (2 * table.last_nr_accesses >= samples) & (4 * table.nr_accesses <= samples)
    cooled &= (1 - expected) ** checks < _IMPROBABLE
    # An upper bound of the probability of so many hits, by Chernoff.
    by_chance = (checks * share * np.e / np.maximum(hits, 1)) ** hits
    warmed = (hits >= 2) & (by_chance < _IMPROBABLE / 50)
    by_rate = (1 - (1 - rate) ** samples) * (1 - table.unobservable)
    return np.where(cooled, 0.0, np.where(warmed, by_rate, share))


def _position(stretch: _Stretch) -> tuple[int, int]:
    return stretch.target, stretch.start


def _room(stretch: _Stretch, max_regions: int, total_bytes: int) -> int:
    """Half of the regions are for what surveys draw, by size; the rest for random splits."""
    return max(2, max_regions * (stretch.end - stretch.start) // (2 * total_bytes))


def _chunks(ranges: Sequence[Ranges]) -> list[tuple[int, int, int]]:
    """Target, start and end of parts of the ranges that are small enough to be one look."""
    return [
        (target, start, min(start + _CHUNK_BYTES, int(end)))
        for target, bounds in enumerate(ranges)
        for begin, end in bounds
        for start in range(int(begin), int(end), _CHUNK_BYTES)
    ]


def _fill(table: RegionTable, looks: list[tuple[_Stretch, PageBits]]) -> None:
    """Set the shares of touched and unobservable pages of the regions that were looked at."""
    for stretch, bits in looks:
        first, last = np.searchsorted(table.start, (stretch.start, stretch.end))
        heads = (table.start[first:last] - stretch.start) // PAGE_SIZE
        if not len(heads):
            continue
        pages = np.diff(np.append(heads, len(bits.accessed)))
        for column, marks in (
            (table.touched, bits.accessed),
            (table.unobservable, bits.unobservable),
        ):
            column[first:last] = np.add.reduceat(marks, heads, dtype=np.int64) / pages
