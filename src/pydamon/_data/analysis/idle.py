"""Idle memory: bytes that have not been accessed for some time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import (
    LatestSnapshots,
    classes_of,
    fold_with_outline,
    region_weights,
)
from pydamon._data.recording import AnyRecording, Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError

__all__ = ["IDLE_AGES_NS", "Idle", "idle"]

IDLE_AGES_NS = tuple(s * 10**9 for s in (0, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 86400))
"""0 s, then ages up to a day."""


@dataclass(frozen=True)
class Idle(Displayable):
    """Memory that has not been accessed for some time: see `idle`.

    Memory that targets share counts once.

    Attributes
    ----------
    ages_ns : ndarray, shape (ages,)
        The ages, from the shortest to the longest.
    last_bytes : ndarray, shape (ages,)
        Bytes that had not been accessed for each age or longer, in the last snapshot: reclaiming
        memory of that age would free so much then.
    mean_bytes : ndarray, shape (ages,)
        The mean over the recording: a policy that always reclaims memory of that age would keep so
        much free, if none of it were accessed again.
    total_bytes : int
        All resident memory in the last snapshot.
    mean_total_bytes : float
        The mean of that over the recording.
    longest_ns : int
        The longest idle time in the recording.
    unseen_bytes, undated_bytes, assumed_bytes : int
        Of the last snapshot: bytes that no probe had looked at yet, cold bytes whose idle time is
        unknown, and the part of `total_bytes` that may not have been resident.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> idle = pydamon.analysis.idle(recording, (0, 10**9))
    >>> bool(idle.last_bytes[0] >= idle.last_bytes[1])
    True
    """

    ages_ns: NDArray[np.int64]
    last_bytes: NDArray[np.int64]
    mean_bytes: NDArray[np.float64]
    total_bytes: int
    mean_total_bytes: float
    longest_ns: int
    unseen_bytes: int = 0
    undated_bytes: int = 0
    assumed_bytes: int = 0


def idle(recording: AnyRecording, ages_ns: tuple[int, ...] = IDLE_AGES_NS) -> Idle:
    """Compute how much memory has not been accessed for how long.

    Unobservable memory, and memory that no probe has looked at yet, is not idle.

    Parameters
    ----------
    recording
        The recording.
    ages_ns
        For how long memory must not have been accessed: several ages. For 0, all cold memory
        counts.

    Returns
    -------
    Idle
        The bytes for each age.

    Raises
    ------
    UsageError
        If an age is negative.
    RecordingError
        If there are no snapshots.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("3s"))
    >>> idle = pydamon.analysis.idle(recording, (0, 10**9))
    >>> pydamon.format_size(idle.last_bytes[0])
    '192 MiB'
    """
    if any(age < 0 for age in ages_ns):
        raise UsageError("an age is not negative")
    ages = np.array(sorted(set(ages_ns)), np.int64)
    every, latest = _IdleSums(ages), LatestSnapshots(2, recording)
    outline = fold_with_outline(recording, every, latest)
    last = _IdleSums(ages, weighted=False)
    last.add(latest.recording(latest.last_whole))
    return Idle(
        ages,
        last.at_least().round().astype(np.int64),
        every.at_least() / outline.recorded_ns,
        int(last.sums["total"]),
        every.sums["total"] / outline.recorded_ns,
        every.longest_ns,
        int(last.sums["unseen"]),
        int(last.sums["undated"]),
        int(last.sums["assumed"]),
    )


class _IdleSums:
    """Sums of bytes by idle time: times ns if they are *weighted*."""

    def __init__(self, ages_ns: NDArray[np.int64], *, weighted: bool = True) -> None:
        self._ages_ns = ages_ns
        self._weighted = weighted
        self._numbers = TargetNumbers()
        self._reached = np.zeros(len(ages_ns) + 1)
        """Cold bytes by how many of the ages they have reached."""
        self.sums = dict.fromkeys(("total", "unseen", "assumed", "undated"), 0.0)
        self.longest_ns = 0

    def add(self, chunk: Recording) -> None:
        self._numbers.per_target(chunk)
        classes = classes_of(chunk).over(len(self._numbers))
        weight = region_weights(chunk) if self._weighted else 1.0
        for name in self.sums:
            self.sums[name] += float((getattr(classes, name) * weight).sum())
        parts = classes.cold_parts(self._ages_ns)
        amount = parts.size_bytes * np.broadcast_to(weight, len(classes.cold))[parts.region]
        self._reached += np.bincount(parts.reached, amount, len(self._reached))
        longest_ns = int(classes.idle_ns[classes.cold > 0].max(initial=0))
        self.longest_ns = max(self.longest_ns, longest_ns)

    def at_least(self) -> NDArray[np.float64]:
        """Bytes that have been idle for each of the ages or longer: shape (ages,)."""
        at_least: NDArray[np.float64] = self._reached[:0:-1].cumsum()[::-1]
        return at_least
