"""Arrow IPC messages, checked before they are decoded: a few bytes must not become gigabytes.

A message says how many rows it has, and each of its compressed buffers how long it will be. Arrow
believes both and allocates what they say: 200 MiB of 11 KB, for one name. pyarrow knows no limit to
that, and of a message shows bytes only. So the figures are held against each other here, before
Arrow sees them. The layout is that of Arrow's Message.fbs and of FlatBuffers:
https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import struct

from pydamon._data.formats.content import PUT_TOGETHER, Readable, check_ratio

__all__ = ["END", "MARK", "CheckedStream"]

MARK = b"\xff\xff\xff\xff"
END = MARK + b"\0\0\0\0"

_MOST_METADATA = 2**24
_MOST_BODY = 2**30
_MOST_ROWS = 2**22
"""Of one batch. pydamon's own have some 65,000; a table that was written as one batch has more."""
_MOST_NAMES = 2**26
"""Bytes of all the names in one dictionary."""
_ANY_BATCH = 2**27
_MOST_RATIO = 16
"""Of a batch that takes more memory than that."""
_MOST_STREAM_RATIO = 500
"""Rows of a process that does nothing take some 100 times what they take in a file."""
_ANY_PACKED_BYTES = 2**18
_MOST_FIELDS = 1000
_SLACK = 64
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3


class CheckedStream:
    """A file for `pyarrow.PythonFile` that hands out whole, sane messages only.

    It ends before the first message that is cut off or absurd, and `problem` then says which;
    `closed_well` is whether the stream ended with its mark, and the file with the stream.
    """

    closed = False

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._ready = memoryview(b"")
        self._over = False
        self._sizes = _Sizes()
        self.problem = ""
        self.closed_well = False

    def read(self, count: int) -> bytes:
        """At most *count* bytes of the message that is due."""
        if not self._ready and not self._over:
            self._ready = memoryview(self._message())
        given, self._ready = self._ready[:count], self._ready[count:]
        return bytes(given)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the file to whoever opened it."""

    def _message(self) -> bytes:
        head = self._file.read(8)
        if head == END:
            self._over = True
            self.closed_well = not self._file.read(1)
            if not self.closed_well:
                self.problem = "there is more behind its end, which is not read: " + PUT_TOGETHER
            return head
        if not head:
            self._over = True
            return b""
        if len(head) < 8 or not head.startswith(MARK):
            return self._give_up()
        (length,) = struct.unpack_from("<i", head, 4)
        if not 0 < length <= _MOST_METADATA:
            return self._give_up()
        metadata = self._file.read(length)
        try:
            kind, header, body_length = _message_fields(metadata)
            if len(metadata) < length or not 0 <= body_length <= _MOST_BODY:
                return self._give_up()
            body = self._file.read(body_length)
            if len(body) < body_length or not self._sizes.take(metadata, kind, header, body):
                return self._give_up()
        except struct.error:
            return self._give_up()
        except ValueError as error:
            return self._give_up(str(error))
        return head + metadata + body

    def _give_up(self, why: str = "") -> bytes:
        self._over = True
        self.problem = why or "its end is cut off or damaged"
        return b""


def _message_fields(data: bytes) -> tuple[int, int, int]:
    """The kind of a message, where its header is, and the length of its body."""
    (message,) = struct.unpack_from("<I", data, 0)
    kind = _scalar(data, message, 1, "<B")
    header = _pointer(data, message, 2)
    return kind, header, _scalar(data, message, 3, "<q")


class _Sizes:
    """What the messages of a stream unpack to, so far."""

    def __init__(self) -> None:
        self._packed_bytes = 0
        self._unpacked_bytes = 0
        self._names: dict[int, int] = {}
        """Bytes of each dictionary, which may come in pieces."""

    def take(self, data: bytes, kind: int, header: int, body: bytes) -> bool:
        """Whether a message has the rows that it says, in buffers as long as they say.

        Raises `ValueError` where they are more than any should be.
        """
        self._packed_bytes += len(data) + len(body)
        if kind == _SCHEMA:
            (count,) = struct.unpack_from("<I", data, _pointer(data, header, 1))
            if count > _MOST_FIELDS:
                raise ValueError(f"it has {count:,} columns")
            return True
        if kind == _DICTIONARY_BATCH:
            number = _scalar(data, header, 0, "<q")
            is_more = bool(_scalar(data, header, 2, "<B"))
            batch = _pointer(data, header, 1)
            if not 0 <= _scalar(data, batch, 0, "<q") <= _MOST_ROWS:
                return False
            unpacked = _unpacked_bytes(data, batch, body, _MOST_NAMES)
            if unpacked is None:
                return False
            self._names[number] = unpacked + (self._names.get(number, 0) if is_more else 0)
            if sum(self._names.values()) > _ANY_BATCH:
                raise ValueError("its names take more memory than any should")
        elif kind == _RECORD_BATCH:
            rows = _scalar(data, header, 0, "<q")
            if not 0 <= rows <= _MOST_ROWS:
                return False
            unpacked = _unpacked_bytes(data, header, body, 8 * rows + _SLACK)
            if unpacked is None:
                return False
            if unpacked > max(_ANY_BATCH, _MOST_RATIO * len(body)):
                raise ValueError("a batch of rows takes more memory than any should")
        else:
            return True
        self._unpacked_bytes += unpacked
        check_ratio(
            self._unpacked_bytes, self._packed_bytes + _ANY_PACKED_BYTES, _MOST_STREAM_RATIO
        )
        return True


def _unpacked_bytes(data: bytes, batch: int, body: bytes, most: int) -> int | None:
    """Bytes that the buffers of a batch unpack to; `None` where one is larger than *most*."""
    compressed = _field(data, batch, 3) != 0
    vector = _pointer(data, batch, 2)
    (count,) = struct.unpack_from("<I", data, vector)
    if count > len(data) // 16:
        return None
    total = 0
    for offset, length in struct.iter_unpack("<qq", data[vector + 4 : vector + 4 + 16 * count]):
        if not 0 <= offset <= offset + length <= len(body):
            return None
        size = length
        if compressed and length >= 8:
            (size,) = struct.unpack_from("<q", body, offset)
            size = length if size == -1 else size
        if not 0 <= size <= most:
            return None
        total += size
    return total


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a FlatBuffers table is; 0 where the table does not have it."""
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
    at = _field(data, table, number)
    return int(struct.unpack_from(kind, data, at)[0]) if at else 0


def _pointer(data: bytes, table: int, number: int) -> int:
    at = _field(data, table, number)
    if not at:
        raise ValueError("a message without a header")
    return at + int(struct.unpack_from("<I", data, at)[0])
