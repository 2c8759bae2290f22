"""The `idle` probe: /sys/kernel/mm/page_idle/bitmap, one bit for each frame of memory.

A bit that this probe sets stays set until any process accesses the page (Linux,
Documentation/admin-guide/mm/idle_page_tracking.rst).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.runs import Runs
from pydamon._observe.linux.arch import HUGE_BYTES, PAGE_SIZE
from pydamon._observe.linux.pagemap import Entry
from pydamon._observe.probes.base import PAGE_GRAIN, Availability, PageBits, Traits
from pydamon._observe.probes.scanning import PagemapSession

__all__ = ["IdleProbe"]

BITMAP = Path("/sys/kernel/mm/page_idle/bitmap")
FLAGS = Path("/proc/kpageflags")
_LRU, _TAIL = np.uint64(1 << 5), np.uint64(1 << 16)
"""Bits of /proc/kpageflags: the page is on an LRU list; it is not the first of a huge page."""
_WORD = 64
_FOLIO = HUGE_BYTES // PAGE_SIZE
"""Frames of the largest huge page, which begins at a multiple of that."""
_AT_ONCE = 4096
"""Words or blocks that are read or written at once, at most."""


@dataclass(frozen=True, slots=True)
class IdleProbe:
    """Marks pages as idle, and later sees which of them still are."""

    name: str = "idle"
    traits: Traits = field(
        default=Traits(
            sees="reads and writes, also of memory that processes share",
            grain=PAGE_GRAIN,
            needs="root; CONFIG_IDLE_PAGE_TRACKING",
            side_effects="none on reclaim; about 1 us a page",
            scans=True,
            exact=True,
            by_name_only=True,
            min_samples=1,
        ),
        repr=False,
    )
    bitmap: Path = BITMAP
    flags: Path = FLAGS

    def availability(self) -> Availability:
        """Whether the bitmap exists, and this user may write to it."""
        if not self.bitmap.exists():
            hint = "the kernel must be built with CONFIG_IDLE_PAGE_TRACKING"
            return Availability(False, f"there is no {self.bitmap}", hint)
        if not os.access(self.bitmap, os.R_OK | os.W_OK):
            return Availability(False, f"{self.bitmap} is for root only", "run as root")
        return Availability(True)

    def open(self) -> IdleSession:
        """Start a session without targets."""
        self.availability().require()
        return IdleSession(self.bitmap, self.flags)


class IdleSession(PagemapSession):
    """A session of the `idle` probe; see `pydamon._observe.probes.Session`."""

    def __init__(self, bitmap: Path, flags: Path) -> None:
        super().__init__()
        self._flags = os.open(flags, os.O_RDONLY | os.O_CLOEXEC)
        self._bitmap = os.open(bitmap, os.O_RDWR | os.O_CLOEXEC)

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        entries = self._pagemaps[target].entries(start, end)
        # The kernel shows frame 0 to users who may not know the frame.
        present = ((entries & Entry.PRESENT) != 0) & ((entries & Entry.FRAME) != 0)
        frames = (entries[present] & Entry.FRAME).astype(np.int64)
        # A huge page has one bit, that of its first frame; pages on no LRU list have none.
        heads, observable = self._heads(frames)
        idle = self._idle(heads)
        if clear:
            self._mark(heads[observable])
        huge, accessed, unobservable = np.zeros((3, len(present)), np.bool_)
        huge[present] = heads != frames
        accessed[present] = ~idle & observable
        unobservable[present] = ~observable
        return PageBits(start, present, huge, accessed, unobservable)

    def close(self) -> None:
        super().close()
        if self._bitmap >= 0:
            os.close(self._bitmap)
            os.close(self._flags)
            self._bitmap = -1

    def _heads(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The frame whose bit counts for each frame, and whether it has a bit at all."""
        blocks, inverse = np.unique(frames // _FOLIO, return_inverse=True)
        flags = np.zeros((len(blocks), _FOLIO), np.uint64)
        for first, beyond in _runs(blocks):
            size = 8 * _FOLIO
            data = _read(self._flags, size * (beyond - first), size * int(blocks[first]))
            part = np.frombuffer(data, np.uint64)
            flags[first:beyond].reshape(-1)[: len(part)] = part
        own = np.arange(_FOLIO)
        begins = np.where(flags & _TAIL, -1, own)
        head = np.maximum.accumulate(begins, axis=1).clip(0)
        at = frames % _FOLIO
        in_lists = (np.take_along_axis(flags, head, axis=1) & _LRU) != 0
        return frames - at + head[inverse, at], in_lists[inverse, at]

    def _idle(self, frames: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each frame is still idle."""
        words, inverse = np.unique(frames // _WORD, return_inverse=True)
        bits = np.zeros(len(words), np.uint64)
        for first, beyond in _runs(words):
            data = _read(self._bitmap, 8 * (beyond - first), 8 * int(words[first]))
            part = np.frombuffer(data, np.uint64)
            bits[first : first + len(part)] = part
        idle: NDArray[np.bool_] = (bits[inverse] & _bit(frames)) != 0
        return idle

    def _mark(self, frames: NDArray[np.int64]) -> None:
        """Mark frames as idle; bits that are 0 change nothing."""
        words, inverse = np.unique(frames // _WORD, return_inverse=True)
        wanted = np.zeros(len(words), np.uint64)
        np.bitwise_or.at(wanted, inverse, _bit(frames))
        for first, beyond in _runs(words):
            with suppress(OSError):  # memory that was taken out of the machine
                os.pwrite(self._bitmap, wanted[first:beyond].tobytes(), 8 * int(words[first]))


def _bit(frames: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.uint64(1) << (frames % _WORD).astype(np.uint64)


def _read(fd: int, size: int, offset: int) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError:
        return b""


def _runs(words: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of consecutive words of at most `_AT_ONCE`: the first index, and the one behind."""
    return [
        (at, min(at + _AT_ONCE, beyond))
        for first, beyond in Runs.split(np.diff(words) != 1, len(words))
        for at in range(first, beyond, _AT_ONCE)
    ]
