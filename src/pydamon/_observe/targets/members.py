"""Groups of processes: the current processes of a cgroup, of a user, or of the machine."""

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
"""Where cgroups may be below the root: all but the first are for machines with version 1, too."""


def cgroup_directory(name: str) -> Path:
    """The directory of a cgroup, by its path with or without that of the root.

    Raises `TargetError` if there is no such cgroup.
    """
    path = name.removeprefix(str(CGROUPS)).strip("/")
    for hierarchy in _HIERARCHIES:
        directory = CGROUPS / hierarchy / path
        if (directory / "cgroup.procs").exists():
            return directory
    raise TargetError(
        f"there is no cgroup {name!r}", hint=f"name one below {CGROUPS}, as in system.slice"
    )


def members_of_cgroup(name: str) -> Members:
    """The processes of a cgroup (version 2) and of the cgroups below it.

    Raises `TargetError` if there is no such cgroup; if it is removed later, it has no processes.
    """
    root = cgroup_directory(name)

    def members() -> list[int]:
        pids: list[int] = []
        for directory, _, _ in os.walk(root):
            try:
                pids.extend(map(int, Path(directory, "cgroup.procs").read_text().split()))
            except OSError:
                continue  # removed meanwhile, or the kernel does not list its processes
        return pids

    return members


def members_of_user(name: str) -> Members:
    """The processes that run as a user, by name or number.

    Raises `TargetError` if there is no such user.
    """
    try:
        uid = int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise TargetError(f"there is no user {name!r}") from None

    def members() -> list[int]:
        pids = []
        for entry in os.scandir("/proc"):
            try:
                if entry.name.isdecimal() and entry.stat().st_uid == uid:
                    pids.append(int(entry.name))
            except OSError:
                continue
        return pids

    return members


def every_process() -> list[int]:
    """All processes that run now, kernel threads too, which cannot be watched."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def cgroup_of(pid: int) -> str:
    """The path of the cgroup of a process; empty if that is not known.

    With cgroups of version 1, it is that of the memory controller.
    """
    try:
        paths = cgroup_paths(read(f"/proc/{pid}/cgroup"))
    except OSError:
        return ""
    return paths.get("memory") or paths.get("", "")
