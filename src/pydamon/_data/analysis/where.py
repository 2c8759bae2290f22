"""Parts of a recording: the regions that a filter holds for, and slices that must have some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import Outline, classes_of
from pydamon._data.analysis.query import Query, measured_rates, parse
from pydamon._data.analysis.temperature import temperature
from pydamon._data.recording import DerivedFile, Recording, RecordingFile
from pydamon._model.classify import UNKNOWN
from pydamon._model.display import printable
from pydamon._model.errors import RecordingError
from pydamon._model.passed import KINDS
from pydamon._model.shares import rates_hz
from pydamon._model.units import format_duration

__all__ = ["RegionColumns", "never_empty", "where"]

_R = TypeVar("_R", Recording, RecordingFile)
_MAX_SHOWN = 10
_NEVER_NS = 2**63 - 1


def where(recording: _R, query: str) -> _R:
    """Keep the regions for which a filter holds; all snapshots stay, even without regions.

    Parameters
    ----------
    recording
        A recording in memory or a file; the result is of the same kind.
    query
        The filter: see `parse`.

    Returns
    -------
    Recording or RecordingFile
        The recording with these regions only.

    Raises
    ------
    UsageError
        If the filter cannot be read; the hint points at the place.
    RecordingError
        If the filter is about ages, and the recording has none.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("2s"))
    >>> hot = pydamon.analysis.where(recording, "rate > 50%")
    >>> len(hot) == len(recording)
    True
    >>> bool(hot.column("end")[-1] <= 64 << 20)
    True
    """
    parsed = parse(query)
    if isinstance(recording, Recording):
        return recording.pick(parsed.mask(RegionColumns(recording)))
    return _Filtered(recording, parsed)


class _Filtered(DerivedFile):
    """The regions of a file for which a filter holds."""

    def __init__(self, source: RecordingFile, query: Query) -> None:
        super().__init__(source)
        self._query = query

    def read(self) -> Recording:
        return where(self._source.read(), self._query.text)

    def __iter__(self) -> Iterator[Recording]:
        began_ns = self._source.began_ns
        for chunk in super().__iter__():
            yield chunk.pick(self._query.mask(RegionColumns(chunk, began_ns)))


class RegionColumns:
    """The columns of a recording by which regions are filtered, sorted and counted.

    Parameters
    ----------
    recording
        The recording, or a chunk of it.
    began_ns
        The Unix time that the field `time` counts from: by default the first snapshot's start.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("1s"))
    >>> columns = pydamon.analysis.RegionColumns(recording)
    >>> bool(columns.values("rate").max() > 0.9)
    True
    """

    def __init__(self, recording: Recording, began_ns: int | None = None) -> None:
        self._recording = recording
        if began_ns is None:
            began_ns = int(recording.per_snapshot("start_ns").min(initial=_NEVER_NS))
        self.began_ns = began_ns

    def texts(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """Return a column of texts: indices, and the texts that they point at."""
        return self._recording.codes(name), self._recording.names(name)

    def values(self, name: str) -> NDArray[Any]:
        """Return a column of numbers: shape (rows,).

        Parameters
        ----------
        name
            A field of filters or a column. Sizes are bytes, times ns; `rate` and `access_share`
            are shares from 0 to 1, `hz` (or `rate_hz`) is `access_share` in accesses a second. NaN
            stands where an age, the size in memory or an error is not known.

        Raises
        ------
        RecordingError
            If the field is about ages, and none is known.
        """
        compute = _COMPUTED.get(name)
        return compute(self) if compute else self._recording.column(name)

    def _hz(self) -> NDArray[np.float64]:
        return rates_hz(self._recording.access_share, self._recording.column("sampling_ns"))

    def _age(self) -> NDArray[Any]:
        age_ns = self._recording.column("age_ns")
        if len(age_ns) and (age_ns == UNKNOWN).all():
            raise _no_ages()
        return _with_nan(age_ns)

    def _idle(self) -> NDArray[Any]:
        idle_ns = classes_of(self._recording, with_pages=False).idle_ns
        is_idle = idle_ns != 0
        if is_idle.any() and (idle_ns[is_idle] == UNKNOWN).all():
            raise _no_ages()
        return _with_nan(idle_ns)

    def _temperature(self) -> NDArray[np.float64]:
        return temperature(self._recording.access_share, self._age(), self._size())

    def _size(self) -> NDArray[Any]:
        size: NDArray[np.int64] = self._recording.column("end") - self._recording.column("start")
        return size

    def _resident(self) -> NDArray[Any]:
        return _with_nan(self._recording.column("resident_bytes"))

    def _passed(self, kind: str) -> NDArray[Any]:
        size_bytes = self._recording.passed(kind).of(kind)
        if len(size_bytes) and (size_bytes == UNKNOWN).all():
            raise RecordingError(
                f"the recording does not tell how much of a region is {kind}",
                hint=f"record with --passed {kind}",
            )
        return _with_nan(size_bytes)

    def _time(self) -> NDArray[np.int64]:
        time_ns: NDArray[np.int64] = self._recording.column("start_ns") - self.began_ns
        return time_ns


_COMPUTED: dict[str, Callable[[RegionColumns], NDArray[Any]]] = {
    "rate": lambda columns: columns._recording.access_share,
    "hz": RegionColumns._hz,
    "rate_hz": RegionColumns._hz,
    "accesses": lambda columns: measured_rates(columns).accesses,
    "access_share": lambda columns: columns._recording.access_share,
    "age": RegionColumns._age,
    "idle": RegionColumns._idle,
    "temperature": RegionColumns._temperature,
    "size": RegionColumns._size,
    "touched": lambda columns: columns.values("touched_bytes"),
    "unobservable": lambda columns: columns.values("unobservable_bytes"),
    "unseen": lambda columns: columns.values("unseen_bytes"),
    "resident": RegionColumns._resident,
    "time": RegionColumns._time,
    **{kind: partial(RegionColumns._passed, kind=kind) for kind in KINDS},
}
"""The fields of filters that are not columns of the recording."""


def _with_nan(values: NDArray[np.int64]) -> NDArray[Any]:
    """The column with NaN for unknown values; the column itself if there are none."""
    unknown = values == UNKNOWN
    return np.where(unknown, np.nan, values) if unknown.any() else values


def _no_ages() -> RecordingError:
    return RecordingError(
        "ages are not in the recording",
        hint="it comes from a tool that does not write for how long access rates have held",
    )


def never_empty(part: RecordingFile, whole: RecordingFile) -> RecordingFile:
    """The same part; reading it raises `RecordingError` if it has no regions.

    The error describes the *whole*.
    """
    return _NeverEmpty(part, whole)


class _NeverEmpty(DerivedFile):
    def __init__(self, part: RecordingFile, whole: RecordingFile) -> None:
        super().__init__(part)
        self._whole = whole

    def __iter__(self) -> Iterator[Recording]:
        is_empty = True
        for chunk in super().__iter__():
            is_empty = is_empty and not len(chunk.table)
            yield chunk
        if is_empty:
            raise RecordingError(
                f"nothing of {self.path} is in that part", hint=_content_of(self._whole)
            )


def _content_of(file: RecordingFile) -> str:
    """How much a recording has, and of which addresses, processes and hosts, for people."""
    outline, hosts = Outline(file), dict[str, None]()
    low, high = _NEVER_NS, 0
    snapshots = 0
    for chunk in file.sorted():  # which has whole snapshots
        outline.add(chunk)
        snapshots += len(chunk)
        hosts |= dict.fromkeys(chunk.hosts)
        low = min(low, int(chunk.column("start").min(initial=low)))
        high = max(high, int(chunk.column("end").max(initial=0)))
    if not outline.targets:
        return "the recording has no snapshots"
    pids = _some(dict.fromkeys(str(target.pid) for target in outline.targets))
    names = _some(printable(host) for host in hosts if host)
    return (
        f"the recording is {format_duration(outline.duration_ns)} long and has {snapshots} "
        f"snapshots, of addresses {low:x}-{high:x} and pid {pids}"
        + (f", of host {names}" if names else "")
    )


def _some(words: Iterable[str]) -> str:
    every = list(words)
    return ", ".join(every[:_MAX_SHOWN]) + (", ..." if len(every) > _MAX_SHOWN else "")
