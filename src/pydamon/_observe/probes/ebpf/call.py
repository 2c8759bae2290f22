"""The system call bpf(2)."""

from __future__ import annotations

import ctypes
import os

from pydamon._observe.linux.arch import system_call

__all__ = ["BPF", "bpf", "syscall"]

BPF = system_call("bpf")

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
