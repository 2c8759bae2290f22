"""Owners from a raw file of heaptrack: the stacks of C, C++ and Rust that allocated memory.

heaptrack's file counts milliseconds from its start, and does not say when that was. It is written
until the program ends, so its start follows from the time of its last change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.owners import FOREVER_NS, Owners
from pydamon._owners.allocations import Allocations
from pydamon._owners.heaptrack.events import HeaptrackFile, read_heaptrack
from pydamon._owners.heaptrack.stacks import Stacks, find_interpreter, interpret, name_by_module

__all__ = ["owners_of", "read"]

_NS_OF_MS = 10**6
_WITHOUT_FUNCTIONS = (
    "heaptrack is not installed here: frames are modules and offsets, not functions"
)
_CUT = (
    "the file of heaptrack ends early: what was allocated last is missing, and its clock may be off"
    " by seconds"
)
_ATTACHED = "heaptrack was attached: what was allocated before is not in its file"
_ALIGNED = (
    "heaptrack's clock is aligned by the time of its file's last change: to about 20 ms, if nobody"
    " copied the file"
)


def read(source: str) -> Owners:
    """Read the owners of a raw file of heaptrack.

    Raises
    ------
    UsageError
        If the file cannot be read.
    RecordingError
        If it is no raw file of heaptrack.
    """
    path = Path(source)
    try:
        changed_ns = path.stat().st_mtime_ns
        file = read_heaptrack(path)
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from None
    interpreter = find_interpreter()
    try:
        if interpreter is None:
            stacks = name_by_module(file.stack_lines)
        else:
            stacks = interpret(file.stack_lines, interpreter)
    except (ValueError, IndexError):
        raise RecordingError(f"{source} is damaged: its modules or stacks make no sense") from None
    return owners_of(file, stacks, started_ns=changed_ns - file.end_ms * _NS_OF_MS)


def owners_of(file: HeaptrackFile, stacks: Stacks, *, started_ns: int) -> Owners:
    """Owners of the allocations of a file that heaptrack began at a time."""
    allocations = file.allocations
    paths, owner_of_trace = _numbered(stacks, allocations)
    until_ns = _unix_ns(started_ns, allocations.until)
    until_ns[allocations.is_live] = FOREVER_NS
    start = allocations.pointer.view(np.uint64)
    notes = [
        _ALIGNED,
        *([] if stacks.has_functions else [_WITHOUT_FUNCTIONS]),
        *([_CUT] if file.was_cut else []),
        *([_ATTACHED] if file.was_attached else []),
    ]
    return Owners(
        paths=paths,
        start=start,
        end=start + allocations.size.astype(np.uint64),
        owner=owner_of_trace[allocations.stack],
        since_ns=_unix_ns(started_ns, allocations.since),
        until_ns=until_ns,
        notes=tuple(notes),
    )


def _unix_ns(started_ns: int, passed_ms: NDArray[np.uint32]) -> NDArray[np.int64]:
    times_ns = passed_ms.astype(np.int64)
    times_ns *= _NS_OF_MS
    times_ns += started_ns
    return times_ns


def _numbered(
    stacks: Stacks, allocations: Allocations
) -> tuple[tuple[tuple[str, ...], ...], NDArray[np.int32]]:
    """The distinct labels of the stacks that hold memory, and for each stack their index."""
    used = np.unique(allocations.stack)
    owner_of_trace = np.zeros(max([1, *(used[-1:] + 1).tolist()]), np.int32)
    numbers: dict[tuple[str, ...], int] = {}
    for trace in used.tolist():
        path = stacks.path(trace) if trace < len(stacks) else ()
        owner_of_trace[trace] = numbers.setdefault(path or ("??",), len(numbers))
    return tuple(numbers), owner_of_trace
