"""Owners from /proc alone: arenas of malloc, thread stacks by name, named mappings, files.

Nothing is asked of the program.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from pydamon._model.errors import UsageError
from pydamon._model.mappings import Mapping
from pydamon._model.owners import OwnedInterval, Owners
from pydamon._observe.linux.procfs import parse_maps, read_maps, text_of
from pydamon._owners.history import OwnerHistory
from pydamon._owners.stacks import ThreadStack, thread_stacks

__all__ = ["ProcWatch", "proc_owners", "watch"]

_ARENA_BYTES = 64 << 20
"""glibc reserves a heap of this size and alignment for an arena, and opens it bit by bit."""
_NAMED = "[anon:"
_NAMED_SHARED = "[anon_shmem:"


def watch(pids: Sequence[int], argument: str) -> ProcWatch:
    """Begin to follow the mappings of processes; there is no *argument*.

    Raises
    ------
    UsageError
        If there is an argument.
    """
    if argument:
        raise UsageError("the provider proc takes no argument: --owners proc")
    return ProcWatch(pids)


class ProcWatch:
    """Reads the mappings and the threads of processes again and again."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._histories: dict[int, OwnerHistory] = {pid: OwnerHistory() for pid in pids}

    def observe(self, pids: Sequence[int]) -> None:
        """Take a snapshot."""
        for pid in pids:
            try:
                mappings = parse_maps(read_maps(pid)).mappings
                stacks = thread_stacks(pid, mappings)
                name = text_of(Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n"))
            except OSError:  # it ended, or is another user's
                continue
            rows = proc_owners(f"{name} ({pid})", mappings, stacks)
            history = self._histories.setdefault(pid, OwnerHistory())
            history.add(time.time_ns(), Owners.of(rows))

    def owners(self) -> list[Owners]:
        """The owners so far, of each process: whatever else tells of the same memory knows more."""
        several = [
            history.owners(pids=[pid])
            for pid, history in self._histories.items()
            if history.snapshots
        ]
        return [
            replace(owners, containers=frozenset(range(len(owners.paths)))) for owners in several
        ]

    def forget(self, before_ns: int) -> None:
        """Drop what ended before a time."""
        self._histories = {
            pid: history
            for pid, history in self._histories.items()
            if history.last_ns >= before_ns or not history.snapshots
        }
        for history in self._histories.values():
            history.forget(before_ns)

    def close(self) -> None:
        """Nothing is kept open."""


def proc_owners(
    process: str, mappings: Sequence[Mapping], stacks: Sequence[ThreadStack]
) -> list[OwnedInterval]:
    """The owner of each mapping of a process that is memory."""
    threads = {stack.start: stack.name for stack in stacks}
    arenas = {mapping.start for mapping, rest in pairwise(mappings) if _is_arena(mapping, rest)}
    owners = []
    for mapping in mappings:
        if mapping.is_memory:
            labels = _labels(mapping, threads.get(mapping.start), mapping.start in arenas)
            owners.append(OwnedInterval((process, *labels), mapping.start, mapping.end))
    return owners


def _is_arena(mapping: Mapping, rest: Mapping) -> bool:
    """Whether a mapping is the open part of a heap of an arena, and *rest* what is reserved."""
    return (
        mapping.name == rest.name == "[anon]"
        and mapping.start % _ARENA_BYTES == 0
        and mapping.perms == "rw-p"
        and rest.perms == "---p"
        and rest.start == mapping.end
        and rest.end == mapping.start + _ARENA_BYTES
    )


def _labels(mapping: Mapping, thread: str | None, is_arena: bool) -> tuple[str, ...]:
    name = mapping.name
    if thread is not None:
        return ("thread stacks", thread)
    if is_arena:
        return ("malloc", f"arena at {mapping.start:#x}")
    if name == "[heap]":
        return ("malloc", "main heap")
    if name.startswith((_NAMED, _NAMED_SHARED)):
        return ("named memory", name.partition(":")[2].removesuffix("]"))
    if name == "[stack]":
        return ("thread stacks", "main")
    if name.startswith("["):
        return ("anonymous memory",) if name == "[anon]" else (name,)
    return ("shared memory" if mapping.perms.endswith("s") else "files", name)
