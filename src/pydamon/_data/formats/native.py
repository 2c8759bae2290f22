"""pydamon's own format: an Arrow IPC stream (docs/recording-format.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from pydamon._data.formats.content import Content, Incomplete
from pydamon._data.formats.holds import Holds
from pydamon._data.formats.ipc import MARK, CheckedStream
from pydamon._data.recording.arrays import POOL, info_by_rows, with_few_names
from pydamon._data.recording.format import (
    BATCH_ROWS,
    COLUMNS,
    EXTRA,
    RecordingInfo,
    compact_options,
    file_schema,
    info_of,
)
from pydamon._data.recording.recording import Recording

__all__ = ["Native"]

_NOT_CLOSED = "it was not closed: its recorder still runs or was killed"


class Native:
    """An Arrow IPC stream, as `Recorder` writes it."""

    name = "native"
    suffixes: tuple[str, ...] = (".damon",)
    is_text = False
    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        return head.startswith(MARK)

    def open(self, content: Content) -> _Stream:
        return _Stream(content)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        writer: pa.ipc.RecordBatchStreamWriter | None = None
        schema = file_schema(info)
        for part in parts:
            if writer is None:
                schema = file_schema(info, part.table.column_names)
                writer = pa.ipc.new_stream(file, schema, options=compact_options())
            for table in with_few_names(part.table.cast(schema)):
                writer.write_table(table, max_chunksize=BATCH_ROWS)
        if writer is None:
            writer = pa.ipc.new_stream(file, schema, options=compact_options())
        writer.close()


class _Stream:
    ordered = True

    def __init__(self, content: Content) -> None:
        self._content = content
        # Columns of other tools may be of any type, and of any size: they are not even decoded.
        self._wanted: list[int] | None = None
        with self._reader() as (reader, _):
            described = info_of(reader.schema)
            known = {*COLUMNS.names, EXTRA.name}
            self._wanted = [i for i, name in enumerate(reader.schema.names) if name in known]
        self.info = described or info_by_rows(next(self.batches(), None))

    def batches(self) -> Iterator[pa.RecordBatch]:
        with self._reader() as (reader, stream):
            yield from reader
            if not stream.closed_well:
                raise Incomplete(stream.problem or _NOT_CLOSED)

    @contextmanager
    def _reader(self) -> Iterator[tuple[pa.RecordBatchStreamReader, CheckedStream]]:
        # Batches are small: handing their columns to threads takes longer than reading them.
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=self._wanted)
        with self._content.open() as file:
            stream = CheckedStream(file)
            source = pa.PythonFile(stream, "r")
            yield pa.ipc.open_stream(source, options=options, memory_pool=POOL), stream
