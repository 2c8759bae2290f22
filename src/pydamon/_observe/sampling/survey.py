"""Exact looks at every page of a stretch of memory, from which regions are drawn.

Random splits find a small hot spot, or an exact border, late or never. But reading every accessed
bit is cheap (2 us a MiB), and clearing is only owed for what was touched (60 to 150 ns a page). So
now and then, as often as a share of the CPU budget allows, one aggregation is not sampled: all
accessed bits are cleared at its start, and read after a quarter of it and at its end. Of memory
that is too large for that, spots are (`core/spots.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.draw import draw_many, redraw
from pydamon._model.ranges import EMPTY
from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable
from pydamon._model.spots import Spots, apply_spots, choose
from pydamon._model.stretches import Stretches
from pydamon._observe.probes.base import Session
from pydamon._observe.sampling.looks import Looks

__all__ = ["Survey"]

_CHUNK_BYTES, _SMALL_CHUNK_BYTES = 1 << 30, 64 << 20
_FIRST_NS, _MOST_NS = 150e6, 60e6
"""The CPU time that a look at everything may take; the first has bits of a life-time to clear, and
belongs to the start. Memory for which that is too little is looked at in spots, and as many whole
stretches as there is time for."""
_SPOTS_NS = 30e6
_SOON_NS = 3 * 10**9
"""Then a survey takes so little that it is paid for after this time."""
_PATIENCE_NS = 60 * 10**9
"""And where all stretches would take longer than this, only those with something in them count."""
_READ_NS, _CLEAR_NS = 0.002, 0.03
"""CPU time for a byte that is mapped, and for one whose accessed bit must be cleared."""
_TELLING_NS = 5e6
_PIECE_NS = 30_000
"""And for each piece of memory, however small it is."""
_FIRST_SPOT_NS = 20_000
_FOR_SPOTS = 0.6
_LEAST_SPOTS, _MOST_SPOTS = 64, 4096
_FEW_REGIONS = 4
_GAP_BYTES = 4 << 20
_MUCH = 0.1
_REST_NS = 10**9
"""Even where surveys cost nothing, sampling has its time between two of them."""

_START_NS = 4 * 10**9
"""Until then windows may become longer, and surveys come on credit."""
_LITTLE, _MUCH_LONGER = 0.03, 8
_OUTGROWN = 1.5
"""Windows so many times as long as the last survey's may hold what it was too short to see."""
_GROWS = 1.5
"""A window so many times as long as the one before is still on its way to its length."""

_EWMA_WEIGHT = 0.5


