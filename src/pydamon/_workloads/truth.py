"""The ground truth of a workload: its accesses and their times."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import TargetError
from pydamon._model.regions import PAGE_SIZE
from pydamon._workloads.masim import Config, Pattern
from pydamon._workloads.runner import scattered

__all__ = ["GroundTruth", "PageTruth", "PhaseRun"]

_PATIENCE_S = 5.0


@dataclass(slots=True)
class PhaseRun:
    """A run of a phase.

    Attributes
    ----------
    number
        The index of the phase in the configuration.
    start_ns, end_ns
        When it ran (monotonic ns); `end_ns` is `None` while it runs.
    at_ns, touched
        The numbers of accesses that each pattern had made at some times.
    """

    number: int
    start_ns: int
    end_ns: int | None
    at_ns: list[int]
    touched: list[list[int]]

    def made(self, at_ns: int) -> NDArray[np.float64]:
        """Return how many accesses each pattern had made at a time (monotonic ns)."""
        counts = np.array(self.touched, np.float64).reshape(len(self.at_ns), -1)
        columns = [np.interp(at_ns, self.at_ns, column) for column in counts.T]
        return np.array(columns, np.float64)


@dataclass(frozen=True, slots=True)
class PageTruth:
    """The true accesses to the pages of a region in a window.

    Attributes
    ----------
    region
        The name of the region.
    start
        Its start address.
    chance
        The probability that each page was accessed: 0 or 1 for sequential accesses, and between
        them for random accesses.
    rate_hz
        The accesses a second to each page.

    Examples
    --------
    >>> import numpy as np
    >>> from pydamon.workloads import PageTruth
    >>> page_truth = PageTruth("heap", 0x1000, np.array([1.0, 0.5]), np.array([100.0, 1.0]))
    >>> page_truth.accessed_bytes
    6144.0
    """

    region: str
    start: int
    chance: NDArray[np.float64]
    rate_hz: NDArray[np.float64]

    @property
    def end(self) -> int:
        """The address after the last page."""
        return self.start + len(self.chance) * PAGE_SIZE

    @property
    def accessed_bytes(self) -> float:
        """The expected working set, in bytes."""
        return float(self.chance.sum()) * PAGE_SIZE


class GroundTruth:
    """The accesses of a running workload, from the file that it writes.

    Parameters
    ----------
    config
        The configuration of the workload.
    path
        The file that the workload writes.
    ended
        Returns whether the workload has exited.
    """

    def __init__(self, config: Config, path: Path, ended: Callable[[], bool]) -> None:
        self._config = config
        self._path = path
        self._ended = ended
        self._read_to = 0
        self._regions: dict[str, tuple[int, int]] = {}
        self._phases: list[PhaseRun] = []

    @property
    def ended(self) -> bool:
        """Whether the workload has exited."""
        return self._ended()

    @property
    def regions(self) -> dict[str, tuple[int, int]]:
        """Start and end address of each region, by its name."""
        self._refresh()
        return dict(self._regions)

    @property
    def phases(self) -> Sequence[PhaseRun]:
        """The phases that have started, in order."""
        self._refresh()
        return tuple(self._phases)

    def phase_at(self, at_ns: int) -> PhaseRun | None:
        """Return the phase that ran at a time (monotonic ns), if any."""
        for run in reversed(self.phases):
            if run.start_ns <= at_ns:
                return run if run.end_ns is None or at_ns < run.end_ns else None
        return None

    def accesses(self, start_ns: int, end_ns: int) -> int:
        """Return the number of accesses between two times (monotonic ns)."""
        self._wait_for(end_ns)
        return round(
            sum(float((run.made(end_ns) - run.made(start_ns)).sum()) for run in self._phases)
        )

    def pages(self, start_ns: int, end_ns: int) -> list[PageTruth]:
        """Return the accesses to each region between two times (monotonic ns).

        The call waits until the workload has written its accesses up to *end_ns*.

        Raises
        ------
        TargetError
            If the workload has exited before that.
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
            ended = self._ended()  # check before reading, or the last lines could be missed
            self._refresh()
            last = self._phases[-1] if self._phases else None
            if last and (last.at_ns and last.at_ns[-1] >= end_ns):
                return
            if ended or time.monotonic() > deadline_s:
                raise TargetError("the workload has stopped writing its accesses: has it ended?")
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
    """Return the effect of the accesses number *low* to *high* of a pattern on each page.

    The arrays are the chance that a page was accessed, and the mean number of its accesses.
    """
    pages = -(-size_bytes // PAGE_SIZE)
    stride = pattern.step_bytes
    places = -(-size_bytes // stride)
    if pattern.places is not None:
        stride, places = PAGE_SIZE, min(pattern.places, pages)
    passes = (high - low) / places
    chance, times = np.zeros(pages), np.zeros(pages)

    def pages_of(first: int, last: int) -> slice | NDArray[Any]:
        if pattern.places is not None:
            return scattered(pages, places)[first:last]
        return _pages_of(first, last, stride)

    if pattern.random:
        random = pages_of(0, places)
        chance[random], times[random] = -np.expm1(-passes), passes
        return chance, times
    a_page = max(1, PAGE_SIZE // stride)
    everywhere = pages_of(0, places)
    times[everywhere] = passes * a_page
    if passes >= 1:
        chance[everywhere] = 1
        return chance, times
    first, last = int(low) % places, int(low) % places + int(np.ceil(high - int(low)))
    chance[pages_of(first, min(last, places))] = 1
    if last > places:
        chance[pages_of(0, last - places)] = 1
    return chance, times


def _pages_of(first: int, last: int, stride: int) -> slice | NDArray[np.int64]:
    """Return the pages of the places *first* to *last*."""
    if stride <= PAGE_SIZE:
        return slice(first * stride // PAGE_SIZE, -(-((last - 1) * stride + 1) // PAGE_SIZE))
    pages: NDArray[np.int64] = np.arange(first, last, dtype=np.int64) * stride // PAGE_SIZE
    return pages
