"""Owners from a capture file of memray: the Python stack of each allocation.

A capture has the allocations and deallocations in their order, but no time for each. It has the
size of the heap every 10 ms, by the clock: that tells how many records came before each such
moment, and times in between are interpolated.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._model.owners import FOREVER_NS, Owners

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["memray_package", "read"]

_MOST_MOMENTS = 10**7
_NS_PER_MS = 10**6
_ARENA_BYTES = (1 << 20, 256 << 10)
"""What Python asks for at once for small objects: since Python 3.10, and before."""
_SMALL_OBJECTS = ("small objects (in Python's arenas)",)
_RUNNER = "memray/commands/run.py"
_FROZEN = "<frozen "
"""Files of frames that say nothing of a program: memray's own, and those of the import system."""
_PREFIXES = ("site-packages/", "dist-packages/")


class _Records(NamedTuple):
    """The records of a capture in their order; `stack` is an index into the stacks."""

    address: NDArray[np.uint64]
    size: NDArray[np.int64]
    kind: NDArray[np.uint8]
    stack: NDArray[np.int32]

    def pick(self, rows: NDArray[np.intp]) -> _Records:
        return _Records(self.address[rows], self.size[rows], self.kind[rows], self.stack[rows])


class _Lifetimes(NamedTuple):
    """Intervals of addresses, and the numbers of the records that begin and end each.

    `end` is -1 for intervals that never end.
    """

    address: NDArray[np.uint64]
    size: NDArray[np.int64]
    stack: NDArray[np.int32]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


class _Kinds(NamedTuple):
    """The numbers of memray's allocators by what they do."""

    frees: tuple[int, ...]
    maps: int
    unmaps: int


def read(source: str) -> Owners:
    """The owners in a capture file.

    Raises `UsageError` if memray is missing, or the file is no capture with all allocations.
    """
    memray = memray_package()
    kinds = _kinds(memray.AllocatorType)
    try:
        with memray.FileReader(source, max_memory_records=_MOST_MOMENTS) as reader:
            metadata = reader.metadata
            moments = np.array(
                [(moment.time, moment.heap) for moment in reader.get_memory_snapshots()], np.int64
            ).reshape(-1, 2)
            records, paths = _records(reader, kinds)
    except NotImplementedError:
        raise UsageError(
            f"{source} has sums of allocations only",
            hint="run memray without --aggregate",
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{source} is no capture file of this memray: {error}") from None
    began_ns = int(metadata.start_time.timestamp() * 1000) * _NS_PER_MS
    simple, change = _simple_lifetimes(records, kinds)
    mapped = _mapped_lifetimes(records, kinds, change)
    times, note = _times(np.cumsum(change), moments, began_ns)
    return _owners((simple, mapped), times, paths, metadata.pid, note)


def memray_package() -> Any:
    """The package memray; raises `UsageError` if it is missing."""
    try:
        import memray  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "memray is not installed here", hint="pip install 'pydamon[memray]'"
        ) from None
    return memray


def _kinds(types: Any) -> _Kinds:
    names = {kind.name: int(kind.value) for kind in types}
    frees = tuple(number for name, number in names.items() if name in ("FREE", "PYMALLOC_FREE"))
    return _Kinds(frees, names["MMAP"], names["MUNMAP"])


def _records(reader: Any, kinds: _Kinds) -> tuple[_Records, list[tuple[str, ...]]]:
    """The records of a capture, and the path of each stack."""
    address, size, kind, stack = array("Q"), array("q"), array("B"), array("i")
    numbers: dict[tuple[int, int, int], int] = {}
    paths: list[tuple[str, ...]] = []
    has_native = reader.metadata.has_native_traces
    deallocators = frozenset((*kinds.frees, kinds.unmaps))
    for record in reader.get_allocation_records():
        address.append(record.address)
        size.append(record.size)
        allocator = record.allocator
        kind.append(allocator)
        if allocator in deallocators:
            stack.append(-1)
            continue
        key = (record.stack_id, record.native_stack_id, record.native_segment_generation)
        number = numbers.setdefault(key, len(paths))
        if number == len(paths):
            paths.append(_path(record.hybrid_stack_trace() if has_native else record.stack_trace()))
        stack.append(number)
    columns = (
        np.frombuffer(address, np.uint64),
        np.frombuffer(size, np.int64),
        np.frombuffer(kind, np.uint8),
        np.frombuffer(stack, np.int32),
    )
    return _Records(*columns), paths


