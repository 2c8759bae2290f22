"""Make another process do one system call: x86-64, by ptrace(2).

The process is stopped for some 100 us. Nothing is written to its memory: an instruction `syscall`
that it has anyway, in the vDSO or libc, is stepped over with other registers, which are then given
back their values.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydamon._model.errors import ProbeUnavailable, TargetError
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import read, status_of, text_of

__all__ = ["Injection", "injecting"]

_CONT, _SINGLESTEP, _GETREGS, _SETREGS, _DETACH = 7, 9, 12, 13, 17
_SEIZE, _INTERRUPT, _GETSIGMASK, _SETSIGMASK = 0x4206, 0x4207, 0x420A, 0x420B
_EVENT_STOP = 128
_WALL = 0x40000000
_PATIENCE_S = 2.0
_MOST_STOPS = 4
_SYSCALL = b"\x0f\x05"
_EXECUTABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-xp .*(?:\[vdso\]|libc[.-].*)$", re.MULTILINE)
_REGISTERS = struct.Struct("=27Q")
"""struct user_regs_struct."""
_R10, _R9, _R8, _RAX, _RDX, _RSI, _RDI, _ORIG_RAX, _RIP = 7, 8, 9, 10, 12, 13, 14, 15, 16
_ALL_BUT_TRAP = (2**64 - 1 ^ 1 << signal.SIGTRAP - 1).to_bytes(8, "little")
"""A set of signals: the one that ends a step must not be blocked."""
_ARGUMENTS = (_RDI, _RSI, _RDX, _R10, _R8, _R9)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long

Injection = Callable[..., int]
"""Given a system call's number and arguments: its result, -errno for an error."""


@contextmanager
def injecting(process: Process) -> Iterator[Injection]:
    """Stop a thread of a process; it goes on where it was at the end of the `with`.

    Raises `TargetError` for a process that may not be traced, is traced already, cannot be
    stopped or is confined by seccomp, and `ProbeUnavailable` on other machines.
    """
    if platform.machine() != "x86_64":
        raise ProbeUnavailable(f"system calls cannot be injected on {platform.machine()} yet")
    # Before it is even stopped, and again once it cannot confine itself any more.
    _refuse_confined(process)
    pid = process.tid
    _ptrace(_SEIZE, pid)
    try:
        _ptrace(_INTERRUPT, pid)
        while (status := _wait(pid)) >> 16 != _EVENT_STOP:
            # A signal was there first: it is delivered. Any stop takes back what asked for one.
            _ptrace(_INTERRUPT, pid)
            _ptrace(_CONT, pid, os.WSTOPSIG(status))
        _refuse_confined(process)
        registers = ctypes.create_string_buffer(_REGISTERS.size)
        _ptrace(_GETREGS, pid, registers)
        kept = registers.raw[: _REGISTERS.size]
        address = _instruction(pid)
        mask = ctypes.create_string_buffer(8)
        _ptrace(_GETSIGMASK, pid, mask, len(mask))

        def inject(number: int, *arguments: int) -> int:
            values = list(_REGISTERS.unpack(kept))
            values[_RIP], values[_RAX] = address, number
            values[_ORIG_RAX] = 2**64 - 1  # the kernel must not restart what was interrupted
            for register, argument in zip(_ARGUMENTS, arguments, strict=False):
                values[register] = argument
            ctypes.memmove(registers, _REGISTERS.pack(*values), _REGISTERS.size)
            _ptrace(_SETREGS, pid, registers)
            for _ in range(_MOST_STOPS):
                _ptrace(_SINGLESTEP, pid)
                # One that was stopped before, as by SIGSTOP, reports that first.
                if (status := _wait(pid)) >> 16 != _EVENT_STOP:
                    break
            if status >> 16 or os.WSTOPSIG(status) != signal.SIGTRAP:
                raise TargetError(f"pid {pid} was stopped just now")
            _ptrace(_GETREGS, pid, registers)
            result: int = _REGISTERS.unpack(registers.raw[: _REGISTERS.size])[_RAX]
            return result - (1 << 64) if result >> 63 else result

        try:
            # Signals wait until all is as it was: they would be lost, or taken for a step's end.
            blocked = ctypes.create_string_buffer(_ALL_BUT_TRAP, 8)
            _ptrace(_SETSIGMASK, pid, blocked, len(blocked))
            yield inject
        finally:
            ctypes.memmove(registers, kept, _REGISTERS.size)
            _ptrace(_SETREGS, pid, registers)
            _ptrace(_SETSIGMASK, pid, mask, len(mask))
    finally:
        _libc.ptrace(_DETACH, pid, None, None)


def _refuse_confined(process: Process) -> None:
    """Raise `TargetError` if seccomp confines any thread: a call that it forbids can kill it.

    Nobody can ask what a filter would do with a call.
    """
    for tid in process.threads():
        try:
            status = status_of(read(f"/proc/{process.pid}/task/{tid}/status"))
        except OSError:
            continue  # a thread that has left
        # What the kernel was built without is not shown.
        if status.get("Seccomp", "0") != "0":
            raise TargetError(
                f"pid {process.pid} is confined by seccomp: a system call of ours could kill it",
                hint="the writes probe makes the program do one; choose another --probe",
            )


def _ptrace(
    request: int, pid: int, data: ctypes.Array[ctypes.c_char] | int | None = None, address: int = 0
) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        why = os.strerror(ctypes.get_errno())
        raise TargetError(
            f"cannot trace pid {pid}: {why}",
            hint="another debugger may be at it, or kernel.yama.ptrace_scope forbids it",
        )


def _wait(pid: int) -> int:
    """The status with which it stopped, as waitpid(2) has it."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        found, status = os.waitpid(pid, _WALL | os.WNOHANG)
        if found == pid:
            if not os.WIFSTOPPED(status):
                raise TargetError(f"pid {pid} has exited")
            return status
        if time.monotonic() > deadline_s:
            raise TargetError(f"pid {pid} does not stop: it waits for a disk, perhaps")
        time.sleep(0.0001)


def _instruction(pid: int) -> int:
    """The address of a `syscall` that the process has."""
    try:
        maps = text_of(read(f"/proc/{pid}/maps"))
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
            for low, high in _EXECUTABLE.findall(maps):
                start, end = int(low, 16), int(high, 16)
                at = os.pread(memory.fileno(), end - start, start).find(_SYSCALL)
                if at >= 0:
                    return start + at
    except OSError as error:
        raise TargetError(f"cannot read pid {pid}: {error.strerror}") from None
    raise TargetError(f"there is no system call in the vDSO or libc of pid {pid} to step over")
