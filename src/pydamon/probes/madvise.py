"""process_madvise(2): advise the kernel about memory of another process."""

from __future__ import annotations

import ctypes
import errno
import os

import numpy as np
from numpy.typing import NDArray

from pydamon.core.errors import ProbeError

__all__ = [
    "MADV_COLD",
    "MADV_COLLAPSE",
    "MADV_PAGEOUT",
    "MADV_WILLNEED",
    "MAX_RANGES",
    "advise",
    "advise_at",
    "may_advise",
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