def _path(frames: Sequence[tuple[str, str, int]]) -> tuple[str, ...]:
    """The labels of a stack, root first; memray has the innermost frame first."""
    labels = tuple(label for frame in reversed(frames) if (label := _label(frame)))
    return labels or ("(no Python frame)",)


@cache
def _label(frame: tuple[str, str, int]) -> str:
    """The label of a frame; empty if it says nothing of a program."""
    function, file, line = frame
    if file.endswith(_RUNNER) or file.startswith(_FROZEN):
        return ""
    return f"{function} ({_short(file)}:{line})"


def _short(file: str) -> str:
    """The name of a file as people know it: within its package, or alone."""
    for prefix in _PREFIXES:
        _, found, rest = file.rpartition(prefix)
        if found:
            return rest
    return file.rpartition("/")[2]


def _simple_lifetimes(records: _Records, kinds: _Kinds) -> tuple[_Lifetimes, NDArray[np.int64]]:
    """The intervals of malloc and free; and by how much each record changes the heap."""
    change = np.zeros(len(records.address), np.int64)
    rows = np.flatnonzero((records.kind != kinds.maps) & (records.kind != kinds.unmaps))
    # Stable: the records of an address stay in their order.
    rows = rows[np.argsort(records.address[rows], kind="stable")]
    address, size, kind, stack = records.pick(rows)
    is_free = np.isin(kind, kinds.frees)
    same = np.append(address[1:] == address[:-1], False)
    begins = np.flatnonzero(~is_free)
    follows = same[begins]
    after = np.minimum(begins + 1, len(rows) - 1)
    end = np.where(follows, rows[after], -1) if len(rows) else np.zeros(0, np.int64)
    change[rows[begins]] = size[begins]
    freed = begins[follows & is_free[after]]
    change[rows[freed + 1]] = -size[freed]
    columns = address[begins], size[begins], stack[begins], rows[begins].astype(np.int64)
    return _Lifetimes(*columns, end.astype(np.int64)), change


def _mapped_lifetimes(records: _Records, kinds: _Kinds, change: NDArray[np.int64]) -> _Lifetimes:
    """The intervals of mmap, of which munmap may take parts; there are few."""
    rows = np.flatnonzero((records.kind == kinds.maps) | (records.kind == kinds.unmaps))
    live: list[tuple[int, int, int, int]] = []
    done: list[tuple[int, int, int, int, int]] = []
    for number in rows.tolist():
        start = int(records.address[number])
        end = start + int(records.size[number])
        left = []
        for begin, beyond, stack, since in live:
            if end <= begin or beyond <= start:
                left.append((begin, beyond, stack, since))
                continue
            cut = max(begin, start), min(beyond, end)
            done.append((cut[0], cut[1], stack, since, number))
            change[number] -= cut[1] - cut[0]
            left += [
                (low, high, stack, since)
                for low, high in ((begin, cut[0]), (cut[1], beyond))
                if low < high
            ]
        live = left
        if records.kind[number] == kinds.maps:
            live.append((start, end, int(records.stack[number]), number))
            change[number] += end - start
    done += [(start, end, stack, since, -1) for start, end, stack, since in live]
    columns = np.array(done, np.int64).reshape(-1, 5).T
    starts = columns[0].astype(np.uint64)
    sizes, stacks = columns[1] - columns[0], columns[2].astype(np.int32)
    return _Lifetimes(starts, sizes, stacks, columns[3], columns[4])


