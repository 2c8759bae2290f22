"""What can go wrong, for people.

    PydamonError
    ├── UsageError          a value that was asked for makes no sense (also a ValueError)
    ├── TargetError         a process that cannot be monitored: gone, a kernel thread, not yours
    ├── ProbeError          a probe failed while it was working
    │   ├── ProbeUnavailable    this machine or this user cannot have that probe
    │   ├── TargetGoneError     a target has exited, or called exec, while it was looked at
    │   └── KernelError         the kernel's DAMON refused something
    ├── SchemeError         a scheme cannot be applied on this machine, or to this target
    └── RecordingError      a recording that cannot be written or read

Every message says what failed and why; `hint`, where there is one, says what to do now.
"""

from __future__ import annotations

from pydamon._model.names import printable

__all__ = [
    "KernelError",
    "ProbeError",
    "ProbeUnavailable",
    "PydamonError",
    "RecordingError",
    "SchemeError",
    "TargetError",
    "TargetGoneError",
    "UsageError",
]


class PydamonError(Exception):
    """The base of every error that pydamon raises on purpose."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        # Names of processes and files are in it, which hold whatever somebody chose.
        super().__init__(printable(message))
        self.hint = "\n".join(map(printable, hint.split("\n")))


class UsageError(PydamonError, ValueError):
    """A value that makes no sense, such as an interval of 0."""


class TargetError(PydamonError):
    """A process cannot be monitored."""


class ProbeError(PydamonError):
    """A probe failed while it was working."""


class ProbeUnavailable(ProbeError):  # noqa: N818
    """This machine, or this user, cannot have that probe."""


class TargetGoneError(ProbeError):
    """The address space that was to be looked at is gone: its process exited, or called exec."""


class KernelError(ProbeError):
    """The kernel's DAMON refused something, or stopped."""


class SchemeError(PydamonError):
    """A scheme cannot be applied here."""


class RecordingError(PydamonError):
    """A recording cannot be written or read."""
