"""pydamon's own format: an Arrow IPC stream (docs/reference/recording-format.md).

The messages of a stream are checked before Arrow decodes them: a few bytes must not become
gigabytes. A message says how many rows it has, and each of its compressed buffers how long it will
be. Arrow believes both and allocates as much: 200 MiB of 11 KB, for a name. pyarrow has no limit
for that, and shows only the bytes of a message. The layout of messages is that of Arrow's
Message.fbs and of FlatBuffers: https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from pydamon._data.formats.content import (
    PUT_TOGETHER,
    ChunkFile,
    Content,
    Incomplete,
    Readable,
    check_ratio,
)
from pydamon._data.formats.output import Holds
from pydamon._data.recording.arrow import POOL
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import info_from_rows, split_by_names
from pydamon._data.recording.schema import (
    BATCH_ROWS,
    COLUMNS,
    EXTRA,
    RecordingInfo,
    compact_options,
    file_schema,
    info_in_schema,
)

__all__ = ["CheckedMessages", "Native"]

_MARK = b"\xff\xff\xff\xff"
_END = _MARK + b"\0\0\0\0"
_NOT_CLOSED = "it was not closed: its recorder still runs or was killed"
_CUT_OFF = "its end is cut off or damaged"
_MAX_METADATA_BYTES = 2**24
_MAX_BODY_BYTES = 2**30
_MAX_ROWS = 2**22
"""Of a batch. pydamon's own have some 65,000; a table written as a single batch has more."""
_MAX_NAMES_BYTES = 2**26
"""Of all names in a dictionary."""
_ANY_BATCH_BYTES = 2**27
_MAX_BATCH_RATIO = 16
"""Of a batch that takes more memory than that."""
_MAX_STREAM_RATIO = 500
"""The rows of an idle process take some 100 times as much memory as space in a file."""
_ANY_PACKED_BYTES = 2**18
_MAX_FIELDS = 1000
_PADDING_BYTES = 64
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3


class Native:
    """An Arrow IPC stream, as `Recorder` writes it."""

    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        return head.startswith(_MARK)

    def open(self, content: Content) -> _StreamReader:
        return _StreamReader(content)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        writer: pa.ipc.RecordBatchStreamWriter | None = None
        schema = file_schema(info)
        for chunk in chunks:
            if writer is None:
                schema = file_schema(info, chunk.table.column_names)
                writer = pa.ipc.new_stream(file, schema, options=compact_options())
            for table in split_by_names(chunk.table.cast(schema)):
                writer.write_table(table, max_chunksize=BATCH_ROWS)
        if writer is None:
            writer = pa.ipc.new_stream(file, schema, options=compact_options())
        writer.close()


class _StreamReader:
    ordered = True

    def __init__(self, content: Content) -> None:
        self._content = content
        # Columns of other tools may be of any type, and of any size: they are not even decoded.
        self._wanted: list[int] | None = None
        with self._reader() as (reader, _):
            described = info_in_schema(reader.schema)
            known = {*COLUMNS.names, EXTRA.name}
            self._wanted = [i for i, name in enumerate(reader.schema.names) if name in known]
        self.info = described or info_from_rows(next(self.batches(), None))

    def batches(self) -> Iterator[pa.RecordBatch]:
        with self._reader() as (reader, messages):
            yield from reader
            if not messages.closed_well:
                raise Incomplete(messages.problem or _NOT_CLOSED)

    @contextmanager
    def _reader(self) -> Iterator[tuple[pa.RecordBatchStreamReader, CheckedMessages]]:
        # Batches are small: handing their columns to threads takes longer than reading them.
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=self._wanted)
        with self._content.open() as file:
            messages = CheckedMessages(file)
            source = pa.PythonFile(ChunkFile(iter(messages)), "r")
            yield pa.ipc.open_stream(source, options=options, memory_pool=POOL), messages


class CheckedMessages:
    """The messages of an Arrow stream, up to the first that is cut off or absurd.

    `problem` describes that message. `closed_well` says whether the stream ended with
    its mark, and the file with the stream. No column takes more than *row_bytes* a row.
    """

    def __init__(self, file: Readable, row_bytes: int = 8) -> None:
        self._file = file
        self._sizes = _Sizes(row_bytes)
        self.problem = ""
        self.closed_well = False

    def __iter__(self) -> Iterator[bytes]:
        while head := self._file.read(len(_END)):
            if head == _END:
                self.closed_well = not self._file.read(1)
                if not self.closed_well:
                    self.problem = (
                        "there is more behind its end, which is not read: " + PUT_TOGETHER
                    )
                yield head
                return
            try:
                message = self._message(head)
            except struct.error:
                self.problem = _CUT_OFF
                return
            except ValueError as error:
                self.problem = str(error)
                return
            yield message

    def _message(self, head: bytes) -> bytes:
        """The whole message that begins with *head*; raises `ValueError` or `struct.error`."""
        (length,) = struct.unpack_from("<i", head, len(_MARK))
        if not head.startswith(_MARK) or not 0 < length <= _MAX_METADATA_BYTES:
            raise ValueError(_CUT_OFF)
        metadata = self._file.read(length)
        (message,) = struct.unpack_from("<I", metadata, 0)
        kind = _scalar(metadata, message, 1, "<B")
        header = _pointer(metadata, message, 2)
        body_length = _scalar(metadata, message, 3, "<q")
        if len(metadata) < length or not 0 <= body_length <= _MAX_BODY_BYTES:
            raise ValueError(_CUT_OFF)
        body = self._file.read(body_length)
        if len(body) < body_length:
            raise ValueError(_CUT_OFF)
        self._sizes.add(kind, metadata, header, body)
        return head + metadata + body