def _times(
    heap: NDArray[np.int64], moments: NDArray[np.int64], began_ns: int
) -> tuple[NDArray[np.int64], str]:
    """When each record was made (Unix time), and how well that is known."""
    counts, times_ns = _anchors(heap, moments)
    if len(counts) < 2:
        note = "the capture does not say when its allocations were made: they count from its start"
        return np.full(len(heap), began_ns, np.int64), note
    apart = np.append(True, counts[1:] != counts[:-1])
    first = np.flatnonzero(apart)
    last = np.append(first[1:], len(counts)) - 1
    known, begin_ns, end_ns = counts[first], times_ns[first], times_ns[last]
    number = np.arange(1, len(heap) + 1)
    # Each record comes between the last moment with fewer records and the first with as many.
    place = np.clip(np.searchsorted(known, number, side="left"), 1, len(known) - 1)
    low, high = end_ns[place - 1], begin_ns[place]
    width = np.maximum(known[place] - known[place - 1], 1)
    share = np.clip((number - known[place - 1]) / width, 0, 1)
    times = low + ((high - low) * share).astype(np.int64)
    times[number > known[-1]] = end_ns[-1]
    gap_ms = float(np.median(np.diff(times_ns))) / _NS_PER_MS
    return times, f"times of allocations are known to {gap_ms:.0f} ms"


def _anchors(
    heap: NDArray[np.int64], moments: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many records came before some moments, and when these were.

    A moment has the size of the heap then: the first place from the moment before on at which the
    records add up to that. Where there is none, the moment does not count.
    """
    sums = np.append(0, heap)
    order = np.argsort(sums, kind="stable")
    ordered = sums[order]
    first = np.searchsorted(ordered, moments[:, 1], side="left").tolist()
    beyond = np.searchsorted(ordered, moments[:, 1], side="right").tolist()
    counts, times = [], []
    at = 0
    for time_ms, low, high in zip(moments[:, 0].tolist(), first, beyond, strict=True):
        places = order[low:high]
        place = int(np.searchsorted(places, at))
        if place < len(places):
            at = int(places[place])
            counts.append(at)
            times.append(time_ms * _NS_PER_MS)
    return np.array(counts, np.int64), np.array(times, np.int64)


def _owners(
    several: tuple[_Lifetimes, _Lifetimes],
    times_ns: NDArray[np.int64],
    paths: list[tuple[str, ...]],
    pid: int,
    note: str,
) -> Owners:
    simple, mapped = several
    arenas = np.isin(mapped.size, _ARENA_BYTES)
    mapped = mapped._replace(stack=np.where(arenas, len(paths), mapped.stack).astype(np.int32))
    address = np.append(simple.address, mapped.address)
    size = np.append(simple.size, mapped.size)
    stack = np.append(simple.stack, mapped.stack)
    begin, end = np.append(simple.begin, mapped.begin), np.append(simple.end, mapped.end)
    until_ns = np.append(times_ns, FOREVER_NS)[end]
    owner, distinct = _merged([*paths, _SMALL_OBJECTS], stack)
    return Owners(
        distinct,
        address,
        address + size.astype(np.uint64),
        owner,
        times_ns[begin],
        until_ns,
        (pid,),
        containers=frozenset(
            number for number, path in enumerate(distinct) if path == _SMALL_OBJECTS
        ),
        notes=(note,),
    )


def _merged(
    paths: list[tuple[str, ...]], stack: NDArray[np.int32]
) -> tuple[NDArray[np.int32], tuple[tuple[str, ...], ...]]:
    """Owners of equal paths as one: memray has several numbers for some stacks."""
    numbers: dict[tuple[str, ...], int] = {}
    of_stack = [numbers.setdefault(path, len(numbers)) for path in paths]
    return np.array(of_stack, np.int32)[stack], tuple(numbers)
