"""Workloads whose pages are accessed at known rates, and the truth by counting."""

from __future__ import annotations

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
from pydamon._model.regions import PAGE_SIZE

__all__ = ["RATE_PATTERNS", "RateWorkload", "running_rates"]

_RUNNER = Path(__file__).with_name("rate_runner.py")
_COLUMNS = 4

RATE_PATTERNS: dict[str, tuple[str, ...]] = {
    "poisson": ("idle", "random:2", "random:10", "random:50", "random:200", "random:1000"),
    "periods": (
        *("idle", "period:7", "period:20", "period:50", "period:120", "period:300"),
        *("period:500", "period:900"),
    ),
    "stripes": ("period:1", "idle", "period:4", "idle", "period:20", "idle", "period:80", "idle"),
    "cyclic": ("scan:40", "scan:400", "burst:50:500", "mixed:8:100", "mixed:8:10", "idle"),
}
"""Sets of pages by the way they are accessed; `rate_runner.py` says what the words mean."""


@dataclass(frozen=True, slots=True)
class RateWorkload:
    """A program of sets of pages that are accessed at known rates."""

    pid: int
    words: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    """Where each set is: start and end in bytes."""
    interval_ns: int
    _truth: NDArray[np.float64]

    def counters(self) -> NDArray[np.float64]:
        """What is counted so far; the difference of two such arrays goes to `shares`."""
        return np.array(self._truth)

    def shares(
        self, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The share of intervals in which a page of each set was accessed, between two moments."""
        accesses, passed_s, gaps_s, seen_s = (after - before).T
        pages = (self.ranges[0][1] - self.ranges[0][0]) / PAGE_SIZE
        interval_s = self.interval_ns / 1e9
        shares = np.zeros(len(self.words))
        for row, word in enumerate(self.words):
            kind, *numbers = word.split(":")
            if kind in ("period", "burst"):
                shares[row] = seen_s[row] / gaps_s[row]
            elif kind == "scan":
                shares[row] = accesses[row] / pages / passed_s[row] * interval_s
            elif kind in ("random", "mixed"):
                part = float(numbers[0]) if kind == "mixed" else 1.0
                rate_hz = accesses[row] / (pages / part) / passed_s[row]
                shares[row] = (1 - np.exp(-rate_hz * interval_s)) / part
        return shares


@contextmanager
def running_rates(
    words: Sequence[str], mib: int = 16, interval_ms: float = 5.0
) -> Iterator[RateWorkload]:
    """Run a program with such sets of *mib* MiB each, to the end of the `with` block.

    Raises `TargetError` if it does not start.
    """
    with tempfile.TemporaryDirectory() as directory:
        truth = Path(directory) / "truth"
        process = subprocess.Popen(
            [sys.executable, str(_RUNNER), str(truth), str(interval_ms), str(mib), *words],
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
                np.memmap(truth, np.float64, "r", shape=(len(words), _COLUMNS)),
            )
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
