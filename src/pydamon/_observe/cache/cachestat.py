"""cachestat(2): how much of a file is in the page cache (Linux 6.5)."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from pydamon._model.errors import UsageError
from pydamon._model.ranges import PAGE_SIZE

__all__ = ["CachedFile", "cachestat"]

_CACHESTAT = 451
"""The number of the system call, on all processors."""

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]


@dataclass(frozen=True, slots=True)
class CachedFile:
    """The page cache of one file, as the kernel counts it.

    Attributes
    ----------
    path
        The file.
    size_bytes
        Its length.
    cached_bytes
        How much of it is in memory.
    dirty_bytes, writeback_bytes
        How much of that was not yet written to disk, and is being written.
    evicted_bytes
        How much was in memory and has been dropped.
    recently_evicted_bytes
        How much of that so recently that it would not have been dropped if the workload had had a
        little more memory.
    """

    path: str
    size_bytes: int
    cached_bytes: int
    dirty_bytes: int
    writeback_bytes: int
    evicted_bytes: int
    recently_evicted_bytes: int


def cachestat(path: str | Path) -> CachedFile:
    """Ask the kernel how much of a file is in the page cache.

    Parameters
    ----------
    path
        A file that you may write or own, or any file for root.

    Returns
    -------
    CachedFile
        The counts, in bytes.

    Raises
    ------
    UsageError
        If the file cannot be read, or the kernel has no cachestat(2).

    Examples
    --------
    >>> import pydamon
    >>> try:
    ...     pydamon.cache.cachestat("/no/such/file")
    ... except pydamon.UsageError as error:
    ...     print(error)
    cannot open /no/such/file: No such file or directory
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot open {path}: {reason}") from None
    try:
        pages = _pages(fd, path)
        return CachedFile(str(path), os.fstat(fd).st_size, *(n * PAGE_SIZE for n in pages))
    finally:
        os.close(fd)


def _pages(fd: int, path: str | Path) -> list[int]:
    whole_file = (ctypes.c_uint64 * 2)(0, 0)
    counts = (ctypes.c_uint64 * 5)()
    if _syscall(_CACHESTAT, fd, ctypes.addressof(whole_file), ctypes.addressof(counts), 0) == 0:
        return list(counts)
    code = ctypes.get_errno()
    if code == errno.ENOSYS:
        raise UsageError(
            "this kernel has no cachestat(2)",
            hint="it came with Linux 6.5; `pydamon cache` without --file shows whole cgroups",
        )
    raise UsageError(f"cannot ask for the page cache of {path}: {os.strerror(code)}")
