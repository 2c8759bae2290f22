"""Control groups: where their file systems are, which processes they hold, and their memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from posixpath import normpath

from pydamon._model.errors import TargetError
from pydamon._observe.linux.host import host_root
from pydamon._observe.linux.procfs import cgroup_paths, read

__all__ = [
    "CGROUPS",
    "cgroup_directories",
    "cgroup_directory",
    "cgroup_file",
    "cgroup_file_of",
    "cgroup_of",
    "memory_directory",
    "pids_below",
]

CGROUPS = Path("/sys/fs/cgroup")
"""Where the cgroups of this machine are mounted."""

_HIERARCHIES = {"memory": "memory", "unified": "", "systemd": "name=systemd"}
"""The hierarchies below the root of a machine with version 1, or with both versions, and what
/proc/PID/cgroup calls them."""


def _root() -> Path:
    """The mount of the host's cgroups, if the host's file system is mounted here."""
    host = host_root()
    mounted = host / CGROUPS.relative_to("/")
    return mounted if host != Path("/") and any(mounted.glob("*")) else CGROUPS


def _hierarchies() -> list[Path]:
    """The roots of all hierarchies that may hold processes; that of memory comes first."""
    root = _root()
    if (root / "cgroup.controllers").exists():  # version 2 alone
        return [root]
    return [*(path for name in _HIERARCHIES if (path := root / name).is_dir()), root]


def cgroup_directories(name: str) -> list[Path]:
    """The directories of a cgroup, one for each hierarchy that has it.

    *name* is its path with or without that of the root. Raises `TargetError` if there is no such
    cgroup.
    """
    path = name.removeprefix(str(_root())).removeprefix(str(CGROUPS)).strip("/")
    if ".." not in path.split("/"):
        places = [root / path for root in _hierarchies()]
        directories = [place for place in places if (place / "cgroup.procs").exists()]
        if directories:
            return directories
    raise TargetError(
        f"there is no cgroup {name!r}", hint=f"name one below {_root()}, as in system.slice"
    )


def cgroup_directory(name: str) -> Path:
    """The directory of a cgroup, in the hierarchy of memory if that has it.

    Raises `TargetError` if there is no such cgroup.
    """
    return cgroup_directories(name)[0]


def cgroup_file(path: str, name: str) -> Path | None:
    """A file of a cgroup, in the first hierarchy that has it; `None` if none has it."""
    places = (root / path.strip("/") / name for root in _hierarchies())
    return next((place for place in places if place.exists()), None)


def cgroup_file_of(pid: int, name: str) -> Path | None:
    """A file of the cgroup of a process, in the first hierarchy that has it; `None` if none has.

    With cgroups of version 1, a process has a path of its own in each hierarchy, and only the
    unified one tells pressure.
    """
    try:
        paths = cgroup_paths(read(f"/proc/{pid}/cgroup"))
    except OSError:
        return None
    for root in _hierarchies():
        path = _on_host(paths.get(_HIERARCHIES.get(root.name, ""), ""))
        if path and (file := root / path.strip("/") / name).exists():
            return file
    return None


def memory_directory(path: str) -> Path | None:
    """The directory with the memory figures of a cgroup; `None` if nothing counts its memory."""
    figures = cgroup_file(path, "memory.stat")
    return figures and figures.parent


def pids_below(directory: Path) -> Iterator[int]:
    """The processes of a cgroup and of the cgroups below it."""
    for place, _, _ in os.walk(directory):
        yield from _pids_in(place)


def _pids_in(directory: str) -> list[int]:
    try:
        numbers = map(int, read(f"{directory}/cgroup.procs").split())
        # A process of a pid namespace that cannot be seen from here is listed as 0.
        return [pid for pid in numbers if pid > 0]
    except (OSError, ValueError):
        return []  # removed meanwhile, or a threaded cgroup, which does not list processes


def cgroup_of(pid: int) -> str:
    """The path of the cgroup of a process; empty if that is not known.

    With cgroups of version 1, it is that of the memory controller.
    """
    try:
        paths = cgroup_paths(read(f"/proc/{pid}/cgroup"))
    except OSError:
        return ""
    return _on_host(paths.get("memory") or paths.get("", ""))


def _on_host(path: str) -> str:
    """The path of a cgroup in the host's tree; /proc has it as seen from our cgroup namespace."""
    above = _namespace(tuple(map(str, _hierarchies())))
    if not path or not (above or path.startswith("/..")):
        return path
    return normpath(f"{above}/{path}").replace("//", "/")


@cache
def _namespace(trees: tuple[str, ...]) -> str:
    """The path of our cgroup namespace in the *trees*; empty if it is the root itself."""
    try:
        own = cgroup_paths(read("/proc/self/cgroup"))
    except OSError:
        return ""
    path = own.get("memory") or own.get("", "/")
    pid = os.getpid()
    if any(pid in _pids_in(tree + path) for tree in trees):
        return ""
    for tree in trees:
        for place, _, _ in os.walk(tree):
            if pid in _pids_in(place):
                inside = place.removeprefix(tree)
                return inside.removesuffix(path.rstrip("/")) if path != "/" else inside
    return ""
