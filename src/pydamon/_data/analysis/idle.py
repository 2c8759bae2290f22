"""Idle memory: bytes that have not been accessed for some time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.cold_sums import ColdSums, MappingKeys
from pydamon._data.analysis.folding import (
    LatestSnapshots,
    classes_of,
    fold_with_outline,
    region_weights,
)
from pydamon._data.analysis.last_looks import LastLooks
from pydamon._data.recording import AnyRecording, Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.classify import cold_parts, oldest_bucket
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError
from pydamon._model.page_ages import bucket_bounds_ns

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

    Unobservable memory, and memory that no probe has looked at yet, is not idle. Bytes are those of
    pages where the recording has ages of pages, and otherwise those of regions.

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

    Notes
    -----
    Only some windows have ages of pages. In the last snapshot, those of the last look hold if that
    was within a minute or so. For means see `mappings`.

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
    every, latest, looks = _IdleSums(ages), LatestSnapshots(2, recording), LastLooks()
    outline = fold_with_outline(recording, every, latest, looks)
    last = latest.recording(latest.last_whole)
    own = looks.carried_to(last.snapshot(0)).classes if looks else classes_of(last)
    classes = own.over(len(last.targets))
    return Idle(
        ages,
        np.array([classes.idle(age_ns).sum() for age_ns in ages.tolist()], np.int64),
        every.at_least() / outline.recorded_ns,
        int(classes.total.sum()),
        every.total / outline.recorded_ns,
        every.longest_ns(outline.duration_ns),
        int(classes.unseen.sum()),
        int(classes.undated.sum()),
        int(classes.assumed.sum()),
    )


class _IdleSums:
    """Sums of bytes by idle time, times ns."""

    def __init__(self, ages_ns: NDArray[np.int64]) -> None:
        self._ages_ns = ages_ns
        self._numbers = TargetNumbers()
        self._reached = np.zeros(len(ages_ns) + 1)
        """Cold bytes by how many of the ages they have reached, by the ages of regions."""
        self._cold = ColdSums(ages_ns)
        self._longest_ns = 0
        self._oldest_bucket = 0
        self.total = 0.0

    def add(self, chunk: Recording) -> None:
        keys = MappingKeys.of(chunk, self._numbers)
        own = classes_of(chunk)
        once = own.once()
        classes = once if len(self._numbers) > 1 else own
        weight = region_weights(chunk)
        self.total += float((classes.total * weight).sum())
        self._cold.add(keys, weight, own, once)
        longest_ns = int(classes.idle_ns[classes.cold > 0].max(initial=0))
        self._longest_ns = max(self._longest_ns, longest_ns)
        self._oldest_bucket = max(self._oldest_bucket, oldest_bucket(classes))
        if not self._cold.has_pages:
            parts = cold_parts(classes, self._ages_ns)
            amount = parts.size_bytes * weight
            self._reached += np.bincount(parts.reached, amount, len(self._reached))

    def at_least(self) -> NDArray[np.float64]:
        """Bytes that have been idle for each of the ages or longer: shape (ages,)."""
        reached = self._reached
        if self._cold.has_pages:
            reached = self._cold.rows(int(len(self._numbers) > 1)).sum(axis=0)
        at_least: NDArray[np.float64] = reached[:0:-1].cumsum()[::-1]
        return at_least

    def longest_ns(self, duration_ns: int) -> int:
        """The longest idle time in a recording that takes so long.

        Ages of pages are known by bucket: the longest is at most the upper end of the last one.
        """
        if not self._cold.has_pages:
            return self._longest_ns
        lower_ns, upper_ns = bucket_bounds_ns(self._oldest_bucket)
        return max(self._longest_ns, min(upper_ns, max(lower_ns, duration_ns)))
