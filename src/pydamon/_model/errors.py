"""Everything that pydamon raises on purpose.

    PydamonError
    ├── UsageError          a value makes no sense (also a ValueError)
    ├── TargetError         a process cannot be monitored: gone, a kernel thread, not yours
    ├── ProbeError          a probe failed at work
    │   ├── ProbeUnavailable    a probe or an engine does not work on this machine, for this user
    │   ├── TargetGoneError     a target exited, or called exec, while it was read
    │   └── KernelError         the kernel's DAMON refused something
    ├── SchemeError         a scheme cannot be applied on this machine, or to this target
    └── RecordingError      a recording cannot be written or read

Every message says what failed and why; `hint`, where there is one, says what to do.
"""

from __future__ import annotations

from pydamon._model.display import printable

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
    """The base of every error that pydamon raises on purpose.

    Parameters
    ----------
    message
        What failed, and why.
    hint
        What to do about it; empty where there is nothing to say.

    Examples
    --------
    >>> import pydamon
    >>> try:
    ...     pydamon.Attrs.of(sample="0s")
    ... except pydamon.PydamonError as error:
    ...     print(error)
    the sampling interval must be longer than 0
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        # Messages hold names of processes and files, which may hold any character.
        super().__init__(printable(message))
        self.hint = "\n".join(map(printable, hint.split("\n")))


class UsageError(PydamonError, ValueError):
    """A value that makes no sense, such as an interval of 0."""


class TargetError(PydamonError):
    """A process cannot be monitored: it is gone, a kernel thread, or another user's."""


class ProbeError(PydamonError):
    """A probe failed at work."""


class ProbeUnavailable(ProbeError):  # noqa: N818
    """A probe or an engine does not work on this machine, or for this user."""


class TargetGoneError(ProbeError):
    """An address space is gone: its process exited, or called exec."""


class KernelError(ProbeError):
    """The kernel's DAMON refused something, or stopped."""


class SchemeError(PydamonError):
    """A scheme cannot be applied here."""


class RecordingError(PydamonError):
    """A recording cannot be written or read."""
