"""Remember pages whose accessed bit could not be cleared, so as not to try them each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import MappingTable
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.process import Process

__all__ = ["MANY_PAGES", "TRY_AGAIN", "ClearedBefore", "StuckPages", "sharing_much"]

TRY_AGAIN = 0.125
"""How often stuck pages are tried all the same: they may not be shared any more."""
MANY_PAGES = 1024
"""From so many stuck pages on, it pays to clear the whole process in another way."""
_MOST_PAGES = 1 << 26
"""Pages of stretches that are remembered at most."""


class StuckPages:
    """The stuck pages of each stretch that was scanned, by process."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._pages: dict[tuple[Process, int, int], NDArray[np.bool_]] = {}
        self._count = 0

    def clear(self) -> None:
        """Forget all pages."""
        self._pages.clear()
        self._count = 0

    def skipped(self, processes: Sequence[Process], stretches: Stretches) -> NDArray[np.bool_]:
        """Which pages were stuck last time, and are not to be tried now: flat."""
        stuck = np.zeros(int(stretches.offsets[-1]), np.bool_)
        tried = self._rng.random(len(stretches)) < TRY_AGAIN
        for index, (key, pages) in enumerate(_places(processes, stretches)):
            before = self._pages.get(key)
            if before is not None and not tried[index]:
                stuck[pages] = before
        return stuck

    def remember(
        self, processes: Sequence[Process], stretches: Stretches, stuck: NDArray[np.bool_]
    ) -> set[Process]:
        """Note which pages are stuck (flat); returns the processes with many of them."""
        with_many = set()
        for key, pages in _places(processes, stretches):
            self._count -= len(self._pages.pop(key, ()))
            count = int(np.count_nonzero(stuck[pages]))
            if count > MANY_PAGES:
                with_many.add(key[0])
            if count:
                if self._count > _MOST_PAGES:
                    self.clear()
                self._pages[key] = stuck[pages].copy()
                self._count += len(self._pages[key])
        return with_many


class ClearedBefore:
    """Remembers pages that could be cleared, and are accessed so often that it hardly shows."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._keys = np.zeros(0, np.int64)

    def clear(self) -> None:
        """Forget all pages."""
        self._keys = np.zeros(0, np.int64)

    def doubtful(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pages may be stuck: those that are new, and now and then any other."""
        new = ~np.isin(keys, self._keys, assume_unique=True)
        return new | (self._rng.random(len(keys)) < TRY_AGAIN)

    def remember(self, keys: NDArray[np.int64]) -> None:
        """Note pages that could be cleared just now, by their sorted order keys."""
        if not len(keys):
            return
        first, beyond = np.searchsorted(self._keys, [keys[0], keys[-1] + 1])
        kept = np.concatenate([self._keys[:first], self._keys[beyond:]])
        self._keys = np.sort(np.concatenate([kept, keys]))


def _places(
    processes: Sequence[Process], stretches: Stretches
) -> Iterator[tuple[tuple[Process, int, int], slice]]:
    """The process, start and end of each stretch, and where its pages are in a flat array."""
    columns = (stretches.target.tolist(), stretches.start.tolist(), stretches.end.tolist())
    for target, start, end, pages in zip(*columns, stretches.slices(), strict=True):
        yield (processes[target], start, end), pages


def sharing_much(processes: Sequence[Process], mappings: Sequence[MappingTable]) -> set[Process]:
    """The processes with much memory that is mapped to be shared with others."""
    return {
        process
        for process, table in zip(processes, mappings, strict=True)
        if sum(m.end - m.start for m in table.mappings if m.perms.endswith("s"))
        > MANY_PAGES * PAGE_SIZE
    }
