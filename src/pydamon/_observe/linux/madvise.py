"""Advice about the memory of another process (process_madvise), and ways to clear accessed bits."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError
from pydamon._model.runs import unique
from pydamon._observe.linux.arch import HUGE_BYTES, system_call
from pydamon._observe.linux.process import Process

__all__ = [
    "MADV_COLD",
    "MADV_COLLAPSE",
    "MADV_PAGEOUT",
    "MADV_WILLNEED",
    "MAX_RANGES",
    "RANGE_BYTES",
    "Give",
    "advise",
    "advise_at",
    "clear_ranges",
    "clear_refs",
    "clear_soft_dirty",
    "may_advise",
    "may_clear",
    "refused",
]

MADV_WILLNEED = 3
MADV_COLD = 20
MADV_PAGEOUT = 21
MADV_COLLAPSE = 25  # Linux 6.1
MAX_RANGES = 1024
"""The most ranges that one call takes (UIO_MAXIOV)."""
_CALL_BYTES = max(16 << 20, HUGE_BYTES)
"""How much one call advises about: the process cannot map or unmap memory meanwhile.

Clearing 16 MiB in pages of 4 KiB takes about 0.3 ms. Never less than a huge page, which the kernel
would split to advise about a part of it.
"""
RANGE_BYTES = 16
"""The size of a struct iovec."""

_PROCESS_MADVISE = system_call("process_madvise")
"""The call came with Linux 5.10."""
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, *([ctypes.c_long] * 3)]


def advise_at(pidfd: int, address: int, count: int, advice: int) -> int:
    """Advise about the *count* iovecs at *address* of ours: bytes advised, or minus the errno."""
    done = _syscall(_PROCESS_MADVISE, pidfd, address, count, advice, 0)
    return int(done) if done >= 0 else -ctypes.get_errno()


Give: TypeAlias = Callable[[int, int, int, int], int]
"""Does what `advise_at` does, perhaps in another process."""


def advise(
    pidfd: int, ranges: NDArray[np.uint64], advice: int, give: Give = advise_at
) -> NDArray[np.intp]:
    """Advise about *ranges*, (address, bytes) rows; returns the index of the rows it refuses.

    A call stops at the first range that the kernel refuses; this function goes on behind it until
    every range was tried, and divides long ranges among calls. A range with a hole is advised
    around the hole, and does not count as refused. All ranges are refused once the process, or its
    first thread, has exited. Raises `ProbeError` without the right to advise the process. *give* is
    what makes the system call.
    """
    ranges, owners = _pieces(np.asarray(ranges, dtype=np.uint64))
    ends = np.cumsum(ranges[:, 1])
    rows: list[int] = []
    at, total = 0, len(ranges)
    while at < total:
        most = int(ends[at] - ranges[at, 1]) + _CALL_BYTES
        count = min(MAX_RANGES, max(1, int(np.searchsorted(ends, most, side="right")) - at))
        done = give(pidfd, ranges.ctypes.data + at * RANGE_BYTES, count, advice)
        if done <= 0:
            if done == -errno.ESRCH:
                rows.extend(range(at, total))
                break
            if done == -errno.EPERM:
                raise ProbeError("not allowed to advise the process", hint="needs CAP_SYS_NICE")
            if done == -errno.EINTR:
                continue
            if done != -errno.ENOMEM:
                rows.append(at)
            at += 1
            continue
        lengths = np.cumsum(ranges[at : at + count, 1])
        whole = int(np.searchsorted(lengths, done, side="right"))
        if whole < count:
            # It stopped inside a range: go on from there.
            rest = done - int(lengths[whole - 1] if whole else 0)
            ranges[at + whole, 0] += np.uint64(rest)
            ranges[at + whole, 1] -= np.uint64(rest)
        at += whole
    return unique(owners[rows])


def _pieces(ranges: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Divide long ranges at multiples of `_CALL_BYTES`; returns the row of each piece, too.

    Both sizes are powers of 2, so that no multiple lies within a huge page.
    """
    start, length = ranges.astype(np.int64).T
    first, last = start // _CALL_BYTES, (start + np.maximum(length, 1) - 1) // _CALL_BYTES
    counts = last - first + 1
    owners = np.repeat(np.arange(len(ranges)), counts)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = np.maximum(start[owners], (first[owners] + number) * _CALL_BYTES)
    end = np.minimum((start + length)[owners], (first[owners] + number + 1) * _CALL_BYTES)
    return np.stack([begin, end - begin], axis=1).astype(np.uint64), owners


def refused(pidfd: int, advice: int = MADV_COLD) -> int:
    """The errno with which the kernel refuses this user's advice about a process; 0 if it works."""
    return max(0, -advise_at(pidfd, 0, 0, advice))


def may_advise(pidfd: int, advice: int = MADV_COLD) -> str:
    """Why this user cannot give such advice about a process; empty where that works."""
    number = refused(pidfd, advice)
    return os.strerror(number) if number else ""


_ACCESSED, _SOFT_DIRTY = b"1", b"4"


def clear_refs(process: Process) -> None:
    """Clear the accessed bit of every page that a process maps, shared pages too.

    It takes about 0.06 us a resident page, during which the process cannot map or unmap memory.
    The TLB is not flushed, so that accesses to pages in it stay unseen. Raises `OSError`.
    """
    _write(process, _ACCESSED)


def clear_soft_dirty(process: Process) -> None:
    """Clear the soft-dirty bit of every page that a process maps, and flush the TLB.

    Each page's next write is a page fault. Raises `OSError`.
    """
    _write(process, _SOFT_DIRTY)


def _write(process: Process, word: bytes) -> None:
    fd = process.open("clear_refs", os.O_WRONLY)
    try:
        os.write(fd, word)
    finally:
        os.close(fd)


def clear_ranges(
    process: Process, ranges: NDArray[np.uint64], give: Give = advise_at
) -> NDArray[np.intp]:
    """Clear the accessed bits of *ranges*, (address, bytes) rows; returns the refused rows' index.

    process_madvise(2) finds the memory of a process through its first thread only. Once that
    thread has exited, only /proc/PID/task/TID/clear_refs is left, which clears the whole process
    and does not flush the TLB.
    """
    if not len(ranges):
        return np.empty(0, np.intp)
    if not process.without_leader:
        refused_rows = advise(process.pidfd, ranges, MADV_COLD, give)
        if not len(refused_rows) or process.ends or not process.without_leader:
            return refused_rows
    with suppress(OSError):
        clear_refs(process)
    return np.empty(0, np.intp)


def may_clear(process: Process) -> int:
    """The errno with which the kernel refuses any clear by this user; 0 where that works."""
    number = refused(process.pidfd)
    if number == errno.ESRCH and not process.ends and process.without_leader:
        try:
            clear_refs(process)
        except OSError as error:
            return error.errno or 0
        return 0
    return number