class Survey:
    """Surveys the targets' ranges in turn, with at most *share* of one CPU over time.

    With *exact*, each is of everything, whatever it costs.
    """

    def __init__(
        self, session: Session, share: float, *, exact: bool = False, seed: int | None = None
    ) -> None:
        self._session = session
        self._share = share
        self._exact = exact
        self._rng = np.random.default_rng(seed)
        self._next_ns = 0
        self._glance_ns = 0
        self._paid_ns = 0
        self._window_ns = 0
        self._waited_ns = 0
        self._started_ns = 0
        self._at_start = True
        self._doubted = False
        self._cursor = (0, 0)
        self._looks = Looks(session)
        self._spots = Spots.none()
        self._spots_cpu_ns = 0
        self.cpu_ns = 0
        """CPU time that the survey which is under way has taken."""
        self._factor = 1.0
        """By how much looks at everything cost more than was expected."""
        self._cleared_bytes = 0
        self._spot_ns = float(_FIRST_SPOT_NS)

    def due(self, now_ns: int, window_ns: int) -> bool:
        """Whether the next survey is paid for.

        A third of the price is enough where what was found holds no longer: because samples
        contradict it, or because windows are much longer now. At the start, when the first
        window is short and those that follow become longer until they are within the budget, a
        survey comes on credit: for each doubling if it takes little of the window, and else as
        soon as windows have their length, or are so long that the last one says little of them.
        """
        outdated = self._doubted or window_ns >= _OUTGROWN * self._window_ns
        grows = (
            window_ns >= _GROWS * self._waited_ns
            and self.cpu_ns > _LITTLE * window_ns
            and window_ns < _MUCH_LONGER * self._window_ns
        )
        self._waited_ns = window_ns
        if self._at_start and outdated and not grows:
            return True
        return now_ns >= (self._paid_ns if outdated else self._next_ns)

    def doubt(self, doubtful_bytes: float, working_set_bytes: float) -> None:
        """Samples contradict what was found of so many bytes: in use now, or no longer."""
        self._doubted |= doubtful_bytes > _MUCH * working_set_bytes

    def begin(
        self, table: RegionTable, ranges: Sequence[Ranges], window_ns: int, resident_bytes: int
    ) -> None:
        """Clear the accessed bits of as much as fits into one survey, of a window so long.

        At most *resident_bytes* of the ranges can have been accessed.
        """
        begin_ns = self._session.clock.cpu_ns()
        mapped_bytes = int(table.size.sum())
        in_use = float(np.nan_to_num(table.touched) @ table.size)
        to_clear = max(in_use, min(resident_bytes, mapped_bytes) - self._cleared_bytes)
        pieces = sum(map(len, ranges))
        all_ns = self._factor * (
            _READ_NS * mapped_bytes + _CLEAR_NS * to_clear + _PIECE_NS * pieces
        )
        most_ns = _MOST_NS if self._cleared_bytes else _FIRST_NS
        if self._exact or all_ns <= most_ns:
            self._spots = Spots.none()
            self._clear_stretches(_chunks(ranges, _CHUNK_BYTES, self._cursor), most_ns)
            used_ns = self._session.clock.cpu_ns() - begin_ns
            # What a look at little memory costs is not what more of it would.
            if all_ns > _TELLING_NS:
                self._factor *= 1 + _EWMA_WEIGHT * (max(used_ns / all_ns, 0.1) - 1)
        else:
            most_ns = min(_SPOTS_NS, self._share * max(_SOON_NS, 2 * window_ns))
            self._clear_spots(table, most_ns * _FOR_SPOTS)
            most_ns *= 1 - _FOR_SPOTS
            if all_ns > self._share * _PATIENCE_NS:
                ranges = _in_use(table)
            chunks = _chunks(ranges, _SMALL_CHUNK_BYTES, self._cursor)
            # What took its time to clear takes as much again to read and to draw.
            self._clear_stretches(chunks, most_ns / 2)
        self.cpu_ns = self._session.clock.cpu_ns() - begin_ns

    def to_glance_at(self, table: RegionTable, now_ns: int) -> NDArray[np.bool_]:
        """Which regions to look at exactly while all else is sampled: new ones, and doubtful ones.

        None of them where that is more than a look may cost; the doubtful ones only where the last
        one is paid for.
        """
        chosen = table.seen == 0
        if now_ns >= self._glance_ns:
            chosen |= table.contradicted > 0
        # Memory that nobody has looked at may have been touched as a whole.
        to_clear = np.where(table.seen > 0, np.nan_to_num(table.touched, nan=1), 1)
        price_ns = self._factor * (table.size * (_READ_NS + _CLEAR_NS * to_clear) + _PIECE_NS)
        return chosen if price_ns[chosen].sum() <= _FIRST_NS else np.zeros_like(chosen)

    def glance(self, ranges: Sequence[Ranges]) -> None:
        """Clear these ranges of each target, which `middle` and `end` will look at."""
        begin_ns = self._session.clock.cpu_ns()
        self._spots = Spots.none()
        self._looks.clear(_chunks(ranges, _CHUNK_BYTES, (0, 0)), math.inf)
        self.cpu_ns = self._session.clock.cpu_ns() - begin_ns

    def charge(self, now_ns: int) -> None:
        """Let the next survey wait for longer by what the glance that has ended took."""
        price_ns = int(self.cpu_ns / self._share)
        self._next_ns, self._paid_ns = self._next_ns + price_ns, self._paid_ns + price_ns // 3
        self._glance_ns = now_ns + price_ns // 3

    def middle(self) -> None:
        """See what was touched in the first quarter of the window: the rest tells how it grows."""
        begin_ns = self._session.clock.cpu_ns()
        self._looks.early()
        self._spots = replace(self._spots, touched_early=self._look_at(self._spots, clear=False))
        self.cpu_ns += self._session.clock.cpu_ns() - begin_ns

    def end(self, table: RegionTable, max_regions: int, repeated: Ranges = EMPTY) -> RegionTable:
        """Draw the surveyed regions anew, with the share of their pages that was touched.

        *repeated* are ranges of `order_keys` that count in another target, too.
        """
        begin_ns = self._session.clock.cpu_ns()
        seen = self._looks.end()
        self._see_spots()
        table = apply_spots(table, self._spots, max_regions // 2)
        room = _room(seen.stretches, max_regions, max(1, int(table.size.sum())))
        table = redraw(table, seen.stretches, draw_many(seen.accessed, seen.stretches, room))
        seen.fill(table, repeated)
        self.cpu_ns += self._session.clock.cpu_ns() - begin_ns
        return table

    def _clear_spots(self, table: RegionTable, most_ns: float) -> None:
        """Choose spots and clear them."""
        begin_ns = self._session.clock.cpu_ns()
        count = int(np.clip(most_ns / self._spot_ns, _LEAST_SPOTS, _MOST_SPOTS))
        spots = choose(table, self._spots, count, self._rng)
        self._spots = replace(spots, touched=self._look_at(spots, clear=True))
        self._spots_cpu_ns = self._session.clock.cpu_ns() - begin_ns

    def _see_spots(self) -> None:
        """See what was touched since; that of spots that could not be cleared is not known."""
        if not len(self._spots):
            return
        begin_ns = self._session.clock.cpu_ns()
        share = np.where(
            np.isnan(self._spots.touched), np.nan, self._look_at(self._spots, clear=False)
        )
        self._spots = replace(self._spots, touched=share)
        cpu_ns = self._spots_cpu_ns + 2 * (self._session.clock.cpu_ns() - begin_ns)
        self._spot_ns += _EWMA_WEIGHT * (cpu_ns / len(self._spots) - self._spot_ns)

    def _look_at(self, spots: Spots, *, clear: bool) -> NDArray[np.float64]:
        targets = sorted(set(spots.target.tolist()))
        looks = (
            self._session.look(target, spots.address[spots.target == target], clear=clear)
            for target in targets
        )
        return np.concatenate([np.empty(0), *looks])

    def _clear_stretches(self, chunks: Iterable[tuple[int, int, int]], most_ns: float) -> None:
        stopped = self._looks.clear(chunks, math.inf if self._exact else most_ns)
        self._cursor = stopped or self._cursor
        self._cleared_bytes += int(self._looks.stretches.pages.sum()) * PAGE_SIZE

    def pay(self, now_ns: int, window_ns: int) -> None:
        """Let time pass until what the survey of such a window cost is paid for."""
        # What the first one has to clear is that of a life-time: it belongs to the start.
        spent_ns = self.cpu_ns if self._window_ns else min(self.cpu_ns, _MOST_NS)
        price_ns = max(_REST_NS, int(spent_ns / self._share))
        # One that came early leaves something to pay: in the long run the share holds.
        price_ns += max(0, self._next_ns - now_ns)
        self._started_ns = self._started_ns or now_ns
        is_first = self._window_ns == 0
        self._at_start = is_first or now_ns - self._started_ns < _START_NS
        self._next_ns, self._paid_ns = now_ns + price_ns, now_ns + price_ns // 3
        self._window_ns = window_ns
        self._doubted = False


def _room(stretches: Stretches, max_regions: int, total_bytes: int) -> NDArray[np.int64]:
    """Half of the regions are for what surveys draw, by size; the rest for random splits."""
    by_size = max_regions * stretches.pages * PAGE_SIZE // (2 * total_bytes)
    few = min(_FEW_REGIONS, max_regions // (2 * max(1, len(stretches))))
    return np.maximum(max(1, few), by_size)


def _in_use(table: RegionTable) -> list[Ranges]:
    """Where anything was touched, of each target."""
    used = table.take(table.touched > 0)
    bounds = np.stack([used.start, used.end], axis=1)
    targets = range(int(table.target.max(initial=-1)) + 1)
    return [bounds[used.target == target] for target in targets]


def _chunks(
    ranges: Sequence[Ranges], chunk_bytes: int, cursor: tuple[int, int]
) -> Iterator[tuple[int, int, int]]:
    """Target, start and end of parts of the ranges, each once, from the *cursor* on.

    Over small gaps they go on: what is not mapped costs nothing to look at, each part does.
    """
    spans = [_spans(bounds) for bounds in ranges]
    for behind in (True, False):
        for target, bounds in enumerate(spans):
            if (target < cursor[0]) if behind else (target > cursor[0]):
                continue
            for begin, end in bounds:
                for at in range(begin // chunk_bytes * chunk_bytes, end, chunk_bytes):
                    start = max(at, begin)
                    if ((target, start) >= cursor) == behind:
                        yield target, start, min(at + chunk_bytes, end)


def _spans(ranges: Ranges) -> list[list[int]]:
    """The ranges, joined over small gaps: start and end of each."""
    apart = ranges[1:, 0] - ranges[:-1, 1] > _GAP_BYTES
    start = ranges[np.append(True, apart)[: len(ranges)], 0]
    end = ranges[np.append(apart, True)[: len(ranges)], 1]
    spans: list[list[int]] = np.stack([start, end], axis=1).tolist()
    return spans
