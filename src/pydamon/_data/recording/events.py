"""Events of the kernel's DAMON in a file: an Arrow stream of its own, beside a recording or not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pydamon._data.recording.schema import stream_options
from pydamon._data.recording.writer import open_new, writing
from pydamon._model.closing import Closing
from pydamon._model.errors import RecordingError
from pydamon._model.kernel_events import KernelEvents

__all__ = ["SUFFIX", "EventRecorder", "events_beside", "read_events"]

SUFFIX = ".events"
"""What the name of the file beside a recording ends with."""
_KEY = b"pydamon.events"
_FLUSH_NS = 10**9
_COLUMNS = ("time_ns", "kdamond", "event")


def events_beside(path: str | Path) -> Path:
    """The file of events that lies beside a recording."""
    path = Path(path)
    return path.with_name(path.name + SUFFIX)


class EventRecorder(Closing):
    """Appends events to a new file, which has them a second later at the latest.

    Parameters
    ----------
    path
        The file to create.
    fields
        The fields that events may have; others are left out.
    force
        Overwrite the file if it exists.

    Raises
    ------
    RecordingError
        If the file exists and *force* is not set, and whenever it cannot be written.
    """

    def __init__(self, path: str | Path, fields: Sequence[str], *, force: bool = False) -> None:
        self.path = Path(path)
        self._names = [name for name in fields if name not in _COLUMNS]
        named = [("time_ns", pa.int64()), ("kdamond", pa.int32()), ("event", pa.string())]
        schema = pa.schema([*named, *((name, pa.int64()) for name in self._names)])
        self._schema = schema.with_metadata({_KEY: b"1"})
        self._pending: list[KernelEvents] = []
        self._flushed_ns = time.monotonic_ns()
        with writing(self.path):
            fd = open_new(self.path, force=force)
        self._file = pa.PythonFile(os.fdopen(fd, "wb", 0))
        self._writer = pa.ipc.new_stream(self._file, self._schema, options=stream_options())
        # The stream's writer holds the schema back until the first batch.
        self._writer.write_batch(pa.RecordBatch.from_pylist([], self._schema))

    def write(self, events: Iterable[KernelEvents]) -> None:
        """Append events, if there are any; call it again and again, so that none stay behind."""
        self._pending += events
        if time.monotonic_ns() - self._flushed_ns >= _FLUSH_NS:
            self.flush()

    def flush(self) -> None:
        """Hand all events written so far to the operating system."""
        self._flushed_ns = time.monotonic_ns()
        pending, self._pending = self._pending, []
        if pending:
            table = pa.Table.from_batches([self._batch(events) for events in pending])
            with writing(self.path):
                self._writer.write_table(table.combine_chunks())

    def close(self) -> None:
        """Flush, and close the file; harmless when done twice."""
        if self._file.closed:
            return
        try:
            self.flush()
            self._writer.close()
        finally:
            with suppress(OSError):
                self._file.close()

    def _batch(self, events: KernelEvents) -> pa.RecordBatch:
        columns = [
            pa.array(events.time_ns),
            pa.array(events.kdamond.astype(np.int32)),
            pa.array([events.name] * len(events), pa.string()),
        ]
        for name in self._names:
            known = name in events.values
            columns.append(
                pa.array(events.values[name]) if known else pa.nulls(len(events), pa.int64())
            )
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def read_events(path: str | Path) -> pa.Table:
    """All events of a file, by time; of a file that was cut off, those before.

    Columns are `time_ns` (Unix time), `kdamond` (a pid), `event`, and the fields of all
    tracepoints, null where an event does not have them.

    Raises
    ------
    RecordingError
        If the file cannot be read, or is not a file of events.
    """
    path = Path(path)
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            schema = stream.schema
            if _KEY not in (schema.metadata or {}):
                raise RecordingError(f"{path} is a recording without events")
            with suppress(pa.ArrowInvalid, OSError):
                batches += iter(stream)
    except FileNotFoundError:
        raise RecordingError(f"there is no file {path}") from None
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from None
    except (pa.ArrowInvalid, ValueError):
        raise RecordingError(f"{path} is not a file of events of DAMON") from None
    if not _is_well_formed(schema):
        raise RecordingError(f"{path} is not a file of events of DAMON")
    table = pa.Table.from_batches(batches, schema)
    return table.take(pc.sort_indices(table, [("time_ns", "ascending")]))


def _is_well_formed(schema: pa.Schema) -> bool:
    if tuple(schema.names[: len(_COLUMNS)]) != _COLUMNS:
        return False
    kinds = [pa.int64(), pa.int32(), pa.string()]
    kinds += [pa.int64()] * (len(schema) - len(kinds))
    return list(schema.types) == kinds and len(set(schema.names)) == len(schema)
