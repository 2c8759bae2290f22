"""A program whose sets of pages are accessed at known rates; it is run as a script.

    rate_runner.py TRUTH INTERVAL_MS MIB SET...

Each SET has MIB of memory and says how its pages are accessed:

    idle                never
    random:HZ           each page at random, so often a second
    mixed:PART:HZ       the same, but only one page in PART
    period:MS           all pages at once, once a period
    burst:ON_MS:MS      all pages all the time for a while, once a period
    turn:I:N:MS         all pages all the time for MS, then those of the next set: it is set I of N
    scan:MS             one page after the other, all of them once a period

One line on standard output says where the memory is. TRUTH is a log, a ring of rows of 64-bit
floats: `LogRing` writes it. Every page of all sets is accessed first, so that there is memory.
"""

from __future__ import annotations

import math
import mmap
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOG_ROWS", "AccessedSet", "LogRing", "accessed_set", "main"]

_PAGE = mmap.PAGESIZE
_TURN_S = 0.001
_LATE_S = 0.02
"""After a longer pause nothing is caught up with."""
_LOG_S = 0.01
LOG_ROWS = 1 << 15
"""Rows of the log: five minutes."""


class AccessedSet:
    """The pages of a set, and the truth about them.

    `seen_s` is an integral over time: at each moment, the share of the pages that were accessed in
    the interval of *interval_s* that ends then. So pauses of the machine count as they were.
    `accesses` counts those of a page, in the mean over the pages that are accessed at all.
    """

    def __init__(
        self, memory: NDArray[np.uint8], numbers: Sequence[float], interval_s: float
    ) -> None:
        self._pages = memory[::_PAGE]
        self._count = len(self._pages)
        self._numbers = numbers
        self._interval_s = interval_s
        self._counted_s = 0.0
        self.seen_s = 0.0
        self.accesses = 0.0

    def go(self, now_s: float, passed_s: float) -> None:
        """Count the time until now, then make the accesses of *passed_s*."""
        if self._counted_s:
            self._count_until(now_s)
        self._counted_s = now_s
        self._access(now_s, passed_s)

    def _count_until(self, now_s: float) -> None:
        """Add the time since the last turn to `seen_s`."""

    def _access(self, now_s: float, passed_s: float) -> None:
        """Make the accesses of this turn."""

    def _touch(self, which: Any) -> None:
        self._pages[which].max(initial=0)


class _Random(AccessedSet):
    def __init__(
        self, memory: NDArray[np.uint8], numbers: Sequence[float], interval_s: float
    ) -> None:
        super().__init__(memory, numbers, interval_s)
        self._rng = np.random.default_rng()
        self._step = int(numbers[0]) if len(numbers) > 1 else 1
        self._places = self._count // self._step
        self._missed = math.log1p(-1 / self._places)
        """Logarithm of the chance that an access misses a page."""
        self._recent: deque[tuple[float, int]] = deque()
        self._in_interval = 0

    def _count_until(self, now_s: float) -> None:
        at_s = self._counted_s
        while self._recent and (ends_s := self._recent[0][0] + self._interval_s) <= now_s:
            self.seen_s += (ends_s - at_s) * self._share()
            at_s = ends_s
            self._in_interval -= self._recent.popleft()[1]
        self.seen_s += (now_s - at_s) * self._share()

    def _share(self) -> float:
        return -math.expm1(self._in_interval * self._missed) * self._places / self._count

    def _access(self, now_s: float, passed_s: float) -> None:
        number = int(self._rng.poisson(self._places * self._numbers[-1] * passed_s))
        if number:
            self._touch(self._rng.integers(0, self._places, number) * self._step)
            self._recent.append((now_s, number))
            self._in_interval += number
            self.accesses += number / self._places


