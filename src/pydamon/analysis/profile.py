"""Which functions ran while memory was as a filter says, and which ran otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from pydamon.analysis.times import Times
from pydamon.core.errors import RecordingError
from pydamon.recording import CpuSample

__all__ = ["FunctionShare", "Profile", "profile"]

_PIECE = 2**16


@dataclass(frozen=True, slots=True)
class FunctionShare:
    """A function and its file; its share (0 to 1) of the samples inside the times, and outside."""

    function: str
    file: str
    inside: float
    outside: float


@dataclass(frozen=True)
class Profile:
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
