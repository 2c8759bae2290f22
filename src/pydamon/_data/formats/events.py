"""Read files of events of the kernel's DAMON, which `recording.events` writes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pydamon._data.formats.base import UNREADABLE
from pydamon._data.formats.content import ChunkFile, Content, Incomplete
from pydamon._data.formats.native import CheckedMessages
from pydamon._data.recording.arrow import POOL
from pydamon._data.recording.events import COLUMN_TYPES, KEY
from pydamon._model.errors import RecordingError

__all__ = ["read_events"]

_ROW_BYTES = 64
"""Names of tracepoints have some 30 bytes."""
_HINT = "`pydamon trace --out FILE` and `pydamon record --trace` write events"


def read_events(path: str | Path) -> pa.Table:
    """All events of a file, by time; of a file that is cut off or damaged, those before.

    Columns are `time_ns` (Unix time), `kdamond` (a pid), `event`, and the fields of all
    tracepoints, null where an event does not have them.

    Raises
    ------
    RecordingError
        If the file cannot be read, or is not a file of events.
    """
    try:
        with Content(Path(path)).open() as file:
            source = pa.PythonFile(ChunkFile(iter(CheckedMessages(file, _ROW_BYTES))), "r")
            options = pa.ipc.IpcReadOptions(use_threads=False)
            stream = pa.ipc.open_stream(source, options=options, memory_pool=POOL)
            if KEY not in (stream.schema.metadata or {}):
                raise RecordingError(f"{path} is a recording without events", hint=_HINT)
            table = _table_of(stream) if _is_well_formed(stream.schema) else None
    except FileNotFoundError:
        raise RecordingError(f"there is no file {path}") from None
    except (Incomplete, *UNREADABLE) as error:
        if reason := getattr(error, "strerror", None):
            raise RecordingError(f"cannot read {path}: {reason}") from None
        table = None
    if table is None:
        raise RecordingError(f"{path} is not a file of events of DAMON", hint=_HINT)
    return table.take(pc.sort_indices(table, [("time_ns", "ascending")]))


def _is_well_formed(schema: pa.Schema) -> bool:
    names = schema.names
    kinds = [*COLUMN_TYPES.values()]
    kinds += [pa.int64()] * (len(schema) - len(kinds))
    return (
        names[: len(COLUMN_TYPES)] == [*COLUMN_TYPES]
        and list(schema.types) == kinds
        and len(set(names)) == len(names)
    )


def _table_of(stream: pa.RecordBatchStreamReader) -> pa.Table:
    """The rows up to the first batch that is cut off or damaged."""
    batches: list[pa.RecordBatch] = []
    with suppress(Incomplete, *UNREADABLE):
        for batch in stream:
            batch.validate(full=True)
            if any(batch[name].null_count for name in COLUMN_TYPES):
                break
            batches.append(batch)
    return pa.Table.from_batches(batches, stream.schema)
