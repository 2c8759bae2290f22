"""Ask a server as the user that it runs as: it may admit its own user only."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydamon._observe.linux.arch import system_call

__all__ = ["thread_as_user", "user_of"]

_SETRESUID = system_call("setresuid")
_KEEP = -1
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] * 4


def user_of(pid: int) -> int:
    """The user that a process runs as; raises `OSError`."""
    return Path(f"/proc/{pid}").stat().st_uid


@contextmanager
def thread_as_user(uid: int) -> Iterator[None]:
    """Be another user for a while, in this thread alone; only root can, and others stay themselves.

    The C library would change all threads, of which one may just be reading page tables.
    """
    if _SETRESUID < 0 or uid == os.geteuid() or os.geteuid() != 0:
        yield
        return
    if _syscall(_SETRESUID, _KEEP, uid, _KEEP) != 0:
        raise OSError(ctypes.get_errno(), f"cannot become the user {uid}")
    try:
        yield
    finally:
        _syscall(_SETRESUID, _KEEP, 0, _KEEP)
