"""Owners of memory: which stack, table or heap held which addresses, and when.

A provider (a profiler's file, a database, a list of objects) tells `Owners`. `Owners.at` picks the
intervals of a moment, in which no byte has two owners any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._model.runs import unique

__all__ = ["ALWAYS_NS", "FOREVER_NS", "MemoryView", "OwnedInterval", "OwnedRanges", "Owners"]

ALWAYS_NS = 0
"""`since_ns` of intervals whose beginning is not known."""
FOREVER_NS = 2**63 - 1
"""`until_ns` of intervals that were never seen to end."""

Path = tuple[str, ...]
_MOST_LAYERS = 32
"""Intervals that are nested deeper, or reach into one another more often, are cut short."""


class OwnedInterval(NamedTuple):
    """An interval of addresses that an owner held for some time: a row of `Owners.of`."""

    path: Path
    start: int
    end: int
    since_ns: int = ALWAYS_NS
    until_ns: int = FOREVER_NS


class MemoryView(NamedTuple):
    """Addresses of memory that is mapped a second time, and the address where it counts.

    Examples
    --------
    >>> MemoryView(0x80000000, 0x90000000, counted_at=0x40000000).counted_at == 0x40000000
    True
    """

    start: int
    end: int
    counted_at: int


class OwnedRanges(NamedTuple):
    """The intervals of one moment: sorted by address, without overlap.

    `owner` is an index into `Owners.paths`, and `since_ns` says since when the owner held it.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    owner: NDArray[np.int32]
    since_ns: NDArray[np.int64]

    def pick(self, rows: slice | NDArray[np.bool_]) -> OwnedRanges:
        """Some of the intervals."""
        return OwnedRanges(self.start[rows], self.end[rows], self.owner[rows], self.since_ns[rows])


