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
_LRU, _HEAD, _TAIL = 1 << 5, 1 << 15, 1 << 16  # /proc/kpageflags, the same document
_MAX_FOLIO = 512


class PageFlags:
    """Asks about the pages of one process.

    MADV_COLD leaves alone pages that another process maps too, and pages that are on no LRU list
    (such as the few that were mapped a moment ago and wait in a batch).
    """

    def __init__(self, pid: int) -> None:
        self._pagemap = _open(f"/proc/{pid}/pagemap")
        self._kpageflags = _open("/proc/kpageflags")

    def can_be_cleared(self, address: int) -> bool:
        """Whether MADV_COLD clears the accessed bit of the page at an address."""
        try:
            (entry,) = struct.unpack("=Q", os.pread(self._pagemap, 8, address // PAGE_SIZE * 8))
        except (OSError, struct.error):
            return False
        if not entry & _PRESENT or not entry & _EXCLUSIVE:
            return False
        frame = entry & _PFN
        if frame == 0 or self._kpageflags < 0:  # not shown to this user
            return True
        try:
            flags = self._flags(frame, 1)[0]
            if flags & _TAIL and not flags & _LRU:
                # Linux 6.1 shows this flag for the first page of a huge page only, 6.12 for all.
                first = frame // _MAX_FOLIO * _MAX_FOLIO
                before = self._flags(first, frame - first)
                flags = next((f for f in reversed(before) if f & _HEAD), flags)
        except (OSError, struct.error):
            return True
        return bool(flags & _LRU)

    def _flags(self, frame: int, count: int) -> tuple[int, ...]:
        data = os.pread(self._kpageflags, 8 * count, frame * 8)
        return struct.unpack(f"={count}Q", data)

    def exclusive(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether it is present and mapped here only."""
        exclusive = np.zeros(pages, np.bool_)
        try:
            data = os.pread(self._pagemap, 8 * pages, start // PAGE_SIZE * 8)
        except OSError:
            return exclusive
        entries = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
        wanted = np.uint64(_PRESENT | _EXCLUSIVE)
        exclusive[: len(entries)] = (entries & wanted) == wanted
        return exclusive

    def close(self) -> None:
        """Close the files."""
        for fd in (self._pagemap, self._kpageflags):
            if fd >= 0:
                os.close(fd)
        self._pagemap = self._kpageflags = -1


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
