"""Exact looks: every page of stretches of memory is cleared, and seen again later."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.adjust import in_contrast
from pydamon._model.draw import Accessed, draw_many, redraw
from pydamon._model.errors import TargetGoneError
from pydamon._model.ranges import PAGE_SIZE, Ranges, join, locate
from pydamon._model.regions import LOOKS, RegionTable
from pydamon._model.runs import unique
from pydamon._model.stretches import Stretches
from pydamon._model.survival import Survival
from pydamon._observe.probes.base import ManyBits, Session

__all__ = ["LARGE_CHUNK_BYTES", "Chunk", "Clearing", "ExactLook", "SeenPages", "chunks_of"]

LARGE_CHUNK_BYTES = 1 << 30
"""The most memory that becomes one stretch."""
_GAP_BYTES = 4 << 20
"""Chunks go on over gaps up to this: unmapped memory costs nothing to scan, each chunk does."""
_AT_ONCE, _AT_ONCE_BYTES = 256, 64 << 20
"""So much is cleared before the look asks whether there is time for more."""
_OF_MIXTURE = 2.0
"""What is known of a mixture of rates counts as so many epochs for each of its parts."""
_FAST_LOOKS = 4
"""With more looks than that, some came within the shortest epochs."""
_FEW_REGIONS = 4
"""Each stretch may become so many regions, where the maximum allows."""

Chunk = tuple[int, int, int]
"""Target, start and end."""


class SeenPages(NamedTuple):
    """The pages of the stretches of a look: flat arrays, as `Stretches` explains."""

    stretches: Stretches
    present: NDArray[np.bool_]
    unobservable: NDArray[np.bool_]
    tells_rates: bool
    """Whether regions are drawn by all looks; else by the last one alone."""
    is_prompt: bool
    """Whether the clear took so little time that all pages had the same until the first look."""
    looks: Sequence[NDArray[np.bool_]]
    """Accessed at each look: at the first ones, if any, after a quarter of the window if there was
    such a look, and at its end."""
    epoch_looks: int
    """How often an epoch is looked at before its end; the first looks here are every second one."""

    def draw(self, table: RegionTable, max_regions: int, repeated: Ranges) -> RegionTable:
        """Draw the regions of the stretches anew, by the pages that were accessed.

        *repeated* are ranges of `order_keys` that count in another target, too.
        """
        if not len(self.stretches):
            return table
        most = _room(self.stretches, max_regions, max(1, int(table.size.sum())))
        accessed = self._accessed
        drawn = redraw(table, self.stretches, draw_many(accessed, self.stretches, most))
        self._fill(drawn, repeated, accessed)
        _forget_mixtures(drawn, table)
        return drawn

    @property
    def tells_fast_rates(self) -> bool:
        """Whether looks came early enough to tell high rates apart."""
        return self.is_prompt and len(self.looks) > _FAST_LOOKS

    def cut_at(self, keys: NDArray[np.int64]) -> SeenPages:
        """The same pages, of which regions are drawn that do not go beyond these order keys."""
        return self._replace(stretches=self.stretches.cut_at(keys))

    @property
    def _accessed(self) -> Accessed:
        """How many looks saw each page accessed: the more, the more often it is."""
        if not self.tells_rates:
            return self.looks[-1]
        counts: NDArray[np.uint8] = np.sum(self.looks, axis=0, dtype=np.uint8)
        return counts

    def _fill(self, table: RegionTable, repeated: Ranges, accessed: Accessed) -> None:
        """Set the figures of the regions that lie in a stretch, from their pages."""
        start, end = table.keys.T
        inside = locate(self.stretches.keys, start, end) >= 0
        head = self.stretches.place_of(start[inside])
        pages = (end - start)[inside]
        for column, marks in (
            (table.touched, self.looks[-1]),
            (table.touched_early, self.looks[-2:][0]),
            (table.unobservable, self.unobservable),
            (table.resident, self.present),
            (table.repeated, self.present & self.stretches.pages_in(repeated)),
        ):
            column[inside] = _sums(marks, head, pages) / pages
        if self.tells_rates:
            table.heat[inside] = _sums(accessed, head, pages) / (pages * len(self.looks))
        if self.tells_fast_rates:
            seen = np.array([_sums(marks, head, pages) for marks in self.looks[:-1]])
            epoch = Survival.of_shares(_as_in_epochs(seen, self.epoch_looks) / pages)
            known = Survival.of_rows(table.evidence[inside])
            table.evidence[inside] = known.followed_by(epoch).rows
        table.misses_since_hit[inside] = table.contradicted[inside] = 0
        table.seen[inside] = 1


def _sums(marks: Accessed, head: NDArray[np.int64], pages: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sums of the marks of regions that begin at a page, and have so many.

    Regions do not overlap, and are sorted.
    """
    borders = np.stack([head, head + pages], axis=1).ravel()
    within = borders[: np.searchsorted(borders, len(marks))]
    sums = np.add.reduceat(marks.view(np.uint8), within, dtype=np.uint32)[::2]
    return sums.astype(np.int64)


