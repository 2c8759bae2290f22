"""Advice about memory of another process, and the ways to clear accessed bits."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeError
from pydamon._observe.linux.process import Process

__all__ = [
    "MADV_COLD",
    "MADV_COLLAPSE",
    "MADV_PAGEOUT",
    "MADV_WILLNEED",
    "MAX_RANGES",
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
RANGE_BYTES = 16

_NR_PROCESS_MADVISE = 440  # x86-64 and arm64; the call came with Linux 5.10
_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, *([ctypes.c_long] * 3)]


def advise_at(pidfd: int, address: int, count: int, advice: int) -> int:
    """One bare call with the *count* iovecs at *address*: bytes advised, or minus the errno."""
    done = _syscall(_NR_PROCESS_MADVISE, pidfd, address, count, advice, 0)
    return int(done) if done >= 0 else -ctypes.get_errno()


def advise(pidfd: int, ranges: NDArray[np.uint64], advice: int) -> NDArray[np.intp]:
    """Advise about *ranges*, an array of (address, bytes) rows; the rows that were refused.

    A call advises at most 2 GiB less a page and stops at the first range that it refuses; this
    goes on after it until all were tried. A range with a hole is advised around the hole and not
    counted as refused. Everything is where the process, or its first thread, has left. Raises
    `ProbeError` without the right to advise the process.
    """
    ranges = np.ascontiguousarray(ranges, dtype=np.uint64).copy()
    rows: list[int] = []
    at, total = 0, len(ranges)
    while at < total:
        count = min(MAX_RANGES, total - at)
        done = advise_at(pidfd, ranges.ctypes.data + at * RANGE_BYTES, count, advice)
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
            # Stopped inside a range: go on from there.
            rest = done - int(lengths[whole - 1] if whole else 0)
            ranges[at + whole, 0] += np.uint64(rest)
            ranges[at + whole, 1] -= np.uint64(rest)
        at += whole
    return np.array(rows, dtype=np.intp)


def refused(pidfd: int, advice: int = MADV_COLD) -> int:
    """The errno with which this user's advice about a process is refused; 0 where it works."""
    return max(0, -advise_at(pidfd, 0, 0, advice))


def may_advise(pidfd: int, advice: int = MADV_COLD) -> str:
    """Why this user cannot give that advice about a process; empty where that works."""
    number = refused(pidfd, advice)
    return os.strerror(number) if number else ""


_ACCESSED, _SOFT_DIRTY = b"1", b"4"


def clear_refs(process: Process) -> None:
    """Clear the accessed bit of every page that a process maps, shared or not.

    About 0.06 us a resident page, while the process cannot map or unmap. The TLB is not flushed:
    pages that stay in it all the time are not seen to be accessed again. Raises `OSError`.
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


def clear_ranges(process: Process, ranges: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Clear the accessed bits of *ranges*, (address, bytes) rows; the rows that were refused.

    process_madvise(2) finds memory through the first thread only, whatever its pidfd is of. Once
    that has left, /proc/PID/task/TID/clear_refs is what remains: it clears all of the process,
    and flushes no TLB.
    """
    if not len(ranges):
        return np.empty(0, np.intp)
    if not process.without_leader:
        refused = advise(process.pidfd, ranges, MADV_COLD)
        if not len(refused) or process.ends or not process.without_leader:
            return refused
    with suppress(OSError):
        clear_refs(process)
    return np.empty(0, np.intp)


def may_clear(process: Process) -> int:
    """The errno with which this user is refused to clear anything; 0 where that works."""
    number = refused(process.pidfd)
    if number == errno.ESRCH and not process.ends and process.without_leader:
        try:
            clear_refs(process)
        except OSError as error:
            return error.errno or 0
        return 0
    return number