class _Sizes:
    """Bytes that the messages of a stream take, packed and unpacked, so far."""

    def __init__(self, row_bytes: int) -> None:
        self._row_bytes = row_bytes
        self._packed_bytes = 0
        self._unpacked_bytes = 0
        self._names_bytes: dict[int, int] = {}
        """Of each dictionary, which may come in pieces."""

    def add(self, kind: int, metadata: bytes, header: int, body: bytes) -> None:
        """Raise `ValueError` if a message has other rows than it says, or more than any should."""
        self._packed_bytes += len(metadata) + len(body)
        if kind == _SCHEMA:
            (count,) = struct.unpack_from("<I", metadata, _pointer(metadata, header, 1))
            if count > _MAX_FIELDS:
                raise ValueError(f"it has {count:,} columns")
        elif kind == _DICTIONARY_BATCH:
            self._unpacked_bytes += self._dictionary_bytes(metadata, header, body)
        elif kind == _RECORD_BATCH:
            self._unpacked_bytes += _record_batch_bytes(metadata, header, body, self._row_bytes)
        check_ratio(self._unpacked_bytes, self._packed_bytes + _ANY_PACKED_BYTES, _MAX_STREAM_RATIO)

    def _dictionary_bytes(self, metadata: bytes, header: int, body: bytes) -> int:
        number = _scalar(metadata, header, 0, "<q")
        is_more = bool(_scalar(metadata, header, 2, "<B"))
        batch = _pointer(metadata, header, 1)
        _row_count(metadata, batch)
        unpacked_bytes = _unpacked_bytes(metadata, batch, body, _MAX_NAMES_BYTES)
        before_bytes = self._names_bytes.get(number, 0) if is_more else 0
        self._names_bytes[number] = unpacked_bytes + before_bytes
        if sum(self._names_bytes.values()) > _ANY_BATCH_BYTES:
            raise ValueError("its names take more memory than any should")
        return unpacked_bytes


def _record_batch_bytes(metadata: bytes, header: int, body: bytes, row_bytes: int) -> int:
    most_bytes = row_bytes * _row_count(metadata, header) + _PADDING_BYTES
    unpacked_bytes = _unpacked_bytes(metadata, header, body, most_bytes)
    if unpacked_bytes > max(_ANY_BATCH_BYTES, _MAX_BATCH_RATIO * len(body)):
        raise ValueError("a batch of rows takes more memory than any should")
    return unpacked_bytes


def _row_count(metadata: bytes, batch: int) -> int:
    """The number of rows of a batch."""
    count = _scalar(metadata, batch, 0, "<q")
    if not 0 <= count <= _MAX_ROWS:
        raise ValueError(_CUT_OFF)
    return count


def _unpacked_bytes(metadata: bytes, batch: int, body: bytes, most_bytes: int) -> int:
    """Bytes that all buffers of a batch unpack to; `ValueError` if any exceeds *most_bytes*."""
    is_compressed = _field(metadata, batch, 3) != 0
    vector = _pointer(metadata, batch, 2)
    (count,) = struct.unpack_from("<I", metadata, vector)
    if count > len(metadata) // 16:
        raise ValueError(_CUT_OFF)
    total = 0
    buffers = metadata[vector + 4 : vector + 4 + 16 * count]
    for offset, length in struct.iter_unpack("<qq", buffers):
        if not 0 <= offset <= offset + length <= len(body):
            raise ValueError(_CUT_OFF)
        size = length
        if is_compressed and length >= 8:
            (size,) = struct.unpack_from("<q", body, offset)
            size = length if size == -1 else size  # -1: this buffer is not compressed
        if not 0 <= size <= most_bytes:
            raise ValueError(_CUT_OFF)
        total += size
    return total


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a FlatBuffers table is; 0 if the table does not have it."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    if not 0 <= vtable <= len(data) - 4:
        raise ValueError("a table outside its message")
    (size,) = struct.unpack_from("<H", data, vtable)
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + slot)
    return table + offset if offset else 0


def _scalar(data: bytes, table: int, number: int, kind: str) -> int:
    """A number in a FlatBuffers table; 0 if the table does not have it."""
    place = _field(data, table, number)
    return int(struct.unpack_from(kind, data, place)[0]) if place else 0


def _pointer(data: bytes, table: int, number: int) -> int:
    """Where the table or vector begins that a field points to."""
    place = _field(data, table, number)
    if not place:
        raise ValueError("a message without a header")
    return place + int(struct.unpack_from("<I", data, place)[0])
