"""The records of a capture, read in chunks: there may be many millions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import dropwhile, islice
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import UsageError
from pydamon._owners.allocations import AllocationHistory, Allocations, Ends

__all__ = ["Capture", "Kinds", "MapRecord", "path_of", "read_records"]

_CHUNK = 2**18
_MOST_RECORDS = 2**32 - 1
_RUNNER = "memray/commands/run.py"
_FROZEN = "<frozen "
"""Files of frames that say nothing of a program: memray's own, and those of the import system."""
_PREFIXES = ("site-packages/", "dist-packages/")
_ALLOCATOR = re.compile(
    r"_?Py(Object|Mem)_(Raw)?(Malloc|Calloc|Realloc)|_PyMem_|pymalloc_|operator new"
)
_FIELDS = (
    *("address", "size", "allocator"),
    *("stack_id", "native_stack_id", "native_segment_generation"),
)
_ROW = np.dtype([(name, "u8") for name in _FIELDS])
_BEYOND = 2**62
"""No processor has such addresses."""


class Kinds(NamedTuple):
    """The numbers of memray's allocators by what they do."""

    frees: tuple[int, ...]
    maps: int
    unmaps: int

    @classmethod
    def of(cls, types: Any) -> Kinds:
        """Those of memray's `AllocatorType`."""
        names = {kind.name: int(kind.value) for kind in types}
        frees = tuple(number for name, number in names.items() if name in ("FREE", "PYMALLOC_FREE"))
        return cls(frees, names["MMAP"], names["MUNMAP"])


class MapRecord(NamedTuple):
    """A record of mmap, or of munmap with a *stack* of -1."""

    number: int
    start: int
    end: int
    stack: int


class Capture(NamedTuple):
    """What the records say; their numbers stand for times.

    `allocations` are those of malloc and free, `maps` the records of mmap and munmap, which may
    take parts. `paths` has the labels of each stack, and `is_free` a mark for each record.
    """

    allocations: Allocations
    maps: list[MapRecord]
    is_free: NDArray[np.bool_]
    paths: list[tuple[str, ...]]


def read_records(reader: Any, kinds: Kinds) -> Capture:
    """Read all records; raises `UsageError` if they are too many to count, or make no sense."""
    history = AllocationHistory()
    stacks = _Stacks((*kinds.frees, kinds.unmaps), has_native=reader.metadata.has_native_traces)
    maps: list[MapRecord] = []
    is_free: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
    first = 0
    for rows in _chunks(stacks.noted(reader.get_allocation_records())):
        if max(rows["address"].max(), rows["size"].max()) >= _BEYOND:
            raise UsageError("is damaged: there can be no such addresses")
        kind, stack = rows["allocator"], stacks.numbers(rows)
        is_map, frees = kind == kinds.maps, np.isin(kind, kinds.frees)
        maps += _maps(rows, stack, np.flatnonzero(is_map | (kind == kinds.unmaps)), first)
        begins, ends = np.flatnonzero((stack >= 0) & ~is_map), np.flatnonzero(frees)
        pointer, size = rows["address"].astype(np.int64), rows["size"].astype(np.int64)
        fresh = Allocations.begun(pointer[begins], size[begins], stack[begins], begins + first)
        history.add(fresh, begins, Ends(pointer[ends], (ends + first).astype(np.uint32)), ends)
        is_free.append(frees)
        first += len(rows)
        if first > _MOST_RECORDS:
            raise UsageError("has more than 4 billion records")
    return Capture(history.all(), maps, np.concatenate(is_free), stacks.paths)


def _chunks(records: Iterator[Any]) -> Iterator[NDArray[np.void]]:
    """The columns of many records at a time. Only one record exists at a time, which is fast."""
    fields = map(attrgetter(*_FIELDS), records)
    while len(rows := np.fromiter(islice(fields, _CHUNK), _ROW)):
        yield rows


def _maps(
    rows: NDArray[np.void], stack: NDArray[np.int32], places: NDArray[np.intp], first: int
) -> Iterator[MapRecord]:
    for place in places.tolist():
        start = int(rows["address"][place])
        end = start + int(rows["size"][place])
        yield MapRecord(first + place, start, end, int(stack[place]))


class _Stacks:
    """Numbers the stacks of records; those of some kinds have none."""

    def __init__(self, without: Collection[int], *, has_native: bool) -> None:
        self.paths: list[tuple[str, ...]] = []
        self._without = frozenset(without)
        self._has_native = has_native
        self._names = _FIELDS[3:] if has_native else _FIELDS[3:4]
        self._numbers: dict[Any, int] = {}

    def noted(self, records: Iterable[Any]) -> Iterator[Any]:
        """The same records; stacks that are new get a number."""
        key_of, numbers = attrgetter(*self._names), self._numbers
        for record in records:
            if key_of(record) not in numbers and record.allocator not in self._without:
                numbers[key_of(record)] = len(self.paths)
                trace = record.hybrid_stack_trace if self._has_native else record.stack_trace
                self.paths.append(path_of(trace()))
            yield record

    def numbers(self, rows: NDArray[np.void]) -> NDArray[np.int32]:
        """The number of the stack of each row; -1 for none."""
        code = np.zeros(len(rows), np.int64)
        for name in self._names:
            values, number = np.unique(rows[name], return_inverse=True)
            code = code * max(1, len(values)) + number.reshape(-1)
        _, first, group = np.unique(code, return_index=True, return_inverse=True)
        keys = [rows[name][first].tolist() for name in self._names]
        known = zip(*keys, strict=True) if self._has_native else keys[0]
        numbers = np.array([self._numbers.get(key, -1) for key in known], np.int32)
        stack = numbers[group.reshape(-1)]
        stack[np.isin(rows["allocator"], list(self._without))] = -1
        return stack


def path_of(frames: Sequence[tuple[str, str, int]]) -> tuple[str, ...]:
    """The labels of a stack, root first; memray has the innermost frame first."""
    # Native stacks have the functions that only pass an allocation on.
    told = list(dropwhile(lambda frame: _ALLOCATOR.match(frame[0]), frames))
    labels = tuple(label for frame in reversed(told) if (label := _label(frame)))
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