class _Whole(AccessedSet, ABC):
    """All pages of these sets are accessed together."""

    _last_s = -math.inf

    def _count_until(self, now_s: float) -> None:
        until_s = min(now_s, self._last_s + self._interval_s)
        self.seen_s += max(0.0, until_s - self._counted_s)

    def _access(self, now_s: float, passed_s: float) -> None:
        if self._is_due(now_s):
            self._touch(slice(None))
            self._last_s = now_s
            self.accesses += 1

    @abstractmethod
    def _is_due(self, now_s: float) -> bool:
        """Whether the pages are accessed in this turn."""


class _Period(_Whole):
    _due_s = 0.0

    def _is_due(self, now_s: float) -> bool:
        if now_s < self._due_s:
            return False
        period_s = self._numbers[0] / 1000
        self._due_s = max(self._due_s + period_s, now_s - period_s)
        return True


class _Burst(_Whole):
    def _is_due(self, now_s: float) -> bool:
        on_s, period_s = (ms / 1000 for ms in self._numbers)
        return now_s % period_s < on_s


class _Turn(_Whole):
    def _is_due(self, now_s: float) -> bool:
        index, count, turn_ms = self._numbers
        return now_s * 1000 // turn_ms % count == index


class _Scan(AccessedSet):
    _at = 0.0

    def _access(self, now_s: float, passed_s: float) -> None:
        end = self._at + self._count * passed_s / (self._numbers[0] / 1000)
        places = np.arange(int(self._at), int(end)) % self._count
        self._touch(places)
        self._at = end % self._count if end >= self._count else end
        # Pages come round after more than an interval, so that each access is seen for one.
        self.accesses += len(places) / self._count
        self.seen_s += len(places) / self._count * self._interval_s


_KINDS = {
    "idle": AccessedSet,
    "random": _Random,
    "mixed": _Random,
    "period": _Period,
    "burst": _Burst,
    "turn": _Turn,
    "scan": _Scan,
}


def accessed_set(word: str, memory: NDArray[np.uint8], interval_s: float) -> AccessedSet:
    """Return the set that a word describes."""
    kind, *numbers = word.split(":")
    return _KINDS[kind](memory, [float(number) for number in numbers], interval_s)


class LogRing:
    """Rows of the time, of `seen_s` of all sets, and of `accesses` of all sets.

    The first row says how many rows were written before; the others are used in turn.
    """

    def __init__(self, rows: NDArray[np.float64]) -> None:
        self._rows = rows
        self._number = 0

    def write(self, now_s: float, sets: Sequence[AccessedSet]) -> None:
        """Add a row."""
        seen_s = [pages.seen_s for pages in sets]
        accesses = [pages.accesses for pages in sets]
        row = 1 + self._number % (len(self._rows) - 1)
        self._rows[row] = [now_s, *seen_s, *accesses]
        self._number += 1
        self._rows[0, 0] = self._number


def main(truth_path: str, interval_ms: str, mib: str, *words: str) -> None:
    """Access the sets for as long as whoever started this lives."""
    size = int(mib) << 20
    memory = mmap.mmap(-1, size * len(words), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    every: NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
    every[::_PAGE] = 1
    with open(truth_path, "r+b") as file:  # noqa: PTH123 (no pathlib: this must start fast)
        rows = np.memmap(file, np.float64, "r+", shape=(1 + LOG_ROWS, 1 + 2 * len(words)))
    log = LogRing(rows)
    sets = [
        accessed_set(word, every[row * size : (row + 1) * size], float(interval_ms) / 1000)
        for row, word in enumerate(words)
    ]
    last_s = time.monotonic()
    log.write(last_s, sets)
    logged_s = last_s
    print(every.ctypes.data, flush=True)
    while True:
        now_s = time.monotonic()
        passed_s = now_s - last_s if now_s - last_s < _LATE_S else 0.0
        for pages in sets:
            pages.go(now_s, passed_s)
        last_s = now_s
        if now_s >= logged_s + _LOG_S:
            log.write(now_s, sets)
            logged_s = now_s
        time.sleep(_TURN_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
