"""The working set, RSS and VSZ over time, of each target and of all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold, fold_with_outline
from pydamon._data.analysis.series import (
    Amounts,
    TimeSeries,
    TimeSeriesFold,
    sum_per_target,
    touched_bytes,
    unseen_bytes,
)
from pydamon._data.recording import AnyRecording, Recording
from pydamon._model.classify import RegionClasses
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError
from pydamon._model.runs import unique
from pydamon._model.snapshot import Target

__all__ = [
    "PERCENTILES",
    "FootprintSeries",
    "Footprints",
    "WorkingSet",
    "WorkingSetSeries",
    "footprint",
    "percentiles_of",
    "working_set",
]

PERCENTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 100.0)
_USUAL_RATIO = 1.5
"""Windows that differ from the usual length by at most this factor count alike."""
_AT_ONCE = 2**18
"""Snapshots whose percentiles are computed at once."""


@dataclass(frozen=True)
class WorkingSetSeries(Displayable):
    """The working set over time, of one target, or of all together if `target` is `None`.

    Attributes
    ----------
    target : Target or None
        The target.
    end_ns : ndarray, shape (snapshots,)
        When each snapshot of the target ended, in Unix time.
    size_bytes : ndarray, shape (snapshots,)
        The working set in each snapshot.
    percentiles : tuple of (float, int)
        Pairs of a percentage from 0 to 100 and bytes: in so many percent of the snapshots the
        working set was at most as large. Each size is one that was seen.
    unseen_bytes : ndarray, shape (snapshots,)
        Memory that no probe had looked at yet: it may have been accessed or not.
    median : int
        The percentile of 50 %.

    Notes
    -----
    A snapshot whose window is not about as long as most counts by its length. In the first second
    windows grow from short to usual ones: the short ones would outnumber the rest of a short
    recording.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> series = pydamon.analysis.working_set(recording, [0, 100]).total
    >>> [percentage for percentage, size_bytes in series.percentiles]
    [0.0, 100.0]
    >>> series.percentiles[-1] == (100.0, series.most)
    True
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    percentiles: tuple[tuple[float, int], ...]
    unseen_bytes: NDArray[np.int64]
    median: int

    @property
    def most(self) -> int:
        """The largest working set that was seen; 0 if there are no snapshots."""
        return int(self.size_bytes.max(initial=0))


@dataclass(frozen=True)
class WorkingSet(Displayable):
    """The working sets in a recording: see `working_set`.

    Attributes
    ----------
    total : WorkingSetSeries
        The working set of all targets together.
    targets : tuple of WorkingSetSeries
        The working set of each target.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> working_set = pydamon.analysis.working_set(recording)
    >>> len(working_set.targets)
    1
    """

    total: WorkingSetSeries
    targets: tuple[WorkingSetSeries, ...]

    @classmethod
    def _of(
        cls,
        series: Sequence[TimeSeries],
        percentiles: Sequence[float] = PERCENTILES,
        touched: int = 0,
        unseen: int = 1,
    ) -> WorkingSet:
        """The working sets in series: *touched* and *unseen* are the places of their amounts."""
        sizes = percentiles_of(series, [*percentiles, 50], touched)
        total, *targets = (
            WorkingSetSeries(
                each.target,
                each.end_ns,
                each.amounts[touched],
                tuple(zip(map(float, percentiles), marks, strict=False)),
                each.amounts[unseen],
                marks[-1] if marks else 0,
            )
            for each, marks in zip(series, sizes, strict=True)
        )
        return cls(total, tuple(targets))


