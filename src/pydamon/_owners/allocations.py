"""Allocations and their ends, paired as they come from a profiler's file of many millions."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENDLESS", "AllocationHistory", "Allocations", "Ends"]

ENDLESS = 2**32 - 1
"""`until` of allocations that were not freed."""
_SMALL = 2**32
_LARGE = 2**21
"""Larger parts of the live allocations are not made larger still, which takes memory."""
_MANY_ENDED = 0.5
"""Live allocations are sorted out when so many of a part have ended."""


class Allocations(NamedTuple):
    """Arrays of one length: an allocation each, with the stack that asked for it.

    `size` has 32 bits where these are enough. `since` and `until` are times in whatever counts
    them; `until` means nothing where `is_live`: the allocation was not freed.
    """

    pointer: NDArray[np.int64]
    size: NDArray[np.uint32] | NDArray[np.int64]
    stack: NDArray[np.int32]
    since: NDArray[np.uint32]
    until: NDArray[np.uint32]

    @classmethod
    def begun(
        cls,
        pointer: NDArray[np.int64],
        size: NDArray[np.int64],
        stack: NDArray[np.int32],
        since: NDArray[np.int64],
    ) -> Self:
        """Allocations that have not ended."""
        is_small = not len(size) or size.max() < _SMALL
        return cls(
            pointer,
            size.astype(np.uint32) if is_small else size,
            stack,
            since.astype(np.uint32),
            np.full(len(pointer), ENDLESS, np.uint32),
        )

    @property
    def is_live(self) -> NDArray[np.bool_]:
        """Which allocations were not freed."""
        live: NDArray[np.bool_] = self.until == ENDLESS
        return live

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Allocations:
        """The selected allocations."""
        columns: list[Any] = [column[rows] for column in self]
        return Allocations(*columns)


def _joined(parts: list[Allocations]) -> Allocations:
    """The parts as one; at least one."""
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Allocations(*columns)


def _give_back() -> None:
    """Give the memory of parts that are gone to the system: glibc keeps what was freed in pieces.

    Larger arrays do not use it again: the joined columns would come on top of it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # other libraries have none
        trim(0)


class Ends(NamedTuple):
    """Events that end what was live at an address: frees, and newer allocations."""

    pointer: NDArray[np.int64]
    when: NDArray[np.uint32]


class AllocationHistory:
    """All allocations so far: those that ended, and those that wait for their end.

    The live ones are in a few parts, each sorted by address. An address is live once at most.
    """

    def __init__(self) -> None:
        self._live: list[Allocations] = []
        self._ended: list[Allocations] = []

    def add(
        self,
        fresh: Allocations,
        allocated: NDArray[np.intp],
        freed: Ends,
        freed_at: NDArray[np.intp],
    ) -> None:
        """Add the allocations and frees of a chunk, with the numbers of their lines.

        An allocation ends by what happens next at its address: a free, or another allocation.
        """
        events = Ends(
            np.concatenate([fresh.pointer, freed.pointer]),
            np.concatenate([fresh.since, freed.when]),
        )
        # In the order of the file, and then, stably, of addresses.
        order = np.argsort(np.concatenate([allocated, freed_at]), kind="stable")
        order = order[np.argsort(events.pointer[order], kind="stable")]
        pointer = events.pointer[order]
        again = pointer[1:] == pointer[:-1]
        is_first = np.append(True, ~again)[: len(order)]
        self._end_live(Ends(pointer[is_first], events.when[order[is_first]]))
        is_allocation = order < len(fresh.pointer)
        has_end = np.append(again, False)[: len(order)] & is_allocation
        place = np.flatnonzero(has_end)
        self._put_ended(fresh.take(order[place])._replace(until=events.when[order[place + 1]]))
        self._put_live(fresh.take(order[is_allocation & ~has_end]))

    def all(self) -> Allocations:
        """All allocations that were there for more than a moment; there is no more to come."""
        columns: list[list[Any]] = [[] for _ in Allocations._fields]
        for parts in (self._ended, self._live):
            while parts:
                self._put_columns(parts.pop(), columns)
        # There may be many millions: the parts of each column go when it has been joined.
        joined: list[Any] = []
        while columns:
            joined.append(np.concatenate(columns.pop(0)))
            _give_back()
        return Allocations(*joined)

    def _put_columns(self, part: Allocations, columns: list[list[Any]]) -> None:
        has_lasted = part.until > part.since
        for column, values in zip(columns, part, strict=True):
            column.append(values if has_lasted.all() else values[has_lasted])

    def _end_live(self, ends: Ends) -> None:
        """End live allocations; *ends* are sorted by address."""
        kept = []
        for part in self._live:
            place = np.minimum(np.searchsorted(part.pointer, ends.pointer), len(part.pointer) - 1)
            hit = (part.pointer[place] == ends.pointer) & part.is_live[place]
            part.until[place[hit]] = ends.when[hit]
            if part.is_live.mean() < _MANY_ENDED:
                part = self._only_live(part)  # noqa: PLW2901
            if len(part.pointer):
                kept.append(part)
        self._live = kept

    def _only_live(self, part: Allocations) -> Allocations:
        is_live = part.is_live
        if is_live.all():
            return part
        self._put_ended(part.take(~is_live))
        return part.take(is_live)

    def _put_ended(self, some: Allocations) -> None:
        self._ended.append(some.take(some.until > some.since))

    def _put_live(self, some: Allocations) -> None:
        """Keep a part; parts of similar size become one, so that there are few."""
        while self._live and len(self._live[-1].pointer) < min(2 * len(some.pointer), _LARGE):
            # An address may be there once only, or its live allocation would not be found.
            some = _joined([self._only_live(self._live.pop()), some])
            some = some.take(np.argsort(some.pointer, kind="stable"))
        if len(some.pointer):
            self._live.append(some)
