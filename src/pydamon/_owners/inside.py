"""Pids as programs in a container know them: a pid namespace has numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pydamon._observe.linux.procfs import status_of

__all__ = ["pid_inside", "pids_outside"]


def pid_inside(folder: str | Path) -> int:
    """The pid or thread id of a folder of /proc in its own pid namespace; raises `OSError`."""
    status = status_of(Path(folder, "status").read_bytes())
    # A kernel without pid namespaces has no NSpid.
    return int((status.get("NSpid") or status["Pid"]).split()[-1])


def pids_outside(
    first: int, pids: Iterable[int], inside: Callable[[str], int] = pid_inside
) -> Callable[[int], int | None]:
    """Tells which process a program means by a pid: itself is the process *first*.

    Of a program in another namespace, only the processes *pids* are known; others are `None`.
    """
    if inside(f"/proc/{first}") == first:
        return lambda pid: pid
    known = {}
    for pid in (first, *pids):
        try:
            known[inside(f"/proc/{pid}")] = pid
        except OSError:  # it ended
            continue
    return known.get
