"""Make another process do a system call, by ptrace(2): on x86-64 and arm64.

The process is stopped for some 100 us. Nothing is written to its memory: it steps over the
instruction for a system call that it has anyway, in the vDSO or libc, with other registers, and
then gets its own back.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pydamon._model.errors import ProbeUnavailable, TargetError
from pydamon._observe.linux import arch
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import read, status_of, text_of

__all__ = ["REGISTERS", "Injection", "check_supported", "injecting"]

_CONT, _SINGLESTEP, _DETACH = 7, 9, 17
_GETREGSET, _SETREGSET = 0x4204, 0x4205
_GENERAL_REGISTERS = 1
"""NT_PRSTATUS"""
_SEIZE, _INTERRUPT, _GETSIGMASK, _SETSIGMASK = 0x4206, 0x4207, 0x420A, 0x420B
_EVENT_STOP = 128
_WALL = 0x40000000
_PATIENCE_S = 2.0
"""How long to wait for the process to stop."""
_MOST_STOPS = 4
"""How many stops for other reasons may come before that of the step."""
_EXECUTABLE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-xp .*(?:\[vdso\]|libc[.-].*)$", re.MULTILINE)
_ALL_BUT_TRAP = (2**64 - 1 ^ 1 << signal.SIGTRAP - 1).to_bytes(8, "little")
"""The signals to block: all but the one that ends a step."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Registers(NamedTuple):
    """The registers of a processor: where each stands among all, and the instruction."""

    instruction: bytes
    step: int
    """Instructions are at multiples of this."""
    size: int
    number: int
    arguments: Sequence[int]
    result: int
    at: int
    """Of the next instruction."""
    restart: int | None
    """Of the number of the system call that was interrupted, which must not be restarted."""
    branch: tuple[int, int] | None
    """Of the kind of the last branch, and its bits: the processor checks what it led to."""

    def of_call(
        self, kept: Sequence[int], address: int, number: int, arguments: Sequence[int]
    ) -> list[int]:
        """The registers *kept*, changed so that the instruction at *address* makes a call."""
        values = list(kept)
        values[self.at], values[self.number] = address, number
        if self.restart is not None:
            values[self.restart] = 2**64 - 1
        if self.branch is not None:
            place, bits = self.branch
            values[place] &= ~bits
        for register, argument in zip(self.arguments, arguments, strict=False):
            values[register] = argument
        return values


REGISTERS = {
    # struct user_regs_struct: r10, r9, r8, rax and so on; `syscall`.
    "x86_64": _Registers(b"\x0f\x05", 1, 27, 10, (14, 13, 12, 7, 9, 8), 10, 16, 15, None),
    # struct user_pt_regs: x0 to x30, sp, pc, pstate; `svc #0`. Only a call at the same pc is
    # restarted. At the entry of a signal handler pstate.BTYPE is set: with BTI, only a landing pad
    # may be next.
    "aarch64": _Registers(b"\x01\0\0\xd4", 4, 34, 8, range(6), 0, 32, None, (33, 3 << 10)),
}
"""By the name of the processor, as `arch.MACHINE` has it."""

Injection = Callable[..., int]
"""Takes the number of a system call and its arguments; returns its result, or -errno."""


def check_supported() -> None:
    """Raise `ProbeUnavailable` on another processor."""
    if arch.MACHINE not in REGISTERS:
        raise ProbeUnavailable(
            f"injecting system calls is not supported on {arch.MACHINE}, only on x86-64 and arm64",
            hint="needs an x86-64 or arm64 processor; --probe refs works on every one",
        )


