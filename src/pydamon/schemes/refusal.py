"""Why a process cannot be acted on: what the errors of system calls mean."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

__all__ = ["PRIVILEGES", "Refusal", "refusal_of"]

PRIVILEGES = (
    "needs root, or CAP_SYS_NICE and CAP_SYS_PTRACE, and for processes of others "
    "CAP_DAC_READ_SEARCH"
)
_PASSING = (errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM, errno.EFAULT)
"""Not about the right to act: memory that is not there or is busy, which a try meets sometimes."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be done to a process, and what to do about that."""

    why: str
    hint: str = ""
    gone: bool = False
    """The process has exited, so that nobody has to be told."""


def refusal_of(number: int, call: str, *, since: str = "") -> Refusal | None:
    """What an errno says of the right to make a *call*; `None` where that is not lacking.

    *since* names the release of Linux that brought what was asked for.
    """
    if number == 0 or number in _PASSING:
        return None
    if number == errno.ESRCH:
        return Refusal("it has exited", gone=True)
    if number in (errno.EPERM, errno.EACCES):
        return Refusal(f"{call}: {os.strerror(number)}", PRIVILEGES)
    if number in (errno.EINVAL, errno.ENOSYS):
        hint = f"it needs Linux {since}, configured with it" if since else ""
        return Refusal(f"this kernel cannot do that ({call})", hint)
    return Refusal(f"{call}: {os.strerror(number)}")
