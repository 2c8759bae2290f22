"""Working sets over any time: the memory that was accessed within the last second, say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import fold
from pydamon._data.analysis.pages_within import PagesWithin, looks_within
from pydamon._data.analysis.series import Amount, Amounts, TimeSeriesFold, unseen_bytes
from pydamon._data.analysis.touched import TouchedWindow, WindowHistory
from pydamon._data.analysis.working_set import PERCENTILES, WorkingSet
from pydamon._data.recording import AnyRecording, Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.classify import RegionClasses
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError

__all__ = ["WorkingSetsWithin", "working_sets_within"]


@dataclass(frozen=True)
class WorkingSetsWithin(Displayable):
    """The working sets within some times: see `working_sets_within`.

    Attributes
    ----------
    times_ns : tuple of int
        The times, the shortest first.
    working_sets : tuple of WorkingSet
        For each time, the memory that was accessed within it, at the end of each snapshot.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> within = pydamon.analysis.working_sets_within(recording, [10**9, 10**8])
    >>> within.times_ns
    (100000000, 1000000000)
    """

    times_ns: tuple[int, ...]
    working_sets: tuple[WorkingSet, ...]


def working_sets_within(
    recording: AnyRecording,
    times_ns: Sequence[int],
    percentiles: Sequence[float] = PERCENTILES,
) -> WorkingSetsWithin:
    """Compute how much memory was accessed within times of any length.

    At the end of each snapshot, that is the memory accessed within the last *time*: a figure for
    each time, which never is smaller than that of a shorter time.

    Parameters
    ----------
    recording
        The recording.
    times_ns
        The times in ns.
    percentiles
        Percentages from 0 to 100.

    Returns
    -------
    WorkingSetsWithin
        The working sets of each time, the shortest first.

    Raises
    ------
    UsageError
        If a time is not longer than 0, or a percentage is not between 0 and 100.

    Notes
    -----
    A window tells how much of each region was touched, but not which pages. Where the windows
    within a time touched a region in part, they may have touched the same pages or others. So the
    figure counts, for each piece of address space, the largest share that one of the windows
    touched. It is a lower bound where windows touch different pages of a region whose parts
    cannot be told apart; regions that are touched as a whole, or not at all, are counted exactly.
    Where a window counts too much as touched, that stays in the figure for as long as the time.

    Of a window that began before the time did, the part behind is estimated: by the shares of each
    region that are accessed within 4, 8, ..., 256 sampling intervals (`Snapshot.accessed_within`),
    and interpolated in between. Where these are not known, `access_share` tells what accesses at
    random would reach: in a share p of the intervals, 1 - (1 - p)^n of the pages within n
    intervals. It counts at most what was touched in that window.

    Where pages were looked at, and a time is no shorter than the time between the last looks, the
    figure counts pages: all those whose age is below that time. It holds until the next look.

    Until a time has passed since the first snapshot, its figure covers only what was recorded.
    Where a recording has the regions of a target at some times only, as with a filter, other times
    count as without accesses.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> first, second = Access(0, 64 << 20), Access(128 << 20, 192 << 20)
    >>> trace = Trace((Phase(10**9, (first,)), Phase(10**9, (second,))))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("4s"))
    >>> within = pydamon.analysis.working_sets_within(recording, [10**8, 4 * 10**9])
    >>> short, long = (each.total.size_bytes[-1] for each in within.working_sets)
    >>> pydamon.format_size(short), bool(long >= 128 << 20)
    ('64 MiB', True)
    """
    if not times_ns or min(times_ns) <= 0:
        raise UsageError("a time to look back must be longer than 0")
    if not all(0 <= percentile <= 100 for percentile in percentiles):
        raise UsageError("a percentile is a number from 0 to 100")
    times = sorted(set(times_ns))
    series_fold = TimeSeriesFold(*_Within(times).amounts, unseen_bytes)
    fold(recording if isinstance(recording, Recording) else recording.sorted(), series_fold)
    series = list(series_fold.series())
    return WorkingSetsWithin(
        tuple(times),
        tuple(
            WorkingSet._of(series, percentiles, place, unseen=len(times))
            for place in range(len(times))
        ),
    )


class _Within:
    """The bytes accessed within some rising times, chunk by chunk in the order of time."""

    def __init__(self, times_ns: list[int]) -> None:
        self._times_ns = times_ns
        self._numbers = TargetNumbers()
        self._histories: dict[int, WindowHistory] = {}
        self._pages: dict[int, PagesWithin] = {}
        self._bytes = np.zeros((len(times_ns), 0, 2), np.int64)

    @property
    def amounts(self) -> list[Amount]:
        """The bytes within each time; the first has to be asked first of each chunk."""
        return [partial(self._amount, place) for place in range(len(self._times_ns))]

    def _amount(self, place: int, recording: Recording, classes: RegionClasses) -> Amounts:
        if place == 0:
            self._bytes = self._add(recording, classes)
        return self._bytes[place, :, 0], self._bytes[place, :, 1]

    def _add(self, recording: Recording, classes: RegionClasses) -> NDArray[np.int64]:
        """The bytes within each time, by target of each snapshot: of itself, and for sums."""
        start, end = recording.column("start"), recording.column("end")
        accessed = np.stack([classes.accessed, classes.once().accessed], axis=1)
        touched = accessed / (end - start)[:, None]
        shares, within = recording.access_share, recording.accessed_within
        offsets = recording.target_offsets.tolist()
        facts = ("start_ns", "end_ns", "sampling_ns")
        windows = np.stack([recording.per_target(name) for name in facts], axis=1).tolist()
        numbers = self._numbers.per_target(recording).tolist()
        looks = looks_within(recording)
        amounts = np.zeros((len(self._times_ns), len(numbers), 2))
        for index, number in enumerate(numbers):
            rows = slice(offsets[index], offsets[index + 1])
            if number not in self._histories:
                self._histories[number] = WindowHistory(self._times_ns[-1], 2)
            history = self._histories[number]
            columns = (start[rows], end[rows], touched[rows], shares[rows], within[rows])
            start_ns, end_ns, sampling_ns = windows[index]
            history.add(TouchedWindow(start_ns, end_ns, sampling_ns, *columns))
            amounts[:, index] = list(history.within(self._times_ns))
            if (look := looks.get(index)) is not None:
                if number not in self._pages:
                    self._pages[number] = PagesWithin(self._times_ns)
                self._pages[number].add(look)
            if number in self._pages:
                self._pages[number].put_into(amounts[:, index], end_ns)
        return np.rint(amounts).astype(np.int64)
