"""Recordings with longer snapshots, and without their first ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from pydamon._data.analysis.windows import HELD, TargetWindows, WindowReader, combined, rows_of
from pydamon._data.formats.output import lost_columns
from pydamon._data.recording import DerivedFile, Recording, RecordingFile
from pydamon._data.recording.arrow import concatenate
from pydamon._data.recording.schema import COLUMNS, EXTRA, RecordingInfo
from pydamon._model.errors import UsageError
from pydamon._model.units import format_duration

__all__ = ["aggregate", "skip"]

_LOG = logging.getLogger("pydamon")
_R = TypeVar("_R", Recording, RecordingFile)
_AT_ONCE = 16
"""Windows of a target that are combined at once: the more, the more pieces they are cut into."""
_NEVER_NS = 2**63 - 1


def aggregate(recording: _R, aggregation_ns: int) -> _R:
    """Make snapshots longer: all that lie in the same interval become one.

    Parameters
    ----------
    recording
        A recording in memory or a file; the result is of the same kind.
    aggregation_ns
        The new aggregation interval. Whole snapshots are taken together, so that windows can differ
        from it by the length of one.

    Returns
    -------
    Recording or RecordingFile
        The recording with longer snapshots.

    Raises
    ------
    UsageError
        If the interval is not longer than that of the recording.

    Notes
    -----
    Regions are cut where those of any snapshot begin or end. Access rates of a piece are means over
    the snapshots that have it, weighted by their samples, and so by their time while the sampling
    interval stays the same. Memory in use, resident or not observable is a mean by time. Of each
    piece the largest share counts that a snapshot saw touched, as in `working_sets_within`: a lower
    bound where snapshots touch different pages of a region. Ages are those of the last snapshot;
    they are 0 where the piece was accessed before and is not any more. Costs are sums. Ages and
    kinds of pages, and what only damo's files have (`extra`), are dropped, with a warning. Where
    there are more than four times as many pieces as regions in any snapshot, and more than 4,000,
    the most alike neighbours are joined.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("4s"))
    >>> longer = pydamon.analysis.aggregate(recording, 10**9)
    >>> len(recording) > len(longer) == 4
    True
    >>> pydamon.format_size(longer.snapshot(-1).working_set())
    '64 MiB'
    """
    info = _longer_info(recording.info, aggregation_ns)
    if isinstance(recording, RecordingFile):
        return _Aggregated(recording.sorted(), info)
    began_ns = int(recording.per_snapshot("start_ns").min(initial=_NEVER_NS))
    longer = _LongerSnapshots(info, began_ns)
    tables = [chunk.table for chunk in longer.of([recording])]
    longer.warn()
    table = concatenate(tables) if tables else COLUMNS.empty_table()
    return Recording(info, table, recording.problem, recording.overlap)


def skip(recording: _R, snapshots: int) -> _R:
    """Leave out the first snapshots, in which regions are still being found.

    Parameters
    ----------
    recording
        A recording in memory or a file; the result is of the same kind.
    snapshots
        How many snapshots to leave out.

    Returns
    -------
    Recording or RecordingFile
        The rest of the recording, which may be empty.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> len(pydamon.analysis.skip(recording, 5)) == len(recording) - 5
    True
    """
    if snapshots < 0:
        raise UsageError("the number of snapshots to skip cannot be negative")
    if isinstance(recording, RecordingFile):
        return _Skipped(recording.sorted(), snapshots)
    rest = np.arange(len(recording)) >= snapshots
    return recording if rest.all() else recording.pick_snapshots(rest)


def _longer_info(info: RecordingInfo, aggregation_ns: int) -> RecordingInfo:
    attrs = info.attrs
    if aggregation_ns <= attrs.aggregation_ns:
        raise UsageError(
            f"snapshots cannot become shorter: they are {format_duration(attrs.aggregation_ns)} "
            f"long, and you ask for {format_duration(aggregation_ns)}",
            hint="name a longer interval",
        )
    update_ns = max(attrs.update_ns, aggregation_ns)
    attrs = replace(attrs, aggregation_ns=aggregation_ns, update_ns=update_ns)
    return replace(info, attrs=attrs)


class _Aggregated(DerivedFile):
    def __init__(self, source: RecordingFile, info: RecordingInfo) -> None:
        super().__init__(source)
        self.info = info
        self._warned = False

    def __iter__(self) -> Iterator[Recording]:
        longer = _LongerSnapshots(self.info, self._source.began_ns)
        yield from longer.of(super().__iter__())
        if not self._warned:
            self._warned = True
            longer.warn()


class _Skipped(DerivedFile):
    def __init__(self, source: RecordingFile, snapshots: int) -> None:
        super().__init__(source)
        self._snapshots = snapshots

    def __iter__(self) -> Iterator[Recording]:
        left = self._snapshots
        for chunk in super().__iter__():
            rest = np.arange(len(chunk)) >= left
            left = max(0, left - len(chunk))
            if rest.any():
                yield chunk if rest.all() else chunk.pick_snapshots(rest)


class _LongerSnapshots:
    """The snapshots of one pass over a recording, by the interval that they lie in."""

    def __init__(self, info: RecordingInfo, began_ns: int) -> None:
        self._info = info
        self._began_ns = began_ns
        self._reader = WindowReader()
        self._interval = _Interval()
        self._dropped: dict[str, None] = {}

    def of(self, chunks: Iterable[Recording]) -> Iterator[Recording]:
        """The chunks of the longer recording: one for each chunk in which intervals end."""
        number = -1
        for chunk in chunks:
            self._dropped |= dict.fromkeys(lost_columns(HELD, chunk))
            if EXTRA.name in chunk.table.column_names:
                self._dropped[EXTRA.name] = None
            middle_ns = (chunk.per_snapshot("start_ns") + chunk.per_snapshot("end_ns")) // 2
            numbers = (middle_ns - self._began_ns) // self._info.attrs.aggregation_ns
            done: list[TargetWindows] = []
            snapshots = self._reader.snapshots(chunk)
            for windows, next_number in zip(snapshots, numbers.tolist(), strict=True):
                if next_number != number:
                    done += self._interval.take()
                    number = next_number
                for window in windows:
                    self._interval.add(window)
            if done:
                yield Recording(self._info, rows_of(done, self._reader.words))
        if done := self._interval.take():
            yield Recording(self._info, rows_of(done, self._reader.words))

    def warn(self) -> None:
        """Name the columns that longer snapshots do not have."""
        if self._dropped:
            _LOG.warning("longer snapshots are without %s", ", ".join(self._dropped))


class _Interval:
    """The windows of one interval so far, by target."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, ...], list[TargetWindows]] = {}

    def add(self, window: TargetWindows) -> None:
        windows = self._windows.setdefault(window.key, [])
        windows.append(window)
        if len(windows) == _AT_ONCE:
            windows[:] = [combined(windows)]

    def take(self) -> list[TargetWindows]:
        """Return each target as a single window, in the order of time, and start again."""
        whole = [combined(windows) for windows in self._windows.values()]
        self._windows.clear()
        return sorted(whole, key=lambda window: window.facts["end_ns"])
