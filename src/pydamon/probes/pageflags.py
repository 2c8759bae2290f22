"""What /proc tells of single pages: whether their accessed bit can be cleared at all."""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import PAGE_SIZE

__all__ = ["PageFlags"]

_PRESENT, _EXCLUSIVE = 1 << 63, 1 << 56  # /proc/PID/pagemap, pagemap.rst
_PFN = (1 << 55) - 1
_LRU, _ACTIVE, _HEAD, _TAIL = (
    1 << 5,
    1 << 6,
    1 << 15,
    1 << 16,
)  # /proc/kpageflags, likewise
_MAX_FOLIO = 512


class PageFlags:
    """Asks about the pages of one process.

    MADV_COLD leaves alone pages that another process maps too, and pages that are on no LRU list
    (such as the few that were mapped a moment ago and wait in a batch).
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._files: tuple[int, int] | None = None

    def can_be_cleared(self, address: int) -> bool:
        """Whether MADV_COLD clears the accessed bit of the page at an address."""
        pagemap, kpageflags = self._opened()
        try:
            (entry,) = struct.unpack("=Q", os.pread(pagemap, 8, address // PAGE_SIZE * 8))
        except (OSError, struct.error):
            return False
        if not entry & _PRESENT or not entry & _EXCLUSIVE:
            return False
        frame = entry & _PFN
        if frame == 0 or kpageflags < 0:  # not shown to this user
            return True
        try:
            flags = _flags(kpageflags, frame, 1)[0]
            if flags & _TAIL and not flags & _LRU:
                # Linux 6.1 shows this flag for the first page of a huge page only, 6.12 for all.
                first = frame // _MAX_FOLIO * _MAX_FOLIO
                before = _flags(kpageflags, first, frame - first)
                flags = next((f for f in reversed(before) if f & _HEAD), flags)
        except (OSError, struct.error):
            return True
        return bool(flags & _LRU)

    def exclusive(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether it is present and mapped here only."""
        exclusive = np.zeros(pages, np.bool_)
        try:
            data = os.pread(self._opened()[0], 8 * pages, start // PAGE_SIZE * 8)
        except OSError:
            return exclusive
        entries = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
        wanted = np.uint64(_PRESENT | _EXCLUSIVE)
        exclusive[: len(entries)] = (entries & wanted) == wanted
        return exclusive

    def active(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether the kernel has it in an active list."""
        active = np.zeros(pages, np.bool_)
        pagemap, kpageflags = self._opened()
        try:
            data = os.pread(pagemap, 8 * pages, start // PAGE_SIZE * 8)
            entries = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
            frames = np.where(entries & np.uint64(_PRESENT), entries & np.uint64(_PFN), 0)
            for index in np.flatnonzero(frames).tolist():
                active[index] = bool(_flags(kpageflags, int(frames[index]), 1)[0] & _ACTIVE)
        except (OSError, struct.error):
            pass  # not for this user, or the process is gone
        return active

    def close(self) -> None:
        """Close the files."""
        for fd in self._files or ():
            if fd >= 0:
                os.close(fd)
        self._files = None

    def _opened(self) -> tuple[int, int]:
        """Descriptors of pagemap and kpageflags; -1 for one that may not be read."""
        if self._files is None:
            self._files = _open(f"/proc/{self._pid}/pagemap"), _open("/proc/kpageflags")
        return self._files


def _flags(kpageflags: int, frame: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"={count}Q", os.pread(kpageflags, 8 * count, frame * 8))


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