def _as_in_epochs(seen: NDArray[np.int64], epoch_looks: int) -> NDArray[np.float64]:
    """What all looks of an epoch would have seen, from what every second one and the end saw.

    Looks come twice as late as the one before: between two, the mean is near.
    """
    first, end = seen[:-1], seen[-1:]
    known = np.concatenate([first, end])
    looks = np.repeat(known, 2, axis=0).astype(np.float64)
    looks[1:-1:2] = (known[:-1] + known[1:]) / 2
    looks = looks[:epoch_looks]
    missing = np.repeat(end, LOOKS - len(looks), axis=0)
    return np.concatenate([looks, missing])


def _forget_mixtures(table: RegionTable, before: RegionTable) -> None:
    """Keep little evidence of regions that turn out to be parts of one with different rates."""
    was_in = locate(before.keys, table.keys[:, 0])
    apart = in_contrast(table.heat) & (was_in[1:] == was_in[:-1])
    mixed = np.append(False, apart) | np.append(apart, False)
    epochs = table.evidence[mixed, 1]
    table.evidence[mixed] *= np.minimum(1, _OF_MIXTURE / np.maximum(epochs, 1))[:, None]


class ExactLook:
    """A look under way, at stretches that have just been cleared.

    Nothing is known of the *stuck* pages (flat), which could not be cleared. Pages that were
    *touched_before* were accessed between two clears, while the look was made.
    """

    def __init__(
        self,
        session: Session,
        stretches: Stretches,
        stuck: NDArray[np.bool_],
        touched_before: NDArray[np.bool_] | None = None,
    ) -> None:
        self._session = session
        self.stretches = stretches
        self._stuck = stuck
        self._touched_before = np.zeros_like(stuck) if touched_before is None else touched_before
        self._looks: list[NDArray[np.bool_]] = []
        self.tells_rates = self.is_prompt = False
        self.epoch_looks = 0

    @property
    def size_bytes(self) -> int:
        """The memory that is looked at."""
        return int(self.stretches.pages.sum()) * PAGE_SIZE

    def look(self) -> None:
        """See what was accessed so far: how that grows tells how often pages are accessed."""
        self._looks.append(self._accessed(self._scan()))

    def finish(self) -> SeenPages:
        """See what was accessed since the clear, in the targets that are still there."""
        bits = self._scan()
        looks = [*self._looks, self._accessed(bits)]
        stretches, columns = self.stretches, [bits.present, self._stuck, *looks]
        if bits.gone.any():
            kept = stretches.of_pages(~bits.gone)
            stretches = stretches.take(~bits.gone)
            columns = [flat[kept] for flat in columns]
        present, stuck, *looks = columns
        return SeenPages(
            stretches, present, stuck, self.tells_rates, self.is_prompt, looks, self.epoch_looks
        )

    def _scan(self) -> ManyBits:
        return self._session.scan_many(self.stretches, clear=False)

    def _accessed(self, bits: ManyBits) -> NDArray[np.bool_]:
        accessed: NDArray[np.bool_] = (bits.accessed | self._touched_before) & ~self._stuck
        return accessed


