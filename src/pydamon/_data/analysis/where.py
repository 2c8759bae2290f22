"""The regions of a recording that a filter holds for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.query import Query, parse
from pydamon._data.analysis.temperature import temperature
from pydamon._data.recording import Recording, RecordingFile
from pydamon._data.recording.parts import DerivedFile
from pydamon._model.classify import UNKNOWN
from pydamon._model.errors import RecordingError
from pydamon._model.rates import rates_hz

__all__ = ["RegionColumns", "no_ages", "where", "with_unknown"]

_R = TypeVar("_R", Recording, RecordingFile)


def where(recording: _R, query: str) -> _R:
    """The same recording with only those regions that *query* holds for; see `analysis.query`.

    All snapshots stay, also those in which it holds for nothing. Raises `UsageError`, whose hint
    points at what it cannot read.
    """
    parsed = parse(query)
    if isinstance(recording, Recording):
        return recording.pick(parsed.mask(RegionColumns(recording)))
    return _Filtered(recording, parsed)


class _Filtered(DerivedFile):
    def __init__(self, whole: RecordingFile, query: Query) -> None:
        super().__init__(whole)
        self._query = query

    def read(self) -> Recording:
        return where(self._whole.read(), self._query.text)

    def __iter__(self) -> Iterator[Recording]:
        began_ns = self._whole.began_ns
        for part in super().__iter__():
            yield part.pick(self._query.mask(RegionColumns(part, began_ns)))


class RegionColumns:
    """The columns of a recording by which regions are filtered, sorted and counted.

    *began_ns*, which `time` counts from, is that of the first snapshot unless it is said.
    """

    def __init__(self, recording: Recording, began_ns: int | None = None) -> None:
        self._recording = recording
        self.began_ns = (
            int(recording.of_snapshots("start_ns").min(initial=2**63 - 1))
            if began_ns is None
            else began_ns
        )

    def texts(self, name: str) -> tuple[NDArray[np.int32], list[str]]:
        """The column of a text: indices, and the texts that they point at."""
        return self._recording.codes(name), self._recording.names(name)

    def values(self, name: str) -> NDArray[Any]:
        """The column of a number: shape (rows,); in bytes, ns, Hz, or shares (`rate`: 0 to 1).

        Unknown ages are NaN, as is what goes by them. Raises `RecordingError` where none is known.
        """
        column = self._recording.column
        match name:
            case "rate":
                return column("nr_accesses") / column("max_nr_accesses")
            case "rate_hz":
                names = ("nr_accesses", "max_nr_accesses", "sampling_ns")
                return rates_hz(*map(column, names))
            case "accesses":
                return column("nr_accesses")
            case "age":
                return self._ages(np.ones(len(self._recording.table), np.bool_))
            case "idle":
                return self._ages(column("nr_accesses") == 0)
            case "temperature":
                return temperature(self.values("rate"), self.values("age"), self.values("size"))
            case "size":
                return column("end") - column("start")
            case "touched" | "unobservable" | "unseen":
                return column(f"{name}_bytes")
            case "resident":
                return with_unknown(column("resident_bytes"))
            case "time":
                time_ns: NDArray[np.int64] = column("start_ns") - self.began_ns
                return time_ns
        return column(name)

    def _ages(self, wanted: NDArray[np.bool_]) -> NDArray[Any]:
        """The ages of some regions, and 0 for the others."""
        age_ns = self._recording.column("age_ns")
        if wanted.any() and (age_ns[wanted] == UNKNOWN).all():
            raise no_ages()
        return with_unknown(np.where(wanted, age_ns, 0))


def with_unknown(values: NDArray[np.int64]) -> NDArray[Any]:
    """A column in which NaN is what is unknown; the same where nothing is."""
    unknown = values == UNKNOWN
    return np.where(unknown, np.nan, values) if unknown.any() else values


def no_ages() -> RecordingError:
    """The error that a recording does not say for how long access rates have held."""
    return RecordingError(
        "ages are not in the recording",
        hint="it comes from a tool that does not write for how long access rates have held",
    )
