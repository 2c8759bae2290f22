"""States of page frames: /proc/kpageflags, and the cgroups of /proc/kpagecgroup.

Linux, Documentation/admin-guide/mm/pagemap.rst, explains both files.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pydamon._model.closing import Closing
from pydamon._observe.linux.arch import HUGE_BYTES, PAGE_SIZE

__all__ = ["ACTIVE", "ANON", "HUGE", "LRU", "FrameFile", "flags_of", "owners_of"]

LRU: Final = np.uint64(1 << 5)
ACTIVE: Final = np.uint64(1 << 6)
ANON: Final = np.uint64(1 << 12)
_HEAD: Final = np.uint64(1 << 15)
_TAIL: Final = np.uint64(1 << 16)
HUGE: Final = np.uint64(1 << 17 | 1 << 22)
"""Of hugetlbfs, or transparent."""
_HUGE_FRAMES = HUGE_BYTES // PAGE_SIZE
_GAP = 16
"""Reading across so many frames costs about as much as a system call."""


class FrameFile(Closing):
    """A file with a word for each page frame; raises `OSError` if this user may not read it."""

    def __init__(self, path: Path | str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def span(self, first: int, count: int) -> NDArray[np.uint64]:
        """The words of *count* frames from *first* on; 0 for frames that do not exist."""
        words = np.zeros(count, np.uint64)
        read = np.frombuffer(os.pread(self._fd, 8 * count, 8 * first), np.uint64)
        words[: len(read)] = read
        return words

    def words(self, frames: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The word of each of *frames*, in any order."""
        if not len(frames):
            return np.zeros(0, np.uint64)
        if (np.diff(frames) == 1).all():
            return self.span(int(frames[0]), len(frames))
        ordered, place = np.unique(frames, return_inverse=True)
        breaks = np.flatnonzero(np.diff(ordered) > _GAP) + 1
        bounds = [0, *breaks.tolist(), len(ordered)]
        words = np.zeros(len(ordered), np.uint64)
        for at, beyond in pairwise(bounds):
            first, last = int(ordered[at]), int(ordered[beyond - 1])
            words[at:beyond] = self.span(first, last - first + 1)[ordered[at:beyond] - first]
        return words[place]

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def flags_of(file: FrameFile, frames: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The flags of frames; pages of a huge page have those of its first page, too.

    Linux 6.1 shows the LRU flags for the first page of a huge page only, 6.12 for all.
    """
    flags = file.words(frames)
    bare = np.flatnonzero(((flags & _TAIL) != 0) & ((flags & LRU) == 0))
    if len(bare):
        heads = file.words(frames[bare] // _HUGE_FRAMES * _HUGE_FRAMES)
        flags[bare] |= np.where((heads & _HEAD) != 0, heads & (LRU | ACTIVE), np.uint64(0))
    return flags


def owners_of(
    file: FrameFile, frames: NDArray[np.int64], flags: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """The inode of the cgroup of each frame, by its *flags*; 0 for none.

    Some kernels tell that of the first page of a huge page only.
    """
    owners = file.words(frames)
    bare = np.flatnonzero(((flags & _TAIL) != 0) & ((flags & HUGE) != 0) & (owners == 0))
    if len(bare):
        owners[bare] = file.words(frames[bare] // _HUGE_FRAMES * _HUGE_FRAMES)
    return owners
