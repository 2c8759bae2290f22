"""What a workload really accessed, and when: what every other tool is measured against."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError
from pydamon._model.regions import PAGE_SIZE
from pydamon._workloads.masim import Config, Pattern

__all__ = ["GroundTruth", "PageTruth", "PhaseRun"]

_PATIENCE_S = 5.0


@dataclass(slots=True)
class PhaseRun:
    """One time that a phase ran, from `start_ns` (monotonic) to `end_ns` (`None`: still runs).

    `at_ns` and `touched` are its course: how many accesses each pattern had made by then.
    """

    number: int
    start_ns: int
    end_ns: int | None
    at_ns: list[int]
    touched: list[list[int]]

    def made(self, at_ns: int) -> NDArray[np.float64]:
        """How many accesses each pattern had made at a time."""
        course = np.array(self.touched, np.float64).reshape(len(self.at_ns), -1)
        columns = [np.interp(at_ns, self.at_ns, column) for column in course.T]
        return np.array(columns, np.float64)


@dataclass(frozen=True, slots=True)
class PageTruth:
    """What was accessed of one region in a window, one entry for each of its pages.

    `chance` is the probability that the page was accessed: 0 or 1 where that is certain, and
    something between only where places were drawn at random. `rate_hz` is how often it was.
    """

    region: str
    start: int
    chance: NDArray[np.float64]
    rate_hz: NDArray[np.float64]

    @property
    def end(self) -> int:
        return self.start + len(self.chance) * PAGE_SIZE

    @property
    def accessed_bytes(self) -> float:
        """The working set: bytes of the pages that were accessed (its expectation)."""
        return float(self.chance.sum()) * PAGE_SIZE


class GroundTruth:
    """Reads what a running workload writes about itself.

    `regions` has the address and the end of each region by name, `phases` every phase so far.
    *ended* tells whether it will write no more.
    """

    def __init__(self, config: Config, path: Path, ended: Callable[[], bool]) -> None:
        self._config = config
        self._path = path
        self._ended = ended
        self._read_to = 0
        self._regions: dict[str, tuple[int, int]] = {}
        self._phases: list[PhaseRun] = []

    @property
    def regions(self) -> dict[str, tuple[int, int]]:
        """Start and end (bytes) of each region."""
        self._refresh()
        return dict(self._regions)

    @property
    def phases(self) -> Sequence[PhaseRun]:
        """Every phase that has started, in order."""
        self._refresh()
        return tuple(self._phases)

    def phase_at(self, at_ns: int) -> PhaseRun | None:
        """The phase that ran at a time (monotonic ns)."""
        for run in reversed(self.phases):
            if run.start_ns <= at_ns:
                return run if run.end_ns is None or at_ns < run.end_ns else None
        return None

    def accesses(self, start_ns: int, end_ns: int) -> int:
        """How many accesses were made in a window."""
        self._wait_for(end_ns)
        return round(
            sum(float((run.made(end_ns) - run.made(start_ns)).sum()) for run in self._phases)
        )

    def pages(self, start_ns: int, end_ns: int) -> list[PageTruth]:
        """What was accessed between two times (monotonic ns), region by region.

        Waits until the workload has said so. Raises `TargetError` if it does not.
        """
        self._wait_for(end_ns)
        return [self._region(name, start_ns, end_ns) for name in self._regions]

    def _region(self, name: str, start_ns: int, end_ns: int) -> PageTruth:
        start, end = self._regions[name]
        first, pages = start // PAGE_SIZE, -(-end // PAGE_SIZE) - start // PAGE_SIZE
        missed, rate = np.ones(pages), np.zeros(pages)
        for run in self._phases:
            if run.start_ns >= end_ns or (run.end_ns or end_ns) <= start_ns:
                continue
            patterns = self._config.phases[run.number].patterns
            begin, stop = run.made(start_ns), run.made(end_ns)
            for pattern, low, high in zip(patterns, begin, stop, strict=True):
                if pattern.region == name and high > low:
                    chance, times = _touched(pattern, end - start, float(low), float(high))
                    missed *= 1 - chance
                    rate += times * (1e9 / (end_ns - start_ns))
        return PageTruth(name, first * PAGE_SIZE, 1 - missed, rate)

    def _wait_for(self, end_ns: int) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            ended = self._ended()  # before what it said last is read
            self._refresh()
            last = self._phases[-1] if self._phases else None
            if last and (last.at_ns and last.at_ns[-1] >= end_ns):
                return
            if ended or time.monotonic() > deadline_s:
                raise TargetError("the workload does not say any more what it does: has it ended?")
            time.sleep(0.02)

    def _refresh(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            facts = json.loads(line)
            if "regions" in facts:
                self._regions = {
                    name: (low, high) for name, (low, high) in facts["regions"].items()
                }
            elif "phase" in facts:
                if self._phases:
                    self._phases[-1].end_ns = facts["now_ns"]
                self._phases.append(PhaseRun(facts["phase"], facts["now_ns"], None, [], []))
            else:
                self._phases[-1].at_ns.append(facts["now_ns"])
                self._phases[-1].touched.append(facts["touched"])


def _touched(
    pattern: Pattern, size_bytes: int, low: float, high: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each page the chance that the accesses number *low* to *high* of a pattern met it.

    And how many of them did, in the mean.
    """
    pages = -(-size_bytes // PAGE_SIZE)
    if pattern.random:
        each = (high - low) / pages
        return np.full(pages, -np.expm1(-each)), np.full(pages, each)
    stride = pattern.stride
    places = -(-size_bytes // stride)
    passes = (high - low) / places
    chance, times = np.zeros(pages), np.zeros(pages)
    a_page = max(1, PAGE_SIZE // stride)
    everywhere = _pages_of(0, places, stride)
    times[everywhere] = passes * a_page
    if passes >= 1:
        chance[everywhere] = 1
        return chance, times
    first, last = int(low) % places, int(low) % places + int(np.ceil(high - int(low)))
    chance[_pages_of(first, min(last, places), stride)] = 1
    if last > places:
        chance[_pages_of(0, last - places, stride)] = 1
    return chance, times


def _pages_of(first: int, last: int, stride: int) -> slice | NDArray[np.int64]:
    """The pages that hold the places *first* to *last*."""
    if stride <= PAGE_SIZE:
        return slice(first * stride // PAGE_SIZE, -(-((last - 1) * stride + 1) // PAGE_SIZE))
    pages: NDArray[np.int64] = np.arange(first, last, dtype=np.int64) * stride // PAGE_SIZE
    return pages
