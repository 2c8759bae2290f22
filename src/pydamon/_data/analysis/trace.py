"""What the kernel's DAMON did: sums of the events of its tracepoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pydamon._data.formats.events import read_events
from pydamon._data.recording.events import events_beside
from pydamon._model.display import Displayable
from pydamon._model.errors import RecordingError
from pydamon._model.runs import Runs

__all__ = ["EventField", "EventSums", "KernelTrace", "trace"]

_SCHEME, _INDEX = "scheme_idx", "_idx"
_ADDRESSES = ("start", "end")
_SIZE = "sz_region"
"""The field that stands for both addresses."""
_NO_SCHEME = -1


@dataclass(frozen=True, slots=True)
class EventField:
    """The values of a field over all events of a kind, in the units that the kernel has."""

    first: int
    last: int
    least: int
    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class EventSums:
    """The events of one tracepoint, of one kdamond, for one scheme.

    Attributes
    ----------
    event : str
        The tracepoint.
    kdamond : int
        The pid of the kernel's thread.
    scheme : int or None
        The number of the scheme, for tracepoints that name one.
    count : int
        How many events there were.
    first_ns, last_ns : int
        Unix time of the first and the last.
    fields : mapping of str to EventField
        The other fields; `sz_region`, the size of the region in the kernel's addresses, stands for
        `start` and `end`.
    """

    event: str
    kdamond: int
    scheme: int | None
    count: int
    first_ns: int
    last_ns: int
    fields: Mapping[str, EventField]


@dataclass(frozen=True)
class KernelTrace(Displayable):
    """The events of a file: see `trace`.

    Attributes
    ----------
    start_ns, end_ns : int
        Unix time of the first and the last event.
    sums : tuple of EventSums
        By tracepoint, kdamond and scheme.
    """

    start_ns: int
    end_ns: int
    sums: tuple[EventSums, ...]


def trace(path: str | Path) -> KernelTrace:
    """Sum up the events of the kernel's DAMON.

    Parameters
    ----------
    path
        A file that `pydamon trace --out` wrote, or a recording that was made with ``--trace``: its
        events are in the file beside it.

    Raises
    ------
    RecordingError
        If there is no such file, or it has no events.
    """
    beside = events_beside(path)
    table = read_events(beside if beside.exists() else path)
    if not len(table):
        raise RecordingError(f"{path} has no events")
    names = [name for name in table.column_names if not name.endswith(_INDEX)]
    if set(_ADDRESSES) <= set(names) and _SIZE not in names:
        size = pc.subtract(table["end"], table["start"])
        table = table.append_column(_SIZE, size)
        names = [_SIZE if name == "end" else name for name in names if name != "start"]
    if _SCHEME not in table.column_names:
        table = table.append_column(_SCHEME, pa.nulls(len(table), pa.int64()))
    keys = ["event", "kdamond", _SCHEME]
    times = table["time_ns"].to_numpy()
    order = [(name, "ascending") for name in (*keys, "time_ns")]
    table = table.take(pc.sort_indices(table, order))
    scheme = pc.fill_null(table[_SCHEME], _NO_SCHEME)
    columns = (table["event"], table["kdamond"], scheme)
    runs = Runs.of(*(column.to_numpy() for column in columns))
    fields = [name for name in names if name not in ("time_ns", *keys)]
    sums = (_sums(table.slice(first, beyond - first), fields) for first, beyond in runs)
    return KernelTrace(int(times[0]), int(times[-1]), tuple(sums))


def _sums(rows: pa.Table, fields: list[str]) -> EventSums:
    """The sums of the events of one tracepoint, kdamond and scheme."""
    columns = {name: rows[name].drop_null().to_numpy() for name in fields}
    times = rows["time_ns"].to_numpy()
    return EventSums(
        event=rows["event"][0].as_py(),
        kdamond=rows["kdamond"][0].as_py(),
        scheme=rows[_SCHEME][0].as_py(),
        count=len(rows),
        first_ns=int(times[0]),
        last_ns=int(times[-1]),
        fields={name: _field(values) for name, values in columns.items() if len(values)},
    )


def _field(values: NDArray[np.int64]) -> EventField:
    return EventField(
        first=int(values[0]),
        last=int(values[-1]),
        least=int(values.min()),
        mean=float(values.mean()),
        most=int(values.max()),
    )
