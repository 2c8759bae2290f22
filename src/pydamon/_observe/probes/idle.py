"""Idle page tracking: /sys/kernel/mm/page_idle/bitmap, one bit for each frame of memory.

A bit that we set stays set until somebody accesses the page, by whatever process (Linux,
Documentation/admin-guide/mm/idle_page_tracking.rst).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._observe.probes.base import Availability, PageBits, Traits
from pydamon._observe.probes.scanning import PRESENT, PagemapSession

__all__ = ["IdleProbe"]

BITMAP = Path("/sys/kernel/mm/page_idle/bitmap")
FLAGS = Path("/proc/kpageflags")
_PFN = np.uint64((1 << 55) - 1)
_LRU, _TAIL = np.uint64(1 << 5), np.uint64(1 << 16)
"""In /proc/kpageflags: in a list of reclaim's; not the first frame of a huge page."""
_WORD = 64
_FOLIO = 512
"""Frames of the largest huge page that is looked for, which begins at a multiple of that."""
_SIDE_BY_SIDE = 4096
"""Words or blocks that are read or written at once, at most."""


@dataclass(frozen=True, slots=True)
class IdleProbe:
    """Marks pages as idle, and later looks which of them still are."""

    name: str = "idle"
    traits: Traits = field(
        default=Traits(
            sees="reads and writes, of memory that processes share too",
            grain="a page (4 KiB, or the huge page)",
            needs="root; CONFIG_IDLE_PAGE_TRACKING",
            side_effects="none on what reclaim thinks of the pages; about 1 us a page",
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
        """Whether the bitmap is there, and ours to write."""
        if not self.bitmap.exists():
            hint = "the kernel must be built with CONFIG_IDLE_PAGE_TRACKING"
            return Availability(False, f"there is no {self.bitmap}", hint)
        if not os.access(self.bitmap, os.R_OK | os.W_OK):
            return Availability(False, f"{self.bitmap} is for root only", "run as root")
        return Availability(True)

    def open(self) -> IdleSession:
        """Start, with no targets yet."""
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
        # A frame of 0 is what the kernel shows to those who may not know.
        present = ((entries & PRESENT) != 0) & ((entries & _PFN) != 0)
        frames = (entries[present] & _PFN).astype(np.int64)
        # A huge page has one bit, that of its first frame; pages in no LRU list have none.
        heads, observable = self._heads(frames)
        idle = self._idle(heads)
        if clear:
            self._mark(heads[observable])
        columns = [np.zeros_like(present) for _ in range(3)]
        for column, marks in zip(
            columns, (heads != frames, ~idle & observable, ~observable), strict=True
        ):
            column[present] = marks
        huge, accessed, unobservable = columns
        return PageBits(start, present, huge, accessed, unobservable)

    def close(self) -> None:
        super().close()
        if self._bitmap >= 0:
            os.close(self._bitmap)
            os.close(self._flags)
            self._bitmap = -1

    def _heads(self, frames: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The frame whose bit counts for each of some frames, and whether it has one at all."""
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
        """Which frames are still idle."""
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
            with suppress(OSError):  # frames that are gone
                os.pwrite(self._bitmap, wanted[first:beyond].tobytes(), 8 * int(words[first]))


def _bit(frames: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.uint64(1) << (frames % _WORD).astype(np.uint64)


def _read(fd: int, size: int, offset: int) -> bytes:
    try:
        return os.pread(fd, size, offset)
    except OSError:
        return b""


def _runs(words: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Where words follow one another: first index and the one beyond, of at most so many."""
    cuts = np.flatnonzero(np.diff(words) != 1) + 1
    bounds = np.concatenate([[0], cuts, [len(words)]]).tolist() if len(words) else []
    return [
        (at, min(at + _SIDE_BY_SIDE, beyond))
        for first, beyond in pairwise(bounds)
        for at in range(first, beyond, _SIDE_BY_SIDE)
    ]
