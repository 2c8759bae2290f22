"""Events of the kernel's DAMON in a file: an Arrow stream of its own, beside a recording or not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from pydamon._data.recording.schema import stream_options
from pydamon._data.recording.writer import open_new, writing
from pydamon._model.closing import Closing
from pydamon._model.errors import RecordingError
from pydamon._model.kernel_events import KernelEvents

__all__ = ["COLUMN_TYPES", "KEY", "EventRecorder", "events_beside", "new_events_beside"]

_SUFFIX = ".events"
"""What the name of the file beside a recording ends with."""
KEY = b"pydamon.events"
"""The metadata of the file's schema that says what it is."""
COLUMN_TYPES = {"time_ns": pa.int64(), "kdamond": pa.int32(), "event": pa.string()}
"""Of the first columns; those of the fields that follow are all int64."""
_FLUSH_NS = 10**9


def events_beside(path: str | Path) -> Path:
    """The file of events that lies beside a recording."""
    path = Path(path)
    return path.with_name(path.name + _SUFFIX)


def new_events_beside(path: str | Path, *, force: bool) -> Path:
    """The same for a file that is still to be written; it may exist only with *force*.

    Raises
    ------
    RecordingError
        If it exists, and may not.
    """
    beside = events_beside(path)
    with writing(beside):
        if beside.exists() and not force:
            raise FileExistsError
    return beside


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
        self._names = [name for name in fields if name not in COLUMN_TYPES]
        fields_of_events = dict.fromkeys(self._names, pa.int64())
        self._schema = pa.schema(COLUMN_TYPES | fields_of_events).with_metadata({KEY: b"1"})
        self._pending: list[KernelEvents] = []
        self._flushed_ns = time.monotonic_ns()
        with writing(self.path):
            fd = open_new(self.path, force=force)
        self._file = pa.PythonFile(os.fdopen(fd, "wb", 0))
        self._writer = pa.ipc.new_stream(self._file, self._schema, options=stream_options())
        try:
            with writing(self.path):
                # The stream's writer holds the schema back until the first batch.
                self._writer.write_batch(pa.RecordBatch.from_pylist([], self._schema))
        except RecordingError:
            self._file.close()
            raise

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
            with writing(self.path):
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
