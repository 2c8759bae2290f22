"""What to do where the kernel refuses to show a process: it depends on the errno."""

from __future__ import annotations

import errno
import os
import resource

from pydamon.core.errors import TargetError

__all__ = [
    "hint_for",
    "original_file_limit",
    "refusal",
    "room_for",
]

_RESERVE = 64
"""Descriptors that targets leave to everything else: output, sockets, libraries."""


def refusal(what: str, error: OSError | int) -> TargetError:
    """An error for people: *what* could not be done, why, and what to do."""
    number = error if isinstance(error, int) else error.errno or 0
    if number in (errno.ESRCH, errno.ENOENT):
        return TargetError(f"{what}: it has exited")
    found = TargetError(f"{what}: {os.strerror(number)}", hint=hint_for(number))
    found.__cause__ = OSError(number, os.strerror(number)) if isinstance(error, int) else error
    return found


def hint_for(number: int) -> str:
    """What to do about an errno; empty where nobody can tell."""
    if number == errno.EMFILE:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            f"watch fewer processes, or raise the limit of open files, which is {max(soft, hard)}: "
            "ulimit -n as root, limits.conf, or LimitNOFILE= of a unit"
        )
    if number == errno.ENFILE:
        return "the whole machine has no file left to open: see sysctl fs.file-max"
    if number == errno.ENOMEM:
        return "the machine, or the cgroup, is out of memory: watch fewer processes"
    if number in (errno.EACCES, errno.EPERM):
        if os.geteuid() != 0:
            return "run as root, or as the user who runs the process"
        return "root lacks a capability here (CAP_SYS_PTRACE, CAP_SYS_NICE), as in a container"
    return ""


def room_for(descriptor: int) -> bool:
    """Whether a descriptor of this number leaves enough of them to everything else.

    If need be, the soft limit of open files is raised to the hard one: it is low for programs that
    use select(2). Programs that we start get the limit that was (`original_file_limit`).
    """
    global original_file_limit  # noqa: PLW0603  (a limit is the process's, too)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptor < soft - _RESERVE:
        return True
    if soft == hard:
        # Of very few descriptors the targets get half.
        return descriptor < soft // 2
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return descriptor < soft // 2
    original_file_limit = original_file_limit or (soft, hard)
    return room_for(descriptor)


original_file_limit: tuple[int, int] | None = None
"""What `room_for` has changed."""
