"""The system call bpf(2)."""

from __future__ import annotations

import ctypes
import os

from pydamon._observe.linux.arch import system_call
from pydamon._observe.linux.procfs import read, status_of

__all__ = ["BPF", "bpf", "has_perfmon", "syscall"]

BPF = system_call("bpf")
_CAP_SYS_ADMIN, _CAP_PERFMON = 1 << 21, 1 << 38

syscall = ctypes.CDLL(None, use_errno=True).syscall
syscall.restype = ctypes.c_long
syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long]


def bpf(command: int, attr: bytes, what: str) -> int:
    """Call bpf(2); raises `OSError` with *what* was tried if it fails."""
    buffer = ctypes.create_string_buffer(attr, max(len(attr), 128))
    result = int(syscall(BPF, command, ctypes.addressof(buffer), len(buffer)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot {what}: {os.strerror(code)}")
    return result


def has_perfmon() -> bool:
    """Whether this process has CAP_PERFMON, or CAP_SYS_ADMIN, which includes it."""
    effective = int(status_of(read("/proc/thread-self/status")).get("CapEff", "0"), 16)
    return bool(effective & (_CAP_PERFMON | _CAP_SYS_ADMIN))
