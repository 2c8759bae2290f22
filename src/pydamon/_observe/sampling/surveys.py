"""Surveys and glances under way, and the choice of what they look at.

Random splits find a small hot spot, or an exact border, late or never. But reading every accessed
bit is cheap (2 us a MiB), and only accessed pages must be cleared (60 to 150 ns a page). So now and
then one aggregation is not sampled but *surveyed*: all accessed bits are cleared at its start, and
read after a quarter of it and at its end. Memory that is too large for that is looked at in spots.
A *glance* is the same at a few regions, while all others are sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import Ranges
from pydamon._model.regions import RegionTable
from pydamon._model.runs import group_bounds
from pydamon._model.stretches import Stretches
from pydamon._observe.pages.follower import ClearPages
from pydamon._observe.probes.base import Session
from pydamon._observe.sampling.exact_looks import Chunk, Clearing, ExactLook, chunks_of
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.schedule import MOST_NS
from pydamon._observe.sampling.spot_looks import SpotLooks
from pydamon._observe.sampling.windows import CpuMeter

__all__ = ["Survey", "SurveyPlanner"]

_FIRST_NS = 150e6
"""The CPU time that the first survey may take: it has the bits of a life-time to clear, and belongs
to the start. Where this and `MOST_NS` are too little, spots stand for most of the memory."""
_SPOTS_NS = 30e6
"""The CPU time that a survey with spots may take."""
_SOON_NS = 3 * 10**9
"""Or rather as little as is paid for after this time."""
_PATIENCE_NS = 60 * 10**9
"""If surveys of all stretches, in turn, would take longer than this, only those stretches count in
which anything is in use."""
_FOR_SPOTS = 0.6
"""The part of such a survey that is for spots; the rest is for whole stretches."""
_SMALL_CHUNK_BYTES = 64 << 20
"""The size of those stretches."""

_READ_NS, _CLEAR_NS = 0.002, 0.03
"""CPU time for a mapped byte, and for one whose accessed bit must be cleared."""
_PIECE_NS = 30_000
"""CPU time for each piece of memory, however small it is."""
_TELLING_NS = 5e6
"""A survey that should cost less tells nothing about the cost of larger ones."""
_LEAST_FACTOR = 0.1
_EWMA_WEIGHT = 0.5
_PROMPT = 2
"""A look is prompt if it comes so many times as long after the clear as the clear took."""


class Survey:
    """A survey or a glance under way: its memory was cleared when it was made."""

    def __init__(self, look: ExactLook, spots: SpotLooks | None, meter: CpuMeter) -> None:
        self._look = look
        self._spots = spots
        self._meter = meter
        self._clearing_ns: int | None = None

    @property
    def cpu_ns(self) -> int:
        """The CPU time that it has taken so far."""
        return self._meter.cpu_ns

    def plan(self, epoch_looks_ns: Sequence[int]) -> Sequence[int]:
        """When to look, of the looks in an epoch: every second one tells rates apart."""
        self._look.epoch_looks = len(epoch_looks_ns)
        return epoch_looks_ns[::2]

    def look(self, after_ns: int) -> None:
        """See what was accessed so long after the clear, to find out how often.

        Nothing is looked at unless the clear took less: memory that was cleared first would have
        had more than twice the time.
        """
        if self._clearing_ns is None:
            self._clearing_ns = self._meter.cpu_ns
            self._look.tells_rates = True
            self._look.is_prompt = _PROMPT * self._clearing_ns <= after_ns
        if self._clearing_ns <= after_ns:
            with self._meter:
                self._look.look()

    def look_early(self) -> None:
        """See what was accessed, after a quarter of the window: the rest tells how that grows."""
        with self._meter:
            self._look.look()
            if self._spots is not None:
                self._spots.look_early()

    def finish(
        self,
        table: RegionTable,
        max_regions: int,
        repeated: Ranges,
        borders: NDArray[np.int64],
    ) -> RegionTable:
        """Look for the last time; returns regions drawn anew, with the share that was touched.

        Between rates that only samples can tell apart, the *borders* (order keys) stay.
        """
        with self._meter:
            seen = self._look.finish()
            if self._spots is not None:
                table = self._spots.finish(table, max_regions)
            if not seen.tells_fast_rates:
                seen = seen.cut_at(borders)
            return seen.draw(table, max_regions, repeated)


class SurveyPlanner:
    """Begins surveys and glances, of as much memory as their CPU time allows."""

    def __init__(
        self, session: Session, memory: MonitoredMemory, share: float, rng: np.random.Generator
    ) -> None:
        self._session = session
        self._memory = memory
        self._share = share
        self._spots = SpotLooks(session, rng)
        self._cursor = (0, 0)
        """The target and address at which the next survey goes on."""
        self._cleared_bytes = 0
        self._factor = 1.0
        """The measured cost of surveys of everything, as a part of the expected cost."""

    def begin_survey(self, table: RegionTable, clear_pages: ClearPages, window_ns: int) -> Survey:
        """Clear everything if that is cheap enough; else spots and some stretches.

        Everything is cleared by *clear_pages*, if that can be.
        """
        meter = CpuMeter(self._session.clock)
        with meter:
            expected_ns = self._expected_ns(table)
            if expected_ns <= (MOST_NS if self._cleared_bytes else _FIRST_NS):
                return Survey(self._clear_everything(expected_ns, clear_pages), None, meter)
            return Survey(self._clear_in_spots(table, window_ns, expected_ns), self._spots, meter)

    def begin_glance(self, table: RegionTable, chosen: NDArray[np.bool_]) -> Survey:
        """Clear the *chosen* regions."""
        meter = CpuMeter(self._session.clock)
        with meter:
            ranges = _ranges_of(table.take(chosen), len(self._memory.ranges))
            self._spots.forget()
            return Survey(Clearing(self._session, chunks_of(ranges)).look, None, meter)

    def may_glance_at(self, table: RegionTable, chosen: NDArray[np.bool_]) -> bool:
        """Whether a glance at the *chosen* regions is cheap enough."""
        # Memory that nobody has looked at may have been touched as a whole.
        to_clear = np.where(table.seen > 0, np.nan_to_num(table.touched, nan=1), 1)
        cost_ns = self._factor * (table.size * (_READ_NS + _CLEAR_NS * to_clear) + _PIECE_NS)
        return bool(cost_ns[chosen].sum() <= _FIRST_NS)

    def _expected_ns(self, table: RegionTable) -> float:
        """The CPU time that a survey of everything will take."""
        mapped_bytes = int(table.size.sum())
        touched_bytes = float(np.nan_to_num(table.touched) @ table.size)
        resident_bytes = min(self._memory.resident_bytes or mapped_bytes, mapped_bytes)
        to_clear = max(touched_bytes, resident_bytes - self._cleared_bytes)
        pieces = sum(map(len, self._memory.ranges))
        return self._factor * (_READ_NS * mapped_bytes + _CLEAR_NS * to_clear + _PIECE_NS * pieces)

    def _clear_everything(self, expected_ns: float, clear_pages: ClearPages) -> ExactLook:
        begin_ns = self._session.clock.cpu_ns()
        self._spots.forget()
        most_ns = MOST_NS if self._cleared_bytes else _FIRST_NS
        stuck = clear_pages()
        if stuck is None:
            look = self._clear(chunks_of(self._memory.ranges, cursor=self._cursor), most_ns)
        else:
            stretches = Stretches.of(sorted(chunks_of(self._memory.ranges)))
            look = ExactLook(self._session, stretches, stuck(stretches))
            self._cleared_bytes += look.size_bytes
        used_ns = self._session.clock.cpu_ns() - begin_ns
        if expected_ns > _TELLING_NS:
            error = max(used_ns / expected_ns, _LEAST_FACTOR) - 1
            self._factor *= 1 + _EWMA_WEIGHT * error
        return look

    def _clear_in_spots(self, table: RegionTable, window_ns: int, expected_ns: float) -> ExactLook:
        most_ns = min(_SPOTS_NS, self._share * max(_SOON_NS, 2 * window_ns))
        self._spots.begin(table, most_ns * _FOR_SPOTS)
        ranges = self._memory.ranges
        if expected_ns > self._share * _PATIENCE_NS:
            in_use = table.take(table.touched > 0)
            ranges = _ranges_of(in_use, int(table.target.max(initial=-1)) + 1)
        # A stretch takes as long again to read and to draw as to clear.
        most_ns *= (1 - _FOR_SPOTS) / 2
        return self._clear(chunks_of(ranges, _SMALL_CHUNK_BYTES, self._cursor), most_ns)

    def _clear(self, chunks: Iterable[Chunk], most_ns: float) -> ExactLook:
        clearing = Clearing(self._session, chunks, most_ns)
        look = clearing.look
        self._cursor = clearing.stopped_at or self._cursor
        self._cleared_bytes += look.size_bytes
        return look


def _ranges_of(table: RegionTable, targets: int) -> list[Ranges]:
    """The ranges of the regions of each target."""
    return [table.ranges[low:high] for low, high in pairwise(group_bounds(table.target, targets))]
