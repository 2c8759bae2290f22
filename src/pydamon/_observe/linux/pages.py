"""What /proc tells of single pages: resident, swapped, huge, shared; and whether a clear works."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.linux.process import Process, room_for

__all__ = ["FILE", "HUGE", "PRESENT", "SWAPPED", "Frames", "PageFlags", "PageRuns", "PageState"]

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


FILE, PRESENT, SWAPPED, HUGE = 1 << 2, 1 << 3, 1 << 4, 1 << 6
"""As the kernel numbers them (PAGE_IS_*, pagemap.rst); FILE includes shared anonymous memory."""
_KNOWN = FILE | PRESENT | SWAPPED | HUGE
_PAGEMAP_SCAN = 0xC0606610  # _IOWR('f', 16, struct pm_scan_arg), Linux 6.7
_ARGUMENT = struct.Struct("=12Q")
_RUN = np.dtype([("start", np.uint64), ("end", np.uint64), ("flags", np.uint64)])
_RUNS = 8192
_CHUNK_PAGES = 1 << 18
_EXCLUSIVE, _PFN = 1 << 56, (1 << 55) - 1  # pagemap.rst


class PageRuns:
    """Pages that are resident or swapped, as runs of equal `flags`: arrays of one length."""

    def __init__(self, runs: NDArray[np.void]) -> None:
        self.start = runs["start"].astype(np.int64)
        self.end = runs["end"].astype(np.int64)
        self.flags = runs["flags"].astype(np.int64)

    def bytes_with(self, flags: int) -> int:
        """How many bytes have all of *flags*."""
        chosen = (self.flags & flags) == flags
        return int((self.end - self.start)[chosen].sum())

    def ranges(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The chosen runs, taken together where they touch: (start, end) rows."""
        start, end = self.start[chosen], self.end[chosen]
        apart = np.append(True, start[1:] != end[:-1])[: len(start)]
        return np.stack([start[apart], end[np.append(apart[1:], True)[: len(start)]]], axis=1)


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of pages, one entry a page; 0 for one that is absent, or that is not shown."""

    exclusive: NDArray[np.bool_]
    """Present, and mapped by this process only."""
    shared: NDArray[np.bool_]
    """Present, and mapped by others, too."""
    frame: NDArray[np.int64]


class PageState(Closing):
    """Reads the pages of one process. What cannot be read counts as not there."""

    def __init__(self, process: Process) -> None:
        self.refusal = ""
        """Why this user cannot read any."""
        try:
            self._fd = process.open("pagemap")
        except OSError as error:
            self._fd = -1
            self.refusal = os.strerror(error.errno or 0)
        self._buffer = np.zeros(_RUNS, _RUN)
        self._scans = True

    def runs(self, ranges: NDArray[np.int64]) -> PageRuns:
        """The resident and swapped pages in (start, end) rows."""
        found = [run for start, end in ranges.tolist() for run in self._in(start, end)]
        return PageRuns(np.concatenate([np.empty(0, _RUN), *found]))

    def frames(self, start: int, end: int) -> Frames:
        """Where the pages of a range are; what cannot be read counts as absent."""
        entries = np.zeros((end - start) // PAGE_SIZE, np.uint64)
        for at in range(0, len(entries) if self._fd >= 0 else 0, _CHUNK_PAGES):
            count = min(_CHUNK_PAGES, len(entries) - at)
            try:
                data = os.pread(self._fd, 8 * count, (start // PAGE_SIZE + at) * 8)
            except OSError:
                break
            read = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
            entries[at : at + len(read)] = read
        present = (entries & np.uint64(1 << 63)) != 0
        exclusive = (entries & np.uint64(_EXCLUSIVE)) != 0
        frame = np.where(present, entries & np.uint64(_PFN), 0).astype(np.int64)
        return Frames(present & exclusive, present & ~exclusive, frame)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _in(self, start: int, end: int) -> list[NDArray[np.void]]:
        if self._fd < 0:
            return []
        if self._scans:
            try:
                return self._scan(start, end)
            except OSError as error:
                if error.errno != errno.ENOTTY:
                    return []
                self._scans = False
        return self._read(start, end)

    def _scan(self, start: int, end: int) -> list[NDArray[np.void]]:
        found = []
        while start < end:
            argument = bytearray(
                _ARGUMENT.pack(
                    *(_ARGUMENT.size, 0, start, end, 0),
                    *(self._buffer.ctypes.data, _RUNS, 0),
                    *(0, 0, PRESENT | SWAPPED, _KNOWN),
                )
            )
            count = fcntl.ioctl(self._fd, _PAGEMAP_SCAN, argument)
            found.append(self._buffer[:count].copy())
            if count < _RUNS:
                break
            # Where the walk ended is known too, but that can lie behind what was reported.
            start = int(self._buffer["end"][-1])
        return found

    def _read(self, start: int, end: int) -> list[NDArray[np.void]]:
        """The same of the entries of /proc/PID/pagemap, which do not tell what is huge."""
        found = []
        for at in range(start, end, _CHUNK_PAGES * PAGE_SIZE):
            pages = min(_CHUNK_PAGES, (end - at) // PAGE_SIZE)
            try:
                data = os.pread(self._fd, 8 * pages, at // PAGE_SIZE * 8)
            except OSError:
                continue
            entries = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
            flags = np.zeros(len(entries), np.uint64)
            for bit, flag in ((63, PRESENT), (62, SWAPPED), (61, FILE)):
                flags |= ((entries >> np.uint64(bit)) & np.uint64(1)) * np.uint64(flag)
            heads = np.flatnonzero(np.append(True, flags[1:] != flags[:-1])[: len(flags)])
            runs = np.zeros(len(heads), _RUN)
            runs["flags"] = flags[heads]
            runs["start"] = at + heads * PAGE_SIZE
            runs["end"] = at + np.append(heads[1:], len(flags))[: len(heads)] * PAGE_SIZE
            found.append(runs[(runs["flags"] & np.uint64(PRESENT | SWAPPED)) != 0])
        return found
