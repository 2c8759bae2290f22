"""The stacks of a process's threads: where their stack pointers are, and their names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydamon._model.mappings import Mapping
from pydamon._observe.linux.procfs import text_of

__all__ = ["ThreadStack", "stacks_of", "thread_stacks"]

_TRIES = 3


class ThreadStack(NamedTuple):
    """The mapping that a thread's stack pointer is in."""

    start: int
    end: int
    tid: int
    name: str
    pointer: int


def thread_stacks(pid: int, mappings: Sequence[Mapping]) -> list[ThreadStack]:
    """The stacks of the threads of a process.

    The kernel tells the stack pointer of a thread that sleeps in a system call; a thread that runs
    is asked again, and left out if it still runs.
    """
    pointers = {}
    for entry in os.scandir(f"/proc/{pid}/task"):
        pointer = next(filter(None, (_pointer(entry.path) for _ in range(_TRIES))), 0)
        try:
            name = text_of(Path(entry.path, "comm").read_bytes().rstrip(b"\n"))
        except OSError:  # the thread ended
            continue
        if pointer:
            pointers[int(entry.name)] = (name, pointer)
    return stacks_of(pointers, mappings)


def stacks_of(
    pointers: dict[int, tuple[str, int]], mappings: Sequence[Mapping]
) -> list[ThreadStack]:
    """The mapping of each thread's stack pointer, if no other thread's lies there, too."""
    stacks: dict[int, list[ThreadStack]] = {}
    for tid, (name, pointer) in pointers.items():
        for mapping in mappings:
            if mapping.start <= pointer < mapping.end and mapping.perms.startswith("rw"):
                row = ThreadStack(mapping.start, mapping.end, tid, name, pointer)
                stacks.setdefault(mapping.start, []).append(row)
    return [rows[0] for rows in stacks.values() if len(rows) == 1]


def _pointer(folder: str) -> int:
    """A thread's stack pointer; 0 if it runs, or nobody may know."""
    try:
        words = Path(folder, "syscall").read_text().split()
    except OSError:
        return 0
    return int(words[-2], 16) if len(words) >= 3 else 0