@contextmanager
def injecting(process: Process) -> Iterator[Injection]:
    """Stop a thread of a process; at the end of the `with` it goes on where it was.

    Raises `TargetError` for a process that may not be traced, is traced already, cannot be
    stopped or is confined by seccomp, and `ProbeUnavailable` on another processor.
    """
    check_supported()
    # Checked before the process is stopped, and again once it cannot confine itself any more.
    _refuse_confined(process)
    pid = process.tid
    _ptrace(_SEIZE, pid)
    try:
        _ptrace(_INTERRUPT, pid)
        while (status := _wait(pid)) >> 16 != _EVENT_STOP:
            # Another signal stopped it: deliver that, and ask again, since the request is used up.
            _ptrace(_INTERRUPT, pid)
            _ptrace(_CONT, pid, os.WSTOPSIG(status))
        _refuse_confined(process)
        layout = REGISTERS[arch.MACHINE]
        kept = _registers(pid, layout.size)
        address = _instruction(pid, layout)
        mask = ctypes.create_string_buffer(8)
        _ptrace(_GETSIGMASK, pid, mask, len(mask))

        def inject(number: int, *arguments: int) -> int:
            _set_registers(pid, layout.of_call(kept, address, number, arguments))
            for _ in range(_MOST_STOPS):
                _ptrace(_SINGLESTEP, pid)
                # A process that was stopped before, by SIGSTOP for example, reports that first.
                if (status := _wait(pid)) >> 16 != _EVENT_STOP:
                    break
            if status >> 16 or os.WSTOPSIG(status) != signal.SIGTRAP:
                raise TargetError(f"pid {pid} was stopped just now")
            result = _registers(pid, layout.size)[layout.result]
            return result - (1 << 64) if result >> 63 else result

        try:
            # Signals wait until the end: they would be lost, or taken for the end of a step.
            blocked = ctypes.create_string_buffer(_ALL_BUT_TRAP, 8)
            _ptrace(_SETSIGMASK, pid, blocked, len(blocked))
            yield inject
        finally:
            _set_registers(pid, kept)
            _ptrace(_SETSIGMASK, pid, mask, len(mask))
    finally:
        _libc.ptrace(_DETACH, pid, None, None)


def _registers(pid: int, count: int) -> list[int]:
    """The general registers of a stopped thread."""
    values = (ctypes.c_uint64 * count)()
    _ptrace(_GETREGSET, pid, _iovec(values), _GENERAL_REGISTERS)
    return list(values)


def _set_registers(pid: int, values: Sequence[int]) -> None:
    array = (ctypes.c_uint64 * len(values))(*values)
    _ptrace(_SETREGSET, pid, _iovec(array), _GENERAL_REGISTERS)


def _iovec(values: ctypes.Array[ctypes.c_uint64]) -> ctypes.Array[ctypes.c_char]:
    address = ctypes.addressof(values)
    return ctypes.create_string_buffer(struct.pack("=QQ", address, ctypes.sizeof(values)), 16)


def _refuse_confined(process: Process) -> None:
    """Raise `TargetError` if seccomp confines any thread: a forbidden call can kill the process.

    There is no way to ask a filter what it would do with a call.
    """
    for tid in process.threads():
        try:
            status = status_of(read(f"/proc/{process.pid}/task/{tid}/status"))
        except OSError:
            continue  # a thread that has exited
        # A kernel without seccomp does not show the field.
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
    """Wait until the process stops; returns its status as waitpid(2) has it."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        stopped_pid, status = os.waitpid(pid, _WALL | os.WNOHANG)
        if stopped_pid == pid:
            if not os.WIFSTOPPED(status):
                raise TargetError(f"pid {pid} has exited")
            return status
        if time.monotonic() > deadline_s:
            raise TargetError(f"pid {pid} does not stop: it waits for a disk, perhaps")
        time.sleep(0.0001)


def _instruction(pid: int, layout: _Registers) -> int:
    """The address of an instruction for a system call in the process."""
    try:
        maps = text_of(read(f"/proc/{pid}/maps"))
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
            for low, high in _EXECUTABLE.findall(maps):
                start, end = int(low, 16), int(high, 16)
                code = os.pread(memory.fileno(), end - start, start)
                at = code.find(layout.instruction)
                while at >= 0 and at % layout.step:
                    at = code.find(layout.instruction, at + 1)
                if at >= 0:
                    return start + at
    except OSError as error:
        raise TargetError(f"cannot read pid {pid}: {error.strerror}") from None
    raise TargetError(f"there is no system call in the vDSO or libc of pid {pid} to step over")