@dataclass(frozen=True, eq=False)
class Owners:
    """Who held which addresses, and when: arrays of one length, in any order.

    Parameters
    ----------
    paths
        The labels of each owner, root first: the functions of a stack, or schema and table.
    start, end
        The addresses of each interval, in bytes, half open; any size.
    owner
        The owner of each interval: an index into *paths*.
    since_ns, until_ns
        From when to when the interval belonged to its owner, Unix time. `ALWAYS_NS` and
        `FOREVER_NS` stand for a beginning and an end that are not known.
    pids
        The processes whose addresses these are; empty means every target of a recording.
    is_shared
        Whether the processes share this memory at the same addresses, as forked servers do. It
        then counts once, and a page is idle if it is idle in all of them.
    stays_resident
        Whether the memory stays when no process maps it, as PostgreSQL's buffers do. Pages that no
        process maps are idle then: no running process has used them.
    containers
        The owners whose intervals lie around those of others, such as an allocator's arenas, or
        mappings. Their bytes are free space and bookkeeping: bytes and pages that an owner has
        together with a container count as its own.
    views
        Where the same memory is mapped again, as by collectors that colour pointers. A page is idle
        if it is idle in all views, and counts where the intervals are.
    notes
        What a reader of a report must know: how well clocks are aligned, what was left out.

    Notes
    -----
    Where intervals of one moment overlap, the bytes belong to the innermost one: small objects
    lie in an arena, and the arena in a mapping.

    Examples
    --------
    >>> owners = Owners.of(
    ...     [
    ...         OwnedInterval(("main", "load"), 0x1000, 0x3000, since_ns=5),
    ...         OwnedInterval(("main", "cache"), 0x3000, 0x3800),
    ...     ]
    ... )
    >>> owners.paths
    (('main', 'load'), ('main', 'cache'))
    >>> owners.at(4).start
    array([12288])
    """

    paths: tuple[Path, ...]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    owner: NDArray[np.int32]
    since_ns: NDArray[np.int64]
    until_ns: NDArray[np.int64]
    pids: tuple[int, ...] = ()
    is_shared: bool = False
    stays_resident: bool = False
    containers: frozenset[int] = frozenset()
    views: tuple[MemoryView, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many intervals there are."""
        return len(self.start)

    @classmethod
    def of(
        cls,
        rows: Iterable[OwnedInterval],
        *,
        pids: Sequence[int] = (),
        is_shared: bool = False,
        notes: Sequence[str] = (),
    ) -> Self:
        """Owners of a few intervals; many are faster as arrays."""
        numbers: dict[Path, int] = {}
        columns = [
            (start, end, numbers.setdefault(path, len(numbers)), since_ns, until_ns)
            for path, start, end, since_ns, until_ns in rows
        ]
        start, end, owner, since, until = np.array(columns, np.int64).reshape(-1, 5).T
        return cls(
            tuple(numbers),
            start.astype(np.uint64),
            end.astype(np.uint64),
            owner.astype(np.int32),
            since.copy(),
            until.copy(),
            tuple(pids),
            is_shared,
            notes=tuple(notes),
        )

    @classmethod
    def joined(cls, several: Sequence[Self]) -> Self:
        """What several providers tell of the same processes, as one.

        Where they tell different owners of the same bytes, the innermost interval counts.

        Raises
        ------
        UsageError
            If they tell of different processes.
        """
        if len(several) == 1:
            return several[0]
        if len({(frozenset(owners.pids), owners.is_shared) for owners in several}) > 1:
            raise UsageError("the sources of owners are of different processes")
        first = np.cumsum([0] + [len(owners.paths) for owners in several]).tolist()
        parts = list(zip(several, first, strict=False))
        return cls(
            tuple(path for owners in several for path in owners.paths),
            np.concatenate([owners.start for owners in several]),
            np.concatenate([owners.end for owners in several]),
            np.concatenate([owners.owner + base for owners, base in parts]).astype(np.int32),
            np.concatenate([owners.since_ns for owners in several]),
            np.concatenate([owners.until_ns for owners in several]),
            pids=several[0].pids,
            is_shared=several[0].is_shared,
            stays_resident=several[0].stays_resident,
            containers=frozenset(
                number + base for owners, base in parts for number in owners.containers
            ),
            views=tuple(dict.fromkeys(view for owners in several for view in owners.views)),
            notes=tuple(note for owners in several for note in owners.notes),
        )

    @classmethod
    def by_space(cls, several: Sequence[Self]) -> list[Self]:
        """What several providers tell, joined where they tell of the same memory."""
        spaces: dict[tuple[object, ...], list[Self]] = {}
        for owners in several:
            key = (frozenset(owners.pids), owners.is_shared, owners.stays_resident)
            spaces.setdefault(key, []).append(owners)
        return [cls.joined(same) for same in spaces.values()]

    def at(self, time_ns: int) -> OwnedRanges:
        """The intervals that exist at a moment; of those that overlap, the innermost counts."""
        is_alive = (self.since_ns <= time_ns) & (time_ns < self.until_ns)
        is_alive &= self.start < self.end
        # There may be many millions: each column is made once, and when it is needed.
        rows = np.flatnonzero(is_alive).astype(np.int32)
        rows = rows[np.argsort(self.start[rows], kind="stable")]
        start = self.start[rows].view(np.int64)
        if (start[1:] == start[:-1]).any():
            rows = rows[np.lexsort((-self.end[rows].view(np.int64), start))]
        end = self.end[rows].view(np.int64)
        ranges = OwnedRanges(start, end, self.owner[rows], self.since_ns[rows])
        return _innermost(ranges, self.containers)


def _innermost(ranges: OwnedRanges, containers: frozenset[int]) -> OwnedRanges:
    """Cut intervals that lie around others, or reach into others, so that none overlap.

    They come sorted by start, of equal starts the longest first. Those of containers give way to
    all others.
    """
    start, end, owner, since_ns = ranges
    if not len(start):
        return ranges
    if (start[1:] >= end[:-1]).all():
        return ranges
    is_container = np.isin(owner, list(containers))
    holder, edges = _holders(start, end, is_container)
    held = (holder >= 0) & (edges[1:] > edges[:-1])
    row = holder[held]
    return OwnedRanges(edges[:-1][held], edges[1:][held], owner[row], since_ns[row])


def _holders(
    start: NDArray[np.int64], end: NDArray[np.int64], is_container: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The last interval to begin among those around each piece between two edges; -1 for none.

    A piece's holder is the highest row that is open there, a container only if no other is. Rows
    are laid over the pieces in layers of intervals that do not overlap, from the lowest row to the
    highest.
    """
    edges = unique(np.concatenate([start, end]))
    holder = np.full(len(edges) - 1, -1, np.intp)
    left = np.arange(len(start))
    first, beyond = np.searchsorted(edges, start), np.searchsorted(edges, end)
    for layers in range(len(start)):
        if not len(left):
            break
        if layers == _MOST_LAYERS:
            beyond[left[:-1]] = np.minimum(beyond[left[:-1]], first[left[1:]])
        reach = np.maximum.accumulate(np.append(0, beyond[left][:-1]))
        is_free = first[left] >= reach
        layer = left[is_free]
        lengths = beyond[layer] - first[layer]
        place = np.repeat(first[layer] - np.cumsum(lengths) + lengths, lengths)
        place += np.arange(len(place))
        rank = layer + len(start) * ~is_container[layer]
        holder[place] = np.maximum(holder[place], np.repeat(rank, lengths))
        left = left[~is_free]
    return np.where(holder < 0, -1, holder % len(start)), edges
