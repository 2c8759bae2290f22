"""Read /proc/PID/pagemap: one entry a page, or runs of pages by category.

Linux, Documentation/admin-guide/mm/pagemap.rst, explains both.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.ranges import PAGE_SIZE
from pydamon._observe.linux.process import Process, room_for

__all__ = [
    "FILE",
    "HUGE",
    "PRESENT",
    "RUN",
    "SWAPPED",
    "WRITTEN",
    "Entry",
    "Pagemap",
    "Selection",
]


class Entry:
    """Bits of an entry."""

    PRESENT = np.uint64(1 << 63)
    SWAPPED = np.uint64(1 << 62)
    FILE = np.uint64(1 << 61)
    """Of a file or of shared anonymous memory."""
    EXCLUSIVE = np.uint64(1 << 56)
    """Mapped by this process only."""
    SOFT_DIRTY = np.uint64(1 << 55)
    FRAME = np.uint64((1 << 55) - 1)
    """The frame of a present page; 0 is shown to users who may not know it."""


WRITTEN, FILE, PRESENT, SWAPPED, HUGE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 6
"""Categories of pages that a scan tells apart (PAGE_IS_*)."""


class Selection(NamedTuple):
    """Which pages a scan returns: those of all categories in `all_of`, and of one in `any_of`.

    `told` are the categories that it tells of them. With `protect` the pages are write-protected.
    """

    all_of: int = 0
    any_of: int = 0
    told: int = 0
    protect: bool = False


RUN = np.dtype([("start", np.uint64), ("end", np.uint64), ("categories", np.uint64)])
"""Consecutive pages of the same categories, by address."""

_SCAN = 0xC0606610
"""_IOWR('f', 16, struct pm_scan_arg), since Linux 6.7."""
_SCAN_ARG = struct.Struct("=12Q")
_PROTECT_MATCHING = 1
_RUNS = 8192
_CHUNK_PAGES = 1 << 18


class Pagemap(Closing):
    """The pagemap of one process; pages that cannot be read count as absent."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._fd = -1
        self._buffer: NDArray[Any] | None = None

    def open(self) -> None:
        """Open the file now, to see whether this user may; raises `OSError`."""
        with self._descriptor():
            pass

    def entries(self, start: int, end: int) -> NDArray[np.uint64]:
        """One entry for each page of [start, end)."""
        entries = np.zeros((end - start) // PAGE_SIZE, np.uint64)
        try:
            with self._descriptor() as fd:
                for at in range(0, len(entries), _CHUNK_PAGES):
                    size = 8 * min(_CHUNK_PAGES, len(entries) - at)
                    data = os.pread(fd, size, (start // PAGE_SIZE + at) * 8)
                    read = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
                    entries[at : at + len(read)] = read
        except OSError:
            pass  # it has exited, or is not this user's
        return entries

    def scan(self, start: int, end: int, selection: Selection) -> Iterator[NDArray[Any]]:
        """Runs of the selected pages of [start, end), as arrays of `RUN`.

        An array holds until the next one is asked for. Raises `OSError`, with ENOTTY where the
        kernel cannot scan.
        """
        if self._buffer is None:
            self._buffer = np.empty(_RUNS, RUN)
        while start < end:
            argument = bytearray(
                _SCAN_ARG.pack(
                    *(_SCAN_ARG.size, _PROTECT_MATCHING * selection.protect, start, end, 0),
                    *(self._buffer.ctypes.data, _RUNS, 0),
                    *(0, selection.all_of, selection.any_of, selection.told),
                )
            )
            with self._descriptor() as fd:
                count = fcntl.ioctl(fd, _SCAN, argument)
            yield self._buffer[:count]
            if count < _RUNS:
                break
            # The kernel tells where the walk ended, too, but that can lie behind the last run.
            start = int(self._buffer["end"][-1])

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        """The open file, which stays open unless descriptors are scarce; raises `OSError`."""
        fd = self._fd if self._fd >= 0 else self._process.open("pagemap")
        try:
            yield fd
        finally:
            if fd != self._fd:
                if room_for(fd):
                    self._fd = fd
                else:  # with so many targets none of them can keep its own open
                    os.close(fd)