class Clearing:
    """Clears chunks, one after the other, for an exact look at them.

    That stops after *most_ns* of CPU time; `stopped_at` is the target and the address of the first
    chunk that there was no time for, if there is one.
    """

    def __init__(
        self, session: Session, chunks: Iterable[Chunk], most_ns: float = math.inf
    ) -> None:
        self._session = session
        self._cleared_whole: dict[int, bool] = {}
        """The targets so far, and whether they were cleared as a whole, not chunk by chunk."""
        self.stopped_at: tuple[int, int] | None = None
        begin_ns = session.clock.cpu_ns()
        parts: list[tuple[Stretches, NDArray[np.bool_]]] = []
        for batch in _batches(chunks):
            if session.clock.cpu_ns() - begin_ns > most_ns:
                self.stopped_at = batch[0][:2]
                break
            parts.append(self._clear(batch))
        self._stretches, self._stuck = _sorted(parts)
        self._touched_before = np.zeros(len(self._stuck), np.bool_)
        for target in self._cleared_whole:
            self._clear_stuck_pages(target)

    @property
    def look(self) -> ExactLook:
        """The look that begins with this clear."""
        return ExactLook(self._session, self._stretches, self._stuck, self._touched_before)

    def _clear(self, batch: Sequence[Chunk]) -> tuple[Stretches, NDArray[np.bool_]]:
        """Clear a batch; returns its stretches, and their pages that could not be cleared."""
        stretches = Stretches.of(batch)
        for target in unique(stretches.target).tolist():
            if target not in self._cleared_whole:
                self._cleared_whole[target] = self._clear_whole(target)
        left = np.array([not self._cleared_whole[t] for t in stretches.target.tolist()], np.bool_)
        stuck = np.zeros(int(stretches.offsets[-1]), np.bool_)
        if left.any():
            bits = self._session.scan_many(stretches.take(left), clear=True)
            stuck[stretches.of_pages(left)] = bits.unobservable
        return stretches, stuck

    def _clear_whole(self, target: int) -> bool:
        try:
            return self._session.clear_whole(target)
        except TargetGoneError:
            return False

    def _clear_stuck_pages(self, target: int) -> None:
        """Clear a target process-wide, if its probe asks for that.

        Pages in a TLB look idle after this clear, so accesses since the previous one count; that
        gap is short.
        """
        if self._cleared_whole[target] or not self._session.needs_process_wide_clear(target):
            return
        of_target = self._stretches.target == target
        pages = self._stretches.of_pages(of_target)
        touched = self._session.scan_many(self._stretches.take(of_target), clear=False).accessed
        touched &= ~self._stuck[pages]
        if self._session.clear_process_wide(target):
            self._touched_before[pages] = touched
            self._stuck[pages] = False


def chunks_of(
    ranges: Sequence[Ranges],
    chunk_bytes: int = LARGE_CHUNK_BYTES,
    cursor: tuple[int, int] = (0, 0),
) -> Iterator[Chunk]:
    """Cut the ranges of each target into chunks, each once.

    The first chunk is that at *cursor*, a target and an address. Chunks begin at multiples of
    *chunk_bytes*, and go on over small gaps.
    """
    spans = [join(bounds, _GAP_BYTES).tolist() for bounds in ranges]
    for from_cursor in (True, False):
        for target, bounds in enumerate(spans):
            if (target < cursor[0]) if from_cursor else (target > cursor[0]):
                continue
            for begin, end in bounds:
                for at in range(begin // chunk_bytes * chunk_bytes, end, chunk_bytes):
                    start = max(at, begin)
                    if ((target, start) >= cursor) == from_cursor:
                        yield target, start, min(at + chunk_bytes, end)


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """The chunks in their order: several at once where they are small."""
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += chunk[2] - chunk[1]
        if len(batch) == _AT_ONCE or size >= _AT_ONCE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sorted(
    parts: Sequence[tuple[Stretches, NDArray[np.bool_]]],
) -> tuple[Stretches, NDArray[np.bool_]]:
    """The stretches in the order of targets and addresses, and the marks of their pages."""
    rows = [
        np.stack([part.target, part.start, part.end], axis=1, dtype=np.int64) for part, _ in parts
    ]
    columns = np.concatenate([np.empty((0, 3), np.int64), *rows])
    marks = np.concatenate([np.zeros(0, np.bool_), *(flat for _, flat in parts)])
    stretches = Stretches(columns[:, 0].astype(np.int32), columns[:, 1], columns[:, 2])
    order = np.lexsort((columns[:, 1], columns[:, 0]))
    if (np.diff(order) < 0).any():
        slices = stretches.slices()
        marks = np.concatenate([marks[slices[index]] for index in order.tolist()])
        stretches = stretches.take(order)
    return stretches, marks


def _room(stretches: Stretches, max_regions: int, total_bytes: int) -> NDArray[np.int64]:
    """How many regions each stretch may become.

    Half of the regions are for stretches, by size; the rest is for random splits.
    """
    by_size = max_regions * stretches.pages * PAGE_SIZE // (2 * total_bytes)
    few = min(_FEW_REGIONS, max_regions // (2 * max(1, len(stretches))))
    return np.maximum(max(1, few), by_size)
