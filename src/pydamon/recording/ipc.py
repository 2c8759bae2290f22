"""Arrow IPC messages, checked before they are decoded: a few bytes must not become gigabytes.

A message says how many rows it has, and each of its compressed buffers how long it will be. Arrow
believes both and allocates what they say: 200 MiB of 11 KB, for one name. pyarrow knows no limit to
that, and of a message shows bytes only. So the figures are held against each other here, before
Arrow sees them. The layout is that of Arrow's Message.fbs and of FlatBuffers:
https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import struct
from typing import BinaryIO

__all__ = ["END", "MARK", "CheckedStream"]

MARK = b"\xff\xff\xff\xff"
END = MARK + b"\0\0\0\0"

_MOST_METADATA = 2**24
_MOST_BODY = 2**30
_MOST_ROWS = 2**22
"""Of one batch. pydamon's own have some 65,000; a table that was written as one batch has more."""
_MOST_NAMES = 2**26
"""Bytes of all the names in one dictionary."""
_SLACK = 64
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


class CheckedStream:
    """A file for `pyarrow.PythonFile` that hands out whole, sane messages only.

    It ends before the first message that is cut off or absurd, and `problem` then says which;
    `closed_well` is whether the stream ended with its mark, and the file with the stream.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ready = memoryview(b"")
        self._over = False
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
            if len(body) < body_length or not _sane(metadata, kind, header, body):
                return self._give_up()
        except (struct.error, ValueError):
            return self._give_up()
        return head + metadata + body

    def _give_up(self) -> bytes:
        self._over = True
        self.problem = "its end is cut off or damaged"
        return b""


def _message_fields(data: bytes) -> tuple[int, int, int]:
    """The kind of a message, where its header is, and the length of its body."""
    (message,) = struct.unpack_from("<I", data, 0)
    kind = _scalar(data, message, 1, "<B")
    header = _pointer(data, message, 2)
    return kind, header, _scalar(data, message, 3, "<q")


def _sane(data: bytes, kind: int, header: int, body: bytes) -> bool:
    """Whether a batch has the rows that it says, in buffers as long as they say."""
    if kind == _DICTIONARY_BATCH:
        batch, most = _pointer(data, header, 1), _MOST_NAMES
        if not 0 <= _scalar(data, batch, 0, "<q") <= _MOST_ROWS:
            return False
    elif kind == _RECORD_BATCH:
        batch = header
        rows = _scalar(data, batch, 0, "<q")
        if not 0 <= rows <= _MOST_ROWS:
            return False
        most = 8 * rows + _SLACK
    else:
        return True
    compressed = _field(data, batch, 3) != 0
    vector = _pointer(data, batch, 2)
    (count,) = struct.unpack_from("<I", data, vector)
    if count > len(data) // 16:
        return False
    for offset, length in struct.iter_unpack("<qq", data[vector + 4 : vector + 4 + 16 * count]):
        if not 0 <= offset <= offset + length <= len(body):
            return False
        if compressed and length >= 8:
            (size,) = struct.unpack_from("<q", body, offset)
            if not -1 <= size <= most:
                return False
        elif length > most:
            return False
    return True


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
