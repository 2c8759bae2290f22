"""Groups of processes: who belongs to a cgroup, to a user, or to the machine, now."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from pydamon._model.errors import TargetError
from pydamon._observe.linux.procfs import cgroup_paths, read
from pydamon._observe.targets.virtual import Members

__all__ = [
    "CGROUPS",
    "cgroup_directory",
    "cgroup_of",
    "every_process",
    "members_of_cgroup",
    "members_of_user",
]

CGROUPS = Path("/sys/fs/cgroup")
"""The root of the cgroups (version 2)."""

_HIERARCHIES = ("", "unified", "memory")
"""Where a cgroup may be below that: the others are for machines that use version 1, too."""


def cgroup_directory(name: str) -> Path:
    """Where a cgroup is, by its path, with or without that of the root.

    Raises `TargetError` for one that does not exist.
    """
    path = name.removeprefix(str(CGROUPS)).strip("/")
    for hierarchy in _HIERARCHIES:
        found = CGROUPS / hierarchy / path
        if (found / "cgroup.procs").exists():
            return found
    raise TargetError(
        f"there is no cgroup {name!r}", hint=f"name one below {CGROUPS}, as in system.slice"
    )


def members_of_cgroup(name: str) -> Members:
    """The processes of a cgroup (version 2) and those below it.

    Raises `TargetError` for one that does not exist; if it goes away later, it has no processes.
    """
    root = cgroup_directory(name)

    def members() -> list[int]:
        found: list[int] = []
        for directory, _, _ in os.walk(root):
            try:
                found.extend(map(int, Path(directory, "cgroup.procs").read_text().split()))
            except OSError:
                continue  # gone meanwhile, or one whose processes the kernel does not list
        return found

    return members


def members_of_user(name: str) -> Members:
    """The processes that run as a user, by name or number.

    Raises `TargetError` for a user that does not exist.
    """
    try:
        uid = int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise TargetError(f"there is no user {name!r}") from None

    def members() -> list[int]:
        found = []
        for entry in os.scandir("/proc"):
            try:
                if entry.name.isdecimal() and entry.stat().st_uid == uid:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    return members


def every_process() -> list[int]:
    """All processes that run now; kernel threads are among them, and nobody can watch those."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def cgroup_of(pid: int) -> str:
    """The path of the cgroup that a process is in; empty where that is not known.

    Where cgroups of version 1 are in use, it is that of the memory controller.
    """
    try:
        paths = cgroup_paths(read(f"/proc/{pid}/cgroup"))
    except OSError:
        return ""
    return paths.get("memory") or paths.get("", "")
