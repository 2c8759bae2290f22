"""Owners from a capture file of memray: the Python stack of each allocation.

A capture has the allocations and deallocations in their order, but no time for each. It has the
size of the heap every 10 ms, by the clock: that tells how many records came before each such
moment, and times in between are interpolated.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._model.owners import FOREVER_NS, Owners
from pydamon._owners.allocations import ENDLESS
from pydamon._owners.memray.clock import RecordClock
from pydamon._owners.memray.records import Capture, Kinds, MapRecord, read_records

__all__ = ["memray_package", "read"]

_MOST_MOMENTS = 10**7
_AT_ONCE = 2**20
_NS_PER_MS = 10**6
_LATEST_MS = FOREVER_NS // _NS_PER_MS
_ARENA_BYTES = (1 << 20, 256 << 10)
"""What Python asks for at once for small objects: since Python 3.10, and before."""
_SMALL_OBJECTS = ("small objects (in Python's arenas)",)


def read(source: str) -> Owners:
    """The owners in a capture file.

    Raises `UsageError` if memray is missing, or the file is no capture with all allocations.
    """
    memray = memray_package()
    try:
        with memray.FileReader(source, max_memory_records=_MOST_MOMENTS) as reader:
            metadata = reader.metadata
            moments = np.array(
                [(moment.time, moment.heap) for moment in reader.get_memory_snapshots()], np.int64
            ).reshape(-1, 2)
            if ((moments[:, 0] < 0) | (moments[:, 0] > _LATEST_MS)).any():
                raise UsageError("is damaged: its times make no sense")
            capture = read_records(reader, Kinds.of(memray.AllocatorType))
    except UsageError as error:
        raise UsageError(f"{source} {error}") from None
    except NotImplementedError:  # so `get_allocation_records` says that a capture is aggregated
        raise UsageError(
            f"{source} has sums of allocations only",
            hint="run memray without --aggregate",
        ) from None
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        raise UsageError(f"{source} is no capture file of this memray: {error}") from None
    began_ns = int(metadata.start_time.timestamp() * 1000) * _NS_PER_MS
    mapped, clock = _clock(capture, moments, began_ns)
    paths, columns = capture.paths, list[Any](capture.allocations)
    del capture
    return _owners(columns, paths, mapped, clock, metadata.pid)


def _clock(
    capture: Capture, moments: NDArray[np.int64], began_ns: int
) -> tuple[list[Mapped], RecordClock]:
    """The intervals of mappings, and the times of records."""
    change = changes(capture)
    mapped = mapped_lifetimes(capture.maps, change)
    return mapped, RecordClock(np.cumsum(change, out=change), moments, began_ns)


def memray_package() -> Any:
    """The package memray; raises `UsageError` if it is missing."""
    try:
        import memray  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "memray is not installed here", hint="pip install 'pydamon[memray]'"
        ) from None
    return memray


def changes(capture: Capture) -> NDArray[np.int64]:
    """By how much each record of malloc and free changes the heap."""
    told, is_free = capture.allocations, capture.is_free
    change = np.zeros(len(is_free), np.int64)
    for first in range(0, len(told.since), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        size, until = told.size[rows].astype(np.int64), told.until[rows]
        change[told.since[rows]] = size
        # An allocation may also end because there is a new one at its address: memray missed its
        # free.
        freed = np.flatnonzero(until != ENDLESS)
        freed = freed[is_free[until[freed]]]
        change[until[freed]] = -size[freed]
    return change


class Mapped(NamedTuple):
    """An interval of a mapping; `until` is `ENDLESS` if it never ends."""

    start: int
    end: int
    stack: int
    since: int
    until: int = ENDLESS


def mapped_lifetimes(records: Iterable[MapRecord], change: NDArray[np.int64]) -> list[Mapped]:
    """The intervals of mmap, of which munmap may take parts; adds how they change the heap."""
    # Sorted, and without overlap: Python has a mapping for each MiB of its small objects.
    live: list[Mapped] = []
    done: list[Mapped] = []
    for number, start, end, stack in records:
        first = bisect_right(live, start, key=attrgetter("end"))
        beyond = bisect_left(live, end, key=attrgetter("start"))
        left = []
        for mapped in live[first:beyond]:
            low, high = max(mapped.start, start), min(mapped.end, end)
            done.append(mapped._replace(start=low, end=high, until=number))
            change[number] -= high - low
            rest = ((mapped.start, low), (high, mapped.end))
            left += [mapped._replace(start=a, end=b) for a, b in rest if a < b]
        if stack >= 0:
            left.append(Mapped(start, end, stack, number))
            change[number] += end - start
        live[first:beyond] = sorted(left)
    return done + live


def _owners(
    columns: list[Any],
    paths: list[tuple[str, ...]],
    several: list[Mapped],
    clock: RecordClock,
    pid: int,
) -> Owners:
    """Owners of the columns of `Allocations`: each goes when it was used, since they are large."""
    paths = [*paths, _SMALL_OBJECTS]
    start, end, stack, since, until = np.array(several, np.int64).reshape(-1, 5).T
    stack = np.where(np.isin(end - start, _ARENA_BYTES), len(paths) - 1, stack)
    numbers: dict[tuple[str, ...], int] = {}
    # memray has several numbers for some stacks.
    of_stack = np.array([numbers.setdefault(path, len(numbers)) for path in paths], np.int32)

    ends = np.append(columns.pop(), until.astype(np.uint32))
    until_ns = clock.at(ends)
    until_ns[ends == ENDLESS] = FOREVER_NS
    since_ns = clock.at(np.append(columns.pop(), since.astype(np.uint32)))
    owner = of_stack[np.append(columns.pop(), stack.astype(np.int32))]
    beyond = np.append(columns.pop(), end - start).astype(np.uint64)
    address = np.append(columns.pop(), start).view(np.uint64)
    beyond += address
    return Owners(
        tuple(numbers),
        address,
        beyond,
        owner,
        since_ns,
        until_ns,
        (pid,),
        containers=frozenset({numbers[_SMALL_OBJECTS]}),
        notes=(clock.note,),
    )
