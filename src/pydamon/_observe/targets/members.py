"""Groups of processes: the current processes of a cgroup, of a user, of a name, or of the machine.

Processes of containers are in `containers`.
"""

from __future__ import annotations

import os
import pwd
import re

from pydamon._model.errors import TargetError, UsageError
from pydamon._observe.linux.cgroups import cgroup_directories, pids_below
from pydamon._observe.linux.procfs import every_process, read, text_of
from pydamon._observe.targets.remembered import Remembered
from pydamon._observe.targets.virtual import Members

__all__ = ["members_of_cgroup", "members_of_user", "members_with_name"]


def members_of_cgroup(name: str) -> Members:
    """The processes of a cgroup and of the cgroups below it, in any hierarchy.

    Raises `TargetError` if there is no such cgroup; if it is removed later, it has no processes.
    """
    cgroup_directories(name)

    def members() -> list[int]:
        try:
            directories = cgroup_directories(name)
        except TargetError:
            return []
        return list({pid for directory in directories for pid in pids_below(directory)})

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


def members_with_name(pattern: str) -> Members:
    """The processes whose command name, or that of their program's file, a pattern matches.

    The pattern may match any part of the name. Raises `UsageError` for one that is not a regular
    expression.
    """
    try:
        wanted = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f"not a regular expression: {pattern!r}: {error}", hint="as in ^postgres$ or redis"
        ) from None
    names = Remembered(_names_of)

    def members() -> list[int]:
        rows = names.of(every_process()).items()
        return [pid for pid, texts in rows if any(map(wanted.search, texts))]

    return members


def _names_of(pid: int) -> tuple[str, ...]:
    """The command name, which has 15 bytes at most, and the file name of the program."""
    try:
        name = text_of(read(f"/proc/{pid}/comm").removesuffix(b"\n"))
        program = text_of(read(f"/proc/{pid}/cmdline").partition(b"\0")[0])
    except OSError:
        return ()
    return name, program.rpartition("/")[2]
