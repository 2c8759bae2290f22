"""Read /proc/PID/pagemap (one entry a page, or runs of pages by category), and states of pages.

Linux, Documentation/admin-guide/mm/pagemap.rst, explains both.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.ranges import PAGE_SIZE, Ranges, join
from pydamon._model.runs import Runs
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.process import Process, room_for

__all__ = [
    "FILE",
    "HUGE",
    "PRESENT",
    "RUN",
    "SWAPPED",
    "WRITTEN",
    "Entry",
    "Frames",
    "PageRuns",
    "Pagemap",
    "ProcessPages",
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

    def shared_frames(self, start: int, end: int) -> NDArray[np.uint32]:
        """The low bits of the frame of each page that another process maps, too; else 0.

        Where this user may not know frames, all of these pages have the same: a page at the same
        address in a process of the same origin is most likely the same page.
        """
        entries = self.entries(start, end)
        shared = (entries & (Entry.PRESENT | Entry.EXCLUSIVE)) == Entry.PRESENT
        frames = (entries & Entry.FRAME).astype(np.uint32)
        return np.where(shared, np.maximum(frames, 1), 0).astype(np.uint32)

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


_RESIDENT_OR_SWAPPED = Selection(any_of=PRESENT | SWAPPED, told=FILE | PRESENT | SWAPPED | HUGE)
_ENTRY_BITS = ((Entry.PRESENT, PRESENT), (Entry.SWAPPED, SWAPPED), (Entry.FILE, FILE))
_CHUNK_BYTES = 1 << 30

_LRU, _ACTIVE, _HEAD, _TAIL = 1 << 5, 1 << 6, 1 << 15, 1 << 16
"""Bits of /proc/kpageflags, of which pagemap.rst tells, too."""
_MAX_FOLIO = HUGE_BYTES // PAGE_SIZE
"""Frames of the largest folio: a huge page."""
_KPAGEFLAGS = Path("/proc/kpageflags")


class PageRuns:
    """Pages that are resident or swapped, as runs with the same `flags`: arrays of one length."""

    def __init__(self, runs: NDArray[Any]) -> None:
        self.start = runs["start"].astype(np.int64)
        self.end = runs["end"].astype(np.int64)
        self.flags = runs["categories"].astype(np.int64)

    def bytes_with(self, flags: int) -> int:
        """How many bytes have all of *flags*."""
        chosen = (self.flags & flags) == flags
        return int((self.end - self.start)[chosen].sum())

    def ranges(self, chosen: NDArray[np.bool_]) -> Ranges:
        """The ranges of the chosen runs, joined where they touch."""
        return join(np.stack([self.start[chosen], self.end[chosen]], axis=1))


class Frames(NamedTuple):
    """The frames of pages, one entry a page.

    `exclusive` pages are present and mapped by this process only, `shared` pages are present and
    mapped by others, too. `frame` is 0 for an absent page, and where this user may not know it.
    """

    exclusive: NDArray[np.bool_]
    shared: NDArray[np.bool_]
    frame: NDArray[np.int64]


class ProcessPages(Closing):
    """The pages of one process; pages that cannot be read count as absent."""

    def __init__(self, process: Process) -> None:
        self._pagemap = Pagemap(process)
        self._frame_flags: _FrameFlags | None = None
        self._scans = True

    @property
    def refusal(self) -> str:
        """Why this user cannot read any page; empty where that works."""
        try:
            self._pagemap.open()
        except OSError as error:
            return os.strerror(error.errno or 0)
        return ""

    def runs(self, ranges: Ranges) -> PageRuns:
        """The resident and swapped pages in some ranges."""
        parts = [run for start, end in ranges.tolist() for run in self._runs(start, end)]
        return PageRuns(np.concatenate([np.empty(0, RUN), *parts]))

    def frames(self, start: int, end: int) -> Frames:
        """The frames of the pages in [start, end)."""
        entries = self._pagemap.entries(start, end)
        present = (entries & Entry.PRESENT) != 0
        exclusive = (entries & Entry.EXCLUSIVE) != 0
        frame = np.where(present, entries & Entry.FRAME, 0).astype(np.int64)
        return Frames(present & exclusive, present & ~exclusive, frame)

    def shared_frames(self, start: int, end: int) -> NDArray[np.uint32]:
        """As `Pagemap.shared_frames`."""
        return self._pagemap.shared_frames(start, end)

    def exclusive(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether it is present and mapped here only."""
        return self.frames(start, start + pages * PAGE_SIZE).exclusive

    def active(self, start: int, pages: int) -> NDArray[np.bool_]:
        """For each of *pages* pages from *start* whether the kernel has it in an active list."""
        active = np.zeros(pages, np.bool_)
        frames = self.frames(start, start + pages * PAGE_SIZE).frame
        try:
            for index in np.flatnonzero(frames).tolist():
                active[index] = bool(self._flags_of(int(frames[index]), 1)[0] & _ACTIVE)
        except (OSError, struct.error):
            pass  # not for this user
        return active

    def can_be_cleared(self, address: int) -> bool:
        """Whether MADV_COLD clears the accessed bit of the page at an address.

        It leaves alone pages that another process maps, too, and pages that are on no LRU list
        (such as the few that were mapped a moment ago and wait in a batch).
        """
        entry = self._pagemap.entries(address, address + PAGE_SIZE)[0]
        if not entry & Entry.PRESENT or not entry & Entry.EXCLUSIVE:
            return False
        frame = int(entry & Entry.FRAME)
        if frame == 0:  # not shown to this user
            return True
        try:
            flags = self._flags_of(frame, 1)[0]
            if flags & _TAIL and not flags & _LRU:
                # Linux 6.1 shows this flag for the first page of a huge page only, 6.12 for all.
                first = frame // _MAX_FOLIO * _MAX_FOLIO
                before = self._flags_of(first, frame - first)
                flags = next((f for f in reversed(before) if f & _HEAD), flags)
        except (OSError, struct.error):
            return True
        return bool(flags & _LRU)

    def close(self) -> None:
        """Close the files."""
        self._pagemap.close()
        if self._frame_flags is not None:
            self._frame_flags.release()
            self._frame_flags = None

    def _runs(self, start: int, end: int) -> list[NDArray[Any]]:
        if self._scans:
            try:
                return [run.copy() for run in self._pagemap.scan(start, end, _RESIDENT_OR_SWAPPED)]
            except OSError as error:
                if error.errno != errno.ENOTTY:
                    return []
                self._scans = False
        chunks = range(start, end, _CHUNK_BYTES)
        return [self._runs_of_entries(at, min(at + _CHUNK_BYTES, end)) for at in chunks]

    def _runs_of_entries(self, start: int, end: int) -> NDArray[Any]:
        """The same from single entries, which do not tell huge pages from others."""
        entries = self._pagemap.entries(start, end)
        flags = np.zeros(len(entries), np.uint64)
        for bit, flag in _ENTRY_BITS:
            flags |= np.where(entries & bit, np.uint64(flag), np.uint64(0))
        same = Runs.of(flags)
        runs = np.zeros(len(same), RUN)
        runs["categories"] = flags[same.heads]
        runs["start"] = start + same.bounds[:-1] * PAGE_SIZE
        runs["end"] = start + same.bounds[1:] * PAGE_SIZE
        wanted: NDArray[np.bool_] = (runs["categories"] & np.uint64(PRESENT | SWAPPED)) != 0
        return runs[wanted]

    def _flags_of(self, frame: int, count: int) -> tuple[int, ...]:
        if self._frame_flags is None:
            self._frame_flags = _FrameFlags.shared()
        data = os.pread(self._frame_flags.fd, 8 * count, frame * 8)
        return struct.unpack(f"={count}Q", data)


class _FrameFlags:
    """/proc/kpageflags, open once for all processes, as long as any of them needs it."""

    _shared: ClassVar[_FrameFlags | None] = None

    def __init__(self) -> None:
        self._users = 0
        try:
            self.fd = os.open(_KPAGEFLAGS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.fd = -1  # not for this user: reading fails

    @classmethod
    def shared(cls) -> _FrameFlags:
        """The open file; `release` it at the end."""
        if cls._shared is None:
            cls._shared = cls()
        cls._shared._users += 1
        return cls._shared

    def release(self) -> None:
        """Close the file, if nobody else needs it."""
        self._users -= 1
        if not self._users:
            if self.fd >= 0:
                os.close(self.fd)
            type(self)._shared = None
