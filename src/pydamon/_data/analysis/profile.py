"""When memory was as a filter says, and which functions ran in those times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold_some
from pydamon._data.analysis.heat import SURVEY_WINDOWS
from pydamon._data.analysis.working_set import TimeSeriesFold, sizes
from pydamon._data.recording import CpuSample, Recorded
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError

__all__ = ["FunctionShare", "Profile", "Times", "profile", "times"]


@dataclass(frozen=True)
class Times(Displayable):
    """Stretches of time: `start_ns` and `end_ns` are Unix time, shape (stretches,).

    `mean_bytes` is how much memory there was in each of them. The recording went from `begin_ns` to
    `last_ns`.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    mean_bytes: NDArray[np.float64]
    begin_ns: int
    last_ns: int

    @property
    def total_ns(self) -> int:
        """How long all of them together took."""
        return int((self.end_ns - self.start_ns).sum())

    def inside(self, time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some times (Unix time) are in one of them: shape (times,)."""
        place = np.searchsorted(self.start_ns, time_ns, side="right") - 1
        found: NDArray[np.bool_] = (place >= 0) & (time_ns < np.append(self.end_ns, 0)[place])
        return found


def times(recording: Recorded, least_bytes: int = 1) -> Times:
    """When a recording, most often one that `where` has filtered, had so many bytes of regions.

    Snapshots that follow one another are one stretch, with the surveys between them. Raises
    `RecordingError` where there are no snapshots.
    """
    courses = TimeSeriesFold(sizes)
    outline = fold_some(recording, courses)
    every = next(courses.series())
    (size_bytes,) = every.amounts
    held = size_bytes >= max(1, least_bytes)
    window_ns = np.maximum(every.end_ns - every.start_ns, 1)
    follows = np.zeros(len(held), np.bool_)
    follows[1:] = every.start_ns[1:] - every.end_ns[:-1] <= SURVEY_WINDOWS * window_ns[1:]
    follows[1:] &= held[:-1]
    first = np.flatnonzero(held & ~follows)
    last = np.flatnonzero(held & ~np.append(held[1:] & follows[1:], False))
    weight = np.append(0, np.cumsum(np.where(held, window_ns, 0)))
    amount = np.append(0, np.cumsum(np.where(held, size_bytes * window_ns.astype(np.float64), 0)))
    mean = (amount[last + 1] - amount[first]) / np.maximum(weight[last + 1] - weight[first], 1)
    return Times(
        every.start_ns[first],
        every.end_ns[last],
        mean,
        outline.begin_ns,
        outline.end_ns,
    )


_PIECE = 2**16


@dataclass(frozen=True, slots=True)
class FunctionShare:
    """A function and its file; its share (0 to 1) of the samples inside the times, and outside."""

    function: str
    file: str
    inside: float
    outside: float


@dataclass(frozen=True)
class Profile(Displayable):
    """Functions from the largest share inside the times to the smallest, and how many samples."""

    functions: tuple[FunctionShare, ...]
    samples_inside: int
    samples_outside: int


def profile(times: Times, samples: Iterable[CpuSample]) -> Profile:
    """Tell the samples in some times of a recording from those in the rest of it.

    Raises `RecordingError` where none were taken while the recording was made.
    """
    inside: Counter[tuple[str, str]] = Counter()
    outside: Counter[tuple[str, str]] = Counter()
    taken = iter(samples)
    while piece := list(islice(taken, _PIECE)):
        time_ns = np.array([one.time_ns for one in piece], np.int64)
        recorded = (time_ns >= times.begin_ns) & (time_ns < times.last_ns)
        for one, mine, ours in zip(
            piece, times.inside(time_ns).tolist(), recorded.tolist(), strict=True
        ):
            if ours:
                (inside if mine else outside)[one.function, one.file] += 1
    within, without = inside.total(), outside.total()
    if not within + without:
        raise RecordingError(
            "no function was sampled while the recording was made",
            hint="sample in Unix time: perf record -e cpu-clock -k realtime -p PID -o cpu.data",
        )
    found = [
        FunctionShare(*key, inside[key] / max(within, 1), outside[key] / max(without, 1))
        for key in inside.keys() | outside.keys()
    ]
    found.sort(key=lambda one: (-one.inside, -one.outside, one.function, one.file))
    return Profile(tuple(found), within, without)
