"""From snapshots of owners to intervals of time: what is still the same continues."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pydamon._model.owners import ALWAYS_NS, FOREVER_NS, Owners

__all__ = ["OwnerHistory"]

_Columns = tuple[NDArray[np.int64], ...]


class OwnerHistory:
    """Follows who owns which memory, from snapshots that are taken every so often.

    Intervals of the first snapshot belong to their owner since `ALWAYS_NS`. An interval that a
    later snapshot does not have ends at that snapshot's time, and a new one begins then.

    Examples
    --------
    >>> from pydamon._model.owners import OwnedInterval
    >>> history = OwnerHistory()
    >>> history.add(10, Owners.of([OwnedInterval(("a",), 0, 8), OwnedInterval(("b",), 8, 16)]))
    >>> history.add(20, Owners.of([OwnedInterval(("a",), 0, 8), OwnedInterval(("c",), 8, 16)]))
    >>> owners = history.owners()
    >>> [owners.paths[owner] for owner in owners.at(15).owner]
    [('a',), ('b',)]
    >>> [owners.paths[owner] for owner in owners.at(20).owner]
    [('a',), ('c',)]
    >>> history.changed_bytes
    8
    """

    def __init__(self) -> None:
        self.snapshots = 0
        self.changed_bytes = 0
        """How much memory changed its owner between snapshots, summed over them."""
        self._numbers: dict[tuple[str, ...], int] = {}
        self._ended: list[_Columns] = []
        empty = np.empty(0, np.int64)
        # Start, end, owner, since.
        self._open: _Columns = (empty, empty, empty, empty)

    def add(self, time_ns: int, owners: Owners) -> None:
        """Add the owners of a moment, whose own times do not count and whose rows are distinct."""
        numbers = self._numbers
        number = np.array(
            [numbers.setdefault(path, len(numbers)) for path in owners.paths], np.int64
        )
        fresh = (
            owners.start.astype(np.int64),
            owners.end.astype(np.int64),
            number[owners.owner],
        )
        since_ns = np.full(len(owners), time_ns if self.snapshots else ALWAYS_NS, np.int64)
        before, after = _common_rows(self._open[:3], fresh)
        since_ns[after] = self._open[3][before]
        ends = np.ones(len(self._open[0]), bool)
        ends[before] = False
        ended = tuple(column[ends] for column in self._open)
        self.changed_bytes += int((ended[1] - ended[0]).sum())
        self._ended.append((*ended, np.full(int(ends.sum()), time_ns, np.int64)))
        self._open = (*fresh, since_ns)
        self.snapshots += 1

    def owners(
        self, *, pids: Sequence[int] = (), is_shared: bool = False, notes: Sequence[str] = ()
    ) -> Owners:
        """All intervals so far; those of the last snapshot have no end."""
        still = (*self._open, np.full(len(self._open[0]), FOREVER_NS, np.int64))
        columns = [np.concatenate(parts) for parts in zip(*self._ended, still, strict=True)]
        start, end, owner, since_ns, until_ns = columns
        return Owners(
            tuple(self._numbers),
            start.astype(np.uint64),
            end.astype(np.uint64),
            owner.astype(np.int32),
            since_ns,
            until_ns,
            pids=tuple(pids),
            is_shared=is_shared,
            notes=tuple(notes),
        )


def _common_rows(before: _Columns, after: _Columns) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places of the rows that both have, in both; each has a row once at most."""
    columns = [np.concatenate(parts) for parts in zip(before, after, strict=True)]
    # A row before comes right ahead of the same row after, because the sort is stable.
    order = np.lexsort(columns[::-1])
    same = np.ones(max(len(order) - 1, 0), bool)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    count = len(before[0])
    return order[:-1][same], order[1:][same] - count
