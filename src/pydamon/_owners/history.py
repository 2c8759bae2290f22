"""From snapshots of owners to intervals of time: what is still the same continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.owners import ALWAYS_NS, FOREVER_NS, Owners
from pydamon._model.runs import unique

__all__ = ["OwnerHistory"]

_Columns = tuple[NDArray[np.int64], ...]


class _Pieces(NamedTuple):
    """Pieces of the rows of a snapshot: each belongs to its owner since a time of its own."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    since_ns: NDArray[np.int64]
    row: NDArray[np.int64]

    def pick(self, chosen: NDArray[np.bool_]) -> _Pieces:
        return _Pieces(*(column[chosen] for column in self))


class OwnerHistory:
    """Follows who owns which memory, from snapshots that are taken every so often.

    Intervals of the first snapshot belong to their owner since `ALWAYS_NS`. An interval that a
    later snapshot does not have ends at that snapshot's time, and a new one begins then. Of an
    interval that has grown, or shrunk, the part that stays with its owner continues.

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
    >>> history.add(30, Owners.of([OwnedInterval(("a",), 0, 12)]))
    >>> history.owners().at(30).since_ns
    array([ 0, 30])
    >>> history.forget(31)
    >>> len(history.owners())
    2
    """

    def __init__(self) -> None:
        self.snapshots = 0
        self.changed_bytes = 0
        """How much memory changed its owner between snapshots, summed over them."""
        self.last_ns = 0
        """When the last snapshot was taken."""
        self._numbers: dict[tuple[str, ...], int] = {}
        self._ended: list[_Columns] = []
        empty = np.empty(0, np.int64)
        # The rows of the last snapshot: start, end, owner.
        self._rows: _Columns = (empty, empty, empty)
        self._open = _Pieces(empty, empty, empty, empty)

    def add(self, time_ns: int, owners: Owners) -> None:
        """Add the owners of a moment, whose own times do not count and whose rows are distinct."""
        numbers = self._numbers
        number = np.array(
            [numbers.setdefault(path, len(numbers)) for path in owners.paths], np.int64
        )
        rows = owners.start.astype(np.int64), owners.end.astype(np.int64), number[owners.owner]
        before, after = _common_rows(self._rows, rows)
        row_now = np.full(len(self._rows[0]), -1)
        row_now[before] = after
        stays = row_now[self._open.row] >= 0
        is_new = np.ones(len(rows[0]), bool)
        is_new[after] = False
        kept = self._open.pick(stays)
        kept = kept._replace(row=row_now[kept.row])
        old = self._open.pick(~stays)
        begun_ns = time_ns if self.snapshots else ALWAYS_NS
        begun, ended = _continued(old, self._rows[2], rows, np.flatnonzero(is_new), begun_ns)
        self.changed_bytes += int((ended.end - ended.start).sum())
        until_ns = np.full(len(ended.start), time_ns, np.int64)
        self._ended.append(
            (ended.start, ended.end, self._rows[2][ended.row], ended.since_ns, until_ns)
        )
        self._open = _Pieces(*(np.concatenate(both) for both in zip(kept, begun, strict=True)))
        self._rows = rows
        self.snapshots += 1
        self.last_ns = time_ns

    def forget(self, before_ns: int) -> None:
        """Drop the intervals that ended before a time."""
        kept = []
        for columns in self._ended:
            is_recent = columns[4] >= before_ns
            if is_recent.any():
                kept.append(tuple(column[is_recent] for column in columns))
        self._ended = kept

    def owners(
        self, *, pids: Sequence[int] = (), is_shared: bool = False, notes: Sequence[str] = ()
    ) -> Owners:
        """All intervals so far; those of the last snapshot have no end."""
        now = self._open
        endless_ns = np.full(len(now.start), FOREVER_NS, np.int64)
        still = now.start, now.end, self._rows[2][now.row], now.since_ns, endless_ns
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
    """The places of the rows that both have, in both."""
    columns = [np.concatenate(parts) for parts in zip(before, after, strict=True)]
    # A row before comes right ahead of the same row after, because the sort is stable.
    order = np.lexsort(columns[::-1])
    count = len(before[0])
    same = (order[:-1] < count) & (order[1:] >= count)
    for column in columns:
        ordered = column[order]
        same &= ordered[1:] == ordered[:-1]
    return order[:-1][same], order[1:][same] - count


def _continued(
    old: _Pieces,
    old_owner: NDArray[np.int64],
    rows: _Columns,
    new: NDArray[np.intp],
    begun_ns: int,
) -> tuple[_Pieces, _Pieces]:
    """The pieces of the *new* ones among some rows, and what ended of old pieces.

    What an owner had before, it has since then; all else began at *begun_ns*.
    """
    start, end, owner = (column[new] for column in rows)
    begun = _Pieces(start, end, np.full(len(new), begun_ns, np.int64), new.astype(np.int64))
    edges = unique(np.concatenate([start, end, old.start, old.end]))
    # Owners side by side on one axis: there, pieces of different owners do not overlap.
    now = _on_axis(start, end, owner, edges)
    then = _on_axis(old.start, old.end, old_owner[old.row], edges)
    if now is None or then is None or not len(new) or not len(old.start):
        return begun, old
    bounds = unique(np.concatenate([now.start, now.end, then.start, then.end]))
    low, high = bounds[:-1], bounds[1:]
    now_row, then_row = now.row_at(low), then.row_at(low)
    address, beyond = edges[low % len(edges)], edges[high % len(edges)]
    is_now, is_ended = now_row >= 0, (then_row >= 0) & (now_row < 0)
    since_ns = np.where(then_row >= 0, old.since_ns[then_row], begun_ns)
    pieces = _Pieces(address, beyond, since_ns, begun.row[now_row])
    return pieces.pick(is_now), pieces._replace(row=old.row[then_row]).pick(is_ended)


class _Axis(NamedTuple):
    """Intervals that do not overlap, in order, and the row of each."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    row: NDArray[np.intp]

    def row_at(self, place: NDArray[np.int64]) -> NDArray[np.intp]:
        """The row at each place; -1 for none."""
        at = np.searchsorted(self.start, place, side="right") - 1
        return np.where((at >= 0) & (place < self.end[at]), self.row[at], -1)


def _on_axis(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    owner: NDArray[np.int64],
    edges: NDArray[np.int64],
) -> _Axis | None:
    """Intervals by owner and edge; `None` if those of an owner overlap."""
    base = owner * len(edges)
    low, high = base + np.searchsorted(edges, start), base + np.searchsorted(edges, end)
    order = np.argsort(low, kind="stable")
    if (low[order][1:] < high[order][:-1]).any():
        return None
    return _Axis(low[order], high[order], order)
