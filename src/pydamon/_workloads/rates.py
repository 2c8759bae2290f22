"""Workloads whose pages are accessed at known rates, and the truth by counting."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError
from pydamon._workloads.rate_runner import LOG_ROWS

__all__ = ["RATE_PATTERNS", "RateTruth", "RateWorkload", "running_rates", "wanted_share"]

_RUNNER = Path(__file__).with_name("rate_runner.py")

Floats = NDArray[np.float64]

RATE_PATTERNS: dict[str, tuple[str, ...]] = {
    "poisson": ("idle", "random:2", "random:10", "random:50", "random:200", "random:1000"),
    "periods": (
        *("idle", "period:7", "period:20", "period:50", "period:120", "period:300"),
        *("period:500", "period:900"),
    ),
    "stripes": (
        *("period:1.25", "idle", "period:5", "idle", "period:20", "idle", "period:83.3", "idle"),
    ),
    "cyclic": ("scan:40", "scan:400", "burst:50:500", "mixed:8:100", "mixed:8:10", "idle"),
    "moving": ("turn:0:4:2500", "turn:1:4:2500", "turn:2:4:2500", "turn:3:4:2500", "idle"),
}
"""Sets of pages by the way they are accessed; `rate_runner.py` says what the words mean."""


def wanted_share(word: str, interval_s: float) -> float:
    """Return the share of intervals with an access that a set is meant to have."""
    kind, *numbers = word.split(":")
    values = [float(number) for number in numbers]
    if kind == "idle":
        return 0.0
    if kind in ("random", "mixed"):
        part = values[0] if kind == "mixed" else 1.0
        return -math.expm1(-values[-1] * interval_s) / part
    interval_ms = 1000 * interval_s
    if kind == "turn":
        _, count, turn_ms = values
        return min(1.0, (turn_ms + interval_ms) / (count * turn_ms))
    on_ms = values[0] if kind == "burst" else 0.0
    return min(1.0, (on_ms + interval_ms) / values[-1])


@dataclass(frozen=True, slots=True)
class RateTruth:
    """What was counted of sets of pages until some moment, with the time of each count.

    `time_s` is monotonic. `seen_s` and `accesses` have a row for each time and a column for each
    set; `rate_runner.AccessedSet` explains them.
    """

    words: tuple[str, ...]
    time_s: Floats
    seen_s: Floats
    accesses: Floats

    @classmethod
    def of(cls, words: tuple[str, ...], rows: Floats) -> RateTruth:
        """Return what a log says: `rate_runner.LogRing` writes it."""
        number, room = int(rows[0, 0]), len(rows) - 1
        # The next row may be written at this moment.
        order = 1 + np.arange(max(0, number - room + 1), number) % room
        log = rows[order]
        return cls(words, log[:, 0], log[:, 1 : 1 + len(words)], log[:, 1 + len(words) :])

    def shares(self, start_s: float, end_s: float) -> Floats:
        """Return the share of intervals in which a page of each set was accessed."""
        at = [start_s, end_s]
        seen_s = np.array([np.diff(np.interp(at, self.time_s, sums))[0] for sums in self.seen_s.T])
        passed_s = np.diff(np.clip(at, self.time_s[0], self.time_s[-1]))[0]
        return seen_s / passed_s if passed_s > 0 else np.full(len(self.words), np.nan)

    def touched(self, start_s: float, end_s: float) -> Floats:
        """Return the share of the pages of each set that were accessed at least once."""
        rows = np.searchsorted(self.time_s, [start_s, end_s], side="right") - 1
        counts = np.diff(self.accesses[np.maximum(rows, 0)], axis=0)[0]
        shares = np.zeros(len(self.words))
        for index, word in enumerate(self.words):
            kind, *numbers = word.split(":")
            if kind in ("random", "mixed"):
                part = float(numbers[0]) if kind == "mixed" else 1.0
                shares[index] = -np.expm1(-counts[index]) / part
            else:
                # A scan comes to the pages one after the other, others to all at once.
                shares[index] = min(1.0, counts[index])
        return shares


@dataclass(frozen=True, slots=True)
class RateWorkload:
    """A program of sets of pages that are accessed at known rates."""

    pid: int
    words: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    """Where each set is: start and end in bytes."""
    interval_ns: int
    _log: Floats

    @property
    def wanted(self) -> Floats:
        """The share of intervals with an access that each set is meant to have."""
        return np.array([wanted_share(word, self.interval_ns / 1e9) for word in self.words])

    def truth(self) -> RateTruth:
        """Return what is counted so far, of the last five minutes."""
        return RateTruth.of(self.words, self._log)

    def counters(self) -> Floats:
        """Return the last counts; the difference of two such arrays goes to `shares`."""
        number = int(self._log[0, 0])
        return np.array(self._log[1 + (number - 1) % (len(self._log) - 1)])

    def shares(self, before: Floats, after: Floats) -> Floats:
        """Return the share of intervals with an access in each set, between two moments."""
        passed_s, *counts = after - before
        shares: Floats = np.array(counts[: len(self.words)]) / passed_s
        return shares


@contextmanager
def running_rates(
    words: Sequence[str], mib: int = 16, interval_ms: float = 5.0
) -> Iterator[RateWorkload]:
    """Run a program with such sets of *mib* MiB each, to the end of the `with` block.

    Raises `TargetError` if it does not start.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "truth"
        # What is never written takes no space.
        log = np.memmap(path, np.float64, "w+", shape=(1 + LOG_ROWS, 1 + 2 * len(words)))
        process = subprocess.Popen(
            [sys.executable, str(_RUNNER), str(path), str(interval_ms), str(mib), *words],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise TargetError("the workload of known rates did not start")
            start, size = int(line), mib << 20
            yield RateWorkload(
                process.pid,
                tuple(words),
                tuple((start + n * size, start + (n + 1) * size) for n in range(len(words))),
                int(interval_ms * 1e6),
                log,
            )
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