def working_set(recording: AnyRecording, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
    """Compute the working set over time, and its distribution over the snapshots.

    The working set of a snapshot is the memory that was accessed in its windows. In that of all
    targets together, memory that targets share counts once.

    Parameters
    ----------
    recording
        The recording.
    percentiles
        Percentages from 0 to 100.

    Returns
    -------
    WorkingSet
        The working sets of all together, and of each target.

    Raises
    ------
    UsageError
        If a percentage is not between 0 and 100.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> pydamon.format_size(pydamon.analysis.working_set(recording).total.median)
    '64 MiB'
    """
    if not all(0 <= percentile <= 100 for percentile in percentiles):
        raise UsageError("a percentile is a number from 0 to 100")
    series = TimeSeriesFold(touched_bytes, unseen_bytes)
    fold(recording, series)
    return WorkingSet._of(list(series.series()), percentiles)


def percentiles_of(
    series: Sequence[TimeSeries], percentiles: Sequence[float], amount: int
) -> list[list[int]]:
    """An amount at each percentage, of each target; none if it has no snapshots.

    Targets with the same number of snapshots are computed together: there may be 100,000.
    """
    sizes: list[list[int]] = [[] for _ in series]
    lengths = np.array([len(each.end_ns) for each in series])
    for length in unique(lengths[lengths > 0]).tolist():
        alike = np.flatnonzero(lengths == length).tolist()
        at_once = max(1, _AT_ONCE // length)
        for begin in range(0, len(alike), at_once):
            indices = alike[begin : begin + at_once]
            marks = _percentiles_of([series[index] for index in indices], percentiles, amount)
            for index, values in zip(indices, marks.tolist(), strict=True):
                sizes[index] = values
    return sizes


def _percentiles_of(
    series: Sequence[TimeSeries], percentiles: Sequence[float], amount: int
) -> NDArray[np.int64]:
    """Bytes at each percentage, of series of one length: shape (targets, percentiles)."""
    window_ns = np.maximum(np.stack([each.end_ns - each.start_ns for each in series]), 1)
    weight = window_ns / np.median(window_ns, axis=1, keepdims=True)
    weight[(weight > 1 / _USUAL_RATIO) & (weight < _USUAL_RATIO)] = 1
    sizes = np.stack([each.amounts[amount] for each in series])
    order = np.argsort(sizes, axis=1, kind="stable")
    up_to = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    shares = np.array(percentiles) * up_to[:, -1:] / 100
    places = np.zeros(shares.shape, np.intp)
    for column, share in enumerate(shares.T):
        places[:, column] = (up_to <= share[:, None]).sum(axis=1)
    places = np.take_along_axis(order, np.minimum(places, sizes.shape[1] - 1), axis=1)
    return np.take_along_axis(sizes, places, axis=1)


@dataclass(frozen=True)
class FootprintSeries(Displayable):
    """The footprint over time, of one target, or of all together if `target` is `None`.

    All arrays have one entry for each snapshot of the target. Of all together, memory that is known
    to be shared counts once in `rss_bytes` and `wss_bytes`.

    Attributes
    ----------
    target : Target or None
        The target.
    end_ns : ndarray, shape (snapshots,)
        When each snapshot ended, in Unix time.
    vsz_bytes : ndarray, shape (snapshots,)
        Mapped bytes, as of the last update interval; 0 where they are not known.
    rss_bytes : ndarray, shape (snapshots,)
        Resident bytes, as of the last update interval; 0 where they are not known.
    wss_bytes : ndarray, shape (snapshots,)
        Bytes that were accessed in the snapshot.
    unseen_bytes : ndarray, shape (snapshots,)
        Bytes that no probe had looked at yet.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> total = pydamon.analysis.footprint(recording)[0]
    >>> len(total.wss_bytes) == len(recording)
    True
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    vsz_bytes: NDArray[np.int64]
    rss_bytes: NDArray[np.int64]
    wss_bytes: NDArray[np.int64]
    unseen_bytes: NDArray[np.int64]

    @property
    def known(self) -> bool:
        """Whether VSZ and RSS are known."""
        return bool(self.rss_bytes.any() or self.vsz_bytes.any())


class Footprints(tuple[FootprintSeries, ...], Displayable):
    """The footprint of all targets together, then of each target: see `footprint`.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> [series.target is None for series in pydamon.analysis.footprint(recording)]
    [True, False]
    """

    __slots__ = ()


def footprint(recording: AnyRecording) -> Footprints:
    """Compute how much memory was mapped, resident and accessed over time.

    Parameters
    ----------
    recording
        The recording.

    Returns
    -------
    Footprints
        The footprint of all targets together, then of each target.

    Raises
    ------
    RecordingError
        If there are no snapshots.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> total, process = pydamon.analysis.footprint(recording)
    >>> pydamon.format_size(total.wss_bytes[-1])
    '64 MiB'
    >>> total.known  # a trace has no process that maps memory
    False
    """
    series = TimeSeriesFold(touched_bytes, _vsz_bytes, _rss_bytes, unseen_bytes)
    fold_with_outline(recording, series)
    return Footprints(
        FootprintSeries(each.target, each.end_ns, vsz, rss, wss, unseen)
        for each in series.series()
        for wss, vsz, rss, unseen in [each.amounts]
    )


def _vsz_bytes(recording: Recording, _: RegionClasses) -> Amounts:
    vsz_bytes = recording.per_target("vsz_bytes")
    return vsz_bytes, vsz_bytes


def _rss_bytes(recording: Recording, classes: RegionClasses) -> Amounts:
    rss_bytes = recording.per_target("rss_bytes")
    repeated, _ = sum_per_target(recording, classes.repeated, classes.repeated)
    return rss_bytes, np.maximum(rss_bytes - repeated, 0)
