"""What /proc tells of single pages: whether their accessed bit can be cleared at all."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import PAGE_SIZE
from pydamon.probes.process import Process
from pydamon.probes.refusal import room_for

__all__ = ["PageFlags"]

_PRESENT, _MAPPED_ONCE = 1 << 63, 1 << 56  # /proc/PID/pagemap, pagemap.rst
_FRAME_BITS = (1 << 55) - 1
_LRU, _ACTIVE, _HEAD, _TAIL = (
    1 << 5,
    1 << 6,
    1 << 15,
    1 << 16,
)  # /proc/kpageflags, likewise
_MAX_FOLIO = 512
_FRAMES = Path("/proc/kpageflags")


class PageFlags:
    """Asks about the pages of one process.

    MADV_COLD leaves alone pages that another process maps too, and pages that are on no LRU list
    (such as the few that were mapped a moment ago and wait in a batch).
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._pagemap = -1
        self._frames: _Frames | None = None

    def can_be_cleared(self, address: int) -> bool:
        """Whether MADV_COLD clears the accessed bit of the page at an address."""
        entries = self._entries(address, 1)
        if not len(entries):
            return False
        entry = int(entries[0])
        if not entry & _PRESENT or not entry & _MAPPED_ONCE:
            return False
        frame = entry & _FRAME_BITS
        if frame == 0:  # not shown to this user
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

    def exclusive(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether it is present and mapped here only."""
        exclusive = np.zeros(pages, np.bool_)
        entries = self._entries(start, pages)
        wanted = np.uint64(_PRESENT | _MAPPED_ONCE)
        exclusive[: len(entries)] = (entries & wanted) == wanted
        return exclusive

    def active(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether the kernel has it in an active list."""
        active = np.zeros(pages, np.bool_)
        entries = self._entries(start, pages)
        frames = np.where(entries & np.uint64(_PRESENT), entries & np.uint64(_FRAME_BITS), 0)
        try:
            for index in np.flatnonzero(frames).tolist():
                active[index] = bool(self._flags(int(frames[index]), 1)[0] & _ACTIVE)
        except (OSError, struct.error):
            pass  # not for this user
        return active

    def close(self) -> None:
        """Close the files."""
        if self._pagemap >= 0:
            os.close(self._pagemap)
            self._pagemap = -1
        if self._frames is not None:
            self._frames.release()
            self._frames = None

    def _entries(self, start: int, pages: int) -> NDArray[np.uint64]:
        """Entries of pagemap: fewer where it cannot be read, or the process is gone."""
        try:
            fd = self._pagemap if self._pagemap >= 0 else self._process.open("pagemap")
        except OSError:
            return np.empty(0, np.uint64)
        try:
            data = os.pread(fd, 8 * pages, start // PAGE_SIZE * 8)
        except OSError:
            data = b""
        if fd != self._pagemap:
            if room_for(fd):
                self._pagemap = fd
            else:  # with so many targets none of them can keep its own open
                os.close(fd)
        return np.frombuffer(data[: len(data) // 8 * 8], np.uint64)

    def _flags(self, frame: int, count: int) -> tuple[int, ...]:
        if self._frames is None:
            self._frames = _Frames.shared()
        return struct.unpack(f"={count}Q", os.pread(self._frames.fd, 8 * count, frame * 8))


class _Frames:
    """/proc/kpageflags, open once for all processes: as long as any of them needs it."""

    _one: ClassVar[_Frames | None] = None

    def __init__(self) -> None:
        self._users = 0
        try:
            self.fd = os.open(_FRAMES, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.fd = -1  # not for this user: reading fails

    @classmethod
    def shared(cls) -> _Frames:
        if cls._one is None:
            cls._one = cls()
        cls._one._users += 1
        return cls._one

    def release(self) -> None:
        self._users -= 1
        if not self._users:
            if self.fd >= 0:
                os.close(self.fd)
            type(self)._one = None
