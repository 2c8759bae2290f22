"""A program whose sets of pages are accessed at known rates; it is run as a script.

    rate_runner.py TRUTH INTERVAL_MS MIB SET...

Each SET has MIB of memory and says how its pages are accessed:

    idle                never
    random:HZ           each page at random, so often a second
    mixed:PART:HZ       the same, but only one page in PART
    period:MS           all pages at once, once a period
    burst:ON_MS:MS      all pages all the time for a while, once a period
    scan:MS             one page after the other, all of them once a period

One line on standard output says where the memory is. TRUTH is a file of 64-bit floats, a row for
each set, that are kept up to date: the accesses so far, the time they took, and, of sets that are
accessed as a whole, the sum of the gaps and of what intervals of INTERVAL_MS would see of them.
Every page of all sets is accessed first, so that there is memory.
"""

from __future__ import annotations

import mmap
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["main"]

_PAGE = mmap.PAGESIZE
_TURN_S = 0.001
_LATE_S = 0.02
"""After a longer pause nothing is caught up with."""
COLUMNS = 4


class _Set:
    """The pages of a set, and what was done to them."""

    def __init__(self, memory: NDArray[np.uint8], truth: NDArray[np.float64], words: list[float]):
        self._pages = memory[::_PAGE]
        self._count = len(self._pages)
        self._truth = truth
        self._words = words
        self._rng = np.random.default_rng()
        self._last_s = 0.0

    def go(self, now_s: float, passed_s: float) -> None:
        """Make the accesses of a turn."""

    def _touch(self, which: Any) -> None:
        self._pages[which].max(initial=0)

    def _note_whole(self, now_s: float) -> None:
        """All pages were accessed: note the gap since the last time."""
        if self._last_s:
            gap_s = now_s - self._last_s
            self._truth[2] += gap_s
            self._truth[3] += min(gap_s, _Set.interval_s)
        self._last_s = now_s
        self._truth[0] += self._count

    interval_s = 0.005


class _Random(_Set):
    _part = 1

    def go(self, now_s: float, passed_s: float) -> None:
        *part, rate_hz = self._words
        places = int(self._count / (part[0] if part else 1))
        number = self._rng.poisson(places * rate_hz * passed_s)
        step = self._count // places
        self._touch(self._rng.integers(0, places, number) * step)
        self._truth[0] += number
        self._truth[1] += passed_s


class _Period(_Set):
    _due_s = 0.0

    def go(self, now_s: float, passed_s: float) -> None:
        if now_s < self._due_s:
            return
        period_s = self._words[0] / 1000
        self._due_s = max(self._due_s + period_s, now_s - period_s)
        self._touch(slice(None))
        self._note_whole(time.monotonic())


class _Burst(_Set):
    def go(self, now_s: float, passed_s: float) -> None:
        on_s, period_s = (ms / 1000 for ms in self._words)
        if now_s % period_s < on_s:
            self._touch(slice(None))
            self._note_whole(time.monotonic())


class _Scan(_Set):
    _at = 0.0

    def go(self, now_s: float, passed_s: float) -> None:
        end = self._at + self._count * passed_s / (self._words[0] / 1000)
        places = np.arange(int(self._at), int(end)) % self._count
        self._touch(places)
        self._truth[0] += len(places)
        self._truth[1] += passed_s
        self._at = end % self._count if end >= self._count else end


_KINDS = {
    "idle": _Set,
    "random": _Random,
    "mixed": _Random,
    "period": _Period,
    "burst": _Burst,
    "scan": _Scan,
}


def main(truth_path: str, interval_ms: str, mib: str, *words: str) -> None:
    """Access the sets for as long as whoever started this lives."""
    _Set.interval_s = float(interval_ms) / 1000
    size = int(mib) << 20
    memory = mmap.mmap(-1, size * len(words), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    every: NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
    every[::_PAGE] = 1
    with open(truth_path, "w+b") as file:  # noqa: PTH123 (no pathlib: this must start fast)
        file.truncate(8 * COLUMNS * len(words))
        truth = np.memmap(file, np.float64, "r+", shape=(len(words), COLUMNS))
    sets = []
    for row, word in enumerate(words):
        kind, *numbers = word.split(":")
        part = every[row * size : (row + 1) * size]
        sets.append(_KINDS[kind](part, truth[row], [float(number) for number in numbers]))
    print(every.ctypes.data, flush=True)
    last_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        passed_s = now_s - last_s if now_s - last_s < _LATE_S else 0.0
        for pages in sets:
            pages.go(now_s, passed_s)
        last_s = now_s
        time.sleep(_TURN_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
