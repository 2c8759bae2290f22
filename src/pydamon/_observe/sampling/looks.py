"""Exact looks: the pages of stretches of memory, cleared and then seen again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetGoneError
from pydamon._model.ranges import intersect, order_keys
from pydamon._model.regions import Ranges, RegionTable
from pydamon._model.stretches import Stretches
from pydamon._observe.probes.base import ManyBits, Session

__all__ = ["Looks", "Seen"]

_AT_ONCE, _AT_ONCE_BYTES = 256, 64 << 20
"""So much is cleared before it is asked whether there is time for more."""

Chunk = tuple[int, int, int]
"""Target, start and end."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of stretches: `present`, `accessed`, ... are flat, as `Stretches` has them.

    `early` is what was accessed in the first quarter of the window already.
    """

    stretches: Stretches
    present: NDArray[np.bool_]
    accessed: NDArray[np.bool_]
    early: NDArray[np.bool_]
    unobservable: NDArray[np.bool_]

    def fill(self, table: RegionTable, repeated: Ranges) -> None:
        """Set what is known of the regions that lie in a stretch.

        *repeated* are ranges of `order_keys` that count in another target, too.
        """
        if not len(self.stretches):
            return
        start, end = (order_keys(table.target, one) for one in (table.start, table.end))
        keys = self.stretches.keys
        stretch = np.searchsorted(keys[:, 0], start, side="right") - 1
        inside = (stretch >= 0) & (end <= keys[stretch, 1])
        stretch = stretch[inside]
        head = self.stretches.offsets[stretch] + start[inside] - keys[stretch, 0]
        tail = head + end[inside] - start[inside]
        for column, marks in (
            (table.touched, self.accessed),
            (table.touched_early, self.early),
            (table.unobservable, self.unobservable),
            (table.resident, self.present),
            (table.repeated, self.present & self._inside(repeated)),
        ):
            marked = np.append(0, np.cumsum(marks))
            column[inside] = (marked[tail] - marked[head]) / (tail - head)
        table.misses_since_hit[inside] = table.contradicted[inside] = 0
        table.seen[inside] = 1

    def _inside(self, ranges: Ranges) -> NDArray[np.bool_]:
        """Which pages lie in ranges of `order_keys`: flat."""
        keys, offsets = self.stretches.keys, self.stretches.offsets
        parts = intersect(keys, ranges)
        stretch = np.searchsorted(keys[:, 0], parts[:, 0], side="right") - 1
        first = offsets[stretch] + parts[:, 0] - keys[stretch, 0]
        step = np.zeros(len(self.present) + 1, np.int8)
        step[first] += 1
        np.add.at(step, first + parts[:, 1] - parts[:, 0], -1)
        inside: NDArray[np.bool_] = np.cumsum(step[:-1]) > 0
        return inside


class Looks:
    """Stretches that were cleared, until they are looked at for the last time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.forget()

    def forget(self) -> None:
        """Nothing is under way any more."""
        self.stretches = Stretches.of([])
        self._stuck = self._seen = np.zeros(0, np.bool_)
        self._early: NDArray[np.bool_] | None = None

    def clear(self, chunks: Iterable[Chunk], most_ns: float) -> tuple[int, int] | None:
        """Clear the chunks one after the other, for no more CPU time than *most_ns*.

        Returns the target and address that it did not come to, if there is one.
        """
        self.forget()
        clock = self._session.clock
        begin_ns = clock.cpu_ns()
        stopped = None
        parts: list[tuple[Stretches, NDArray[np.bool_]]] = []
        whole: dict[int, bool] = {}
        for batch in _batches(chunks):
            if clock.cpu_ns() - begin_ns > most_ns:
                stopped = batch[0][:2]
                break
            parts.append(self._cleared(batch, whole))
        self._keep(parts)
        for target in whole:
            self._clear_shared(target, whole)
        return stopped

    def early(self) -> None:
        """See what was touched in the first quarter of the window: the rest tells how it grows."""
        self._early = self._accessed(self._look())

    def end(self) -> Seen:
        """What was touched, of the targets that are still there."""
        bits = self._look()
        accessed = self._accessed(bits)
        early = accessed if self._early is None else self._early
        stretches, stuck, present = self.stretches, self._stuck, bits.present
        self.forget()
        if bits.gone.any():
            kept = stretches.of_pages(~bits.gone)
            stretches = stretches.take(~bits.gone)
            present, accessed, early, stuck = (
                flat[kept] for flat in (present, accessed, early, stuck)
            )
        return Seen(stretches, present, accessed, early, stuck)

    def _look(self) -> ManyBits:
        return self._session.scan_many(self.stretches, clear=False)

    def _accessed(self, bits: ManyBits) -> NDArray[np.bool_]:
        accessed: NDArray[np.bool_] = (bits.accessed | self._seen) & ~self._stuck
        return accessed

    def _cleared(
        self, batch: Sequence[Chunk], whole: dict[int, bool]
    ) -> tuple[Stretches, NDArray[np.bool_]]:
        """The stretches of a batch, and their pages that could not be cleared."""
        stretches = Stretches.of(list(batch))
        for target in np.unique(stretches.target).tolist():
            if target not in whole:
                whole[target] = self._clear_whole(target)
        one_by_one = ~np.array([whole[target] for target in stretches.target.tolist()], np.bool_)
        stuck = np.zeros(int(stretches.offsets[-1]), np.bool_)
        if one_by_one.any():
            bits = self._session.scan_many(stretches.take(one_by_one), clear=True)
            stuck[stretches.of_pages(one_by_one)] = bits.unobservable
        return stretches, stuck

    def _clear_whole(self, target: int) -> bool:
        try:
            return self._session.clear_whole(target)
        except TargetGoneError:
            return False

    def _keep(self, parts: Sequence[tuple[Stretches, NDArray[np.bool_]]]) -> None:
        """Put the stretches in the order of targets and addresses."""
        rows = [
            np.stack([part.target, part.start, part.end], axis=1, dtype=np.int64)
            for part, _ in parts
        ]
        columns = np.concatenate([np.empty((0, 3), np.int64), *rows])
        order = np.lexsort((columns[:, 1], columns[:, 0]))
        stretches = Stretches.of(columns.tolist())
        stuck = np.concatenate([np.zeros(0, np.bool_), *(flat for _, flat in parts)])
        if (np.diff(order) < 0).any():
            offsets = stretches.offsets.tolist()
            stuck = np.concatenate([stuck[offsets[i] : offsets[i + 1]] for i in order.tolist()])
            stretches = stretches.take(order)
        self.stretches, self._stuck = stretches, stuck
        self._seen = np.zeros(len(stuck), np.bool_)

    def _clear_shared(self, target: int, whole: dict[int, bool]) -> None:
        """Clear what is left of a target's stretches, where the probe asks for that.

        Pages in a TLB look idle after this clear, so accesses since the one before it count; the
        gap between both is short.
        """
        if whole[target] or not self._session.needs_process_wide_clear(target):
            return
        mine = self.stretches.target == target
        pages = self.stretches.of_pages(mine)
        touched = self._session.scan_many(self.stretches.take(mine), clear=False).accessed
        touched &= ~self._stuck[pages]
        if self._session.clear_process_wide(target):
            self._seen[pages] = touched
            self._stuck[pages] = False


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
