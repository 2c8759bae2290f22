"""damo's record files, `json` and `json_compressed`, taken apart record by record."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec
import pyarrow as pa

from pydamon._data.formats import damo_write
from pydamon._data.formats.content import CHUNK_BYTES, Content, Incomplete, check_ratio
from pydamon._data.formats.damo_pids import Numbering, check_count
from pydamon._data.formats.damo_rows import TARGET_ID, Record, Snapshot, rows_of
from pydamon._data.formats.holds import Holds
from pydamon._data.recording.format import RecordingInfo
from pydamon._data.recording.recording import Recording
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import ns_of

__all__ = ["DamoJson", "DamoJsonCompressed", "Piece", "ahead", "inflated", "pieces"]

_MOST_TEXT = 2**26
"""Of one snapshot. damo writes some 500 bytes a region."""
_MOST_HEAD = 2**16
"""Of what a record says besides its snapshots."""
_MOST_BRACKETS = 2**18
"""That a piece may be searched for the end of a snapshot: statistics have some dozens."""
_SNAPSHOTS = re.compile(rb'"snapshots"\s*:\s*\[')
_ARRAY_END = re.compile(rb"\}\s*\]")
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SPACE_OR_COMMA = re.compile(rb"[ \t\r\n,]*+")
_ONLY_BRACKETS = "it has brackets where there should be snapshots"

Piece = tuple[str, bytes]
"""`"head"` and a record up to the bracket that opens its snapshots; `"snapshots"` and some of
these, with commas between; `"tail"` and the rest of the record, from the closing bracket on."""


def inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The text of zlib-compressed chunks; raises `Incomplete` where it is cut off.

    Files put together are one text: what follows a stream is the next one.
    """
    inflater = zlib.decompressobj()
    packed_bytes = unpacked_bytes = 0
    rest = b""
    while True:
        data = inflater.unconsumed_tail or rest
        rest = b""
        if not data:
            data = next(chunks, b"")
            packed_bytes += len(data)
        if not data:
            raise Incomplete("its end is cut off")
        if chunk := inflater.decompress(data, CHUNK_BYTES):
            unpacked_bytes += len(chunk)
            check_ratio(unpacked_bytes, packed_bytes)
            yield chunk
        if inflater.eof:
            rest = inflater.unused_data or next(chunks, b"")
            packed_bytes += 0 if inflater.unused_data else len(rest)
            if not rest.strip(b" \t\r\n\0"):
                return
            inflater = zlib.decompressobj()


def ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with the next chunk made in a thread while this one is looked at.

    Inflating takes a quarter of the time that reading does, and another CPU can do it.
    """
    with ThreadPoolExecutor(1, "pydamon-inflate") as thread:
        coming = thread.submit(next, chunks, b"")
        while chunk := coming.result():
            coming = thread.submit(next, chunks, b"")
            yield chunk


def pieces(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """A list of records, taken apart; or several lists, of files put together.

    Raises `ValueError` for what is no such list, and `Incomplete` where it ends too early.
    """
    text = _Text(chunks)
    while True:
        if text.next_byte() != b"[":
            raise ValueError("it is not a list of records")
        text.at += 1
        while (byte := text.next_byte(_SPACE_OR_COMMA)) != b"]":
            if byte != b"{":
                raise ValueError("it is not a list of records")
            head = text.until(_SNAPSHOTS)
            yield "head", head
            yield from _snapshots(text)
            yield "tail", _tail(text)
        text.at += 1
        if text.has_ended():
            return


class _Text:
    """The part of a text that is being looked at: `buffer` from `at` on."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.buffer = b""
        self.at = 0

    def more(self, most: int = _MOST_TEXT) -> None:
        """Read on, which moves what is left to the begin of the buffer."""
        if len(self.buffer) - self.at > most:
            raise ValueError("a part of it is larger than any snapshot can be")
        chunk = next(self._chunks, b"")
        if not chunk:
            raise Incomplete("its end is cut off")
        self.buffer = self.buffer[self.at :] + chunk
        self.at = 0

    def take(self, end: int) -> bytes:
        """What comes before a place in the buffer."""
        taken, self.at = self.buffer[self.at : end], end
        return taken

    def next_byte(self, besides: re.Pattern[bytes] = _SPACE) -> bytes:
        """The next byte behind white space, and what else *besides* matches; it stays."""
        while True:
            self.at = _end_of(besides.match(self.buffer, self.at))
            if self.at < len(self.buffer):
                return self.buffer[self.at : self.at + 1]
            self.more()

    def has_ended(self) -> bool:
        """Whether nothing but white space follows."""
        while True:
            self.at = _end_of(_SPACE.match(self.buffer, self.at))
            if self.at < len(self.buffer):
                return False
            self.buffer, self.at = next(self._chunks, b""), 0
            if not self.buffer:
                return True

    def until(self, pattern: re.Pattern[bytes]) -> bytes:
        """Take everything up to the end of what matches first."""
        while not (match := pattern.search(self.buffer, self.at, self.at + 2 * _MOST_HEAD)):
            self.more(_MOST_HEAD)
        return self.take(match.end())


def _end_of(match: re.Match[bytes] | None) -> int:
    assert match is not None  # of patterns that match nothing, too
    return match.end()


def _snapshots(text: _Text) -> Iterator[Piece]:
    """The snapshots of a record; what is left begins with the bracket that closes them."""
    if text.next_byte() == b"]":
        return
    depth = count = 0
    scanned = searched = text.at
    ended = -1
    while True:
        for match in _ARRAY_END.finditer(text.buffer, searched):
            depth += _balance(text.buffer, b"[]", scanned, match.end())
            scanned = match.end()
            count += 1
            if depth < 0:
                yield "snapshots", text.take(scanned - 1)
                return
            if depth == 0:
                ended, count = scanned, 0  # the regions of a snapshot
            if count > _MOST_BRACKETS:
                raise ValueError(_ONLY_BRACKETS)
        cut = _object_end(text.buffer, ended) if ended >= 0 else 0
        if cut:
            yield "snapshots", text.take(cut)
            if text.next_byte(_SPACE_OR_COMMA) == b"]":
                return
            depth = count = 0
            scanned = searched = text.at
            ended = -1
        else:
            searched = max(scanned, text.buffer.rfind(b"}"))
            before = text.at
            text.more()
            scanned, searched = scanned - before, searched - before
            ended = max(-1, ended - before)


def _object_end(text: bytes, at: int) -> int:
    """Where the object that is open at *at* ends; 0 if its end is not there yet."""
    open_ones = 1
    for _ in range(_MOST_BRACKETS):
        brace = text.find(b"}", at)
        if brace < 0:
            return 0
        open_ones += _balance(text, b"{}", at, brace + 1)
        at = brace + 1
        if open_ones == 0:
            return at
    raise ValueError(_ONLY_BRACKETS)


def _tail(text: _Text) -> bytes:
    depth, at = 0, text.at
    while at - text.at <= _MOST_HEAD:
        brace = text.buffer.find(b"}", at)
        if brace < 0:
            at -= text.at
            text.more(_MOST_HEAD)
            continue
        depth += _balance(text.buffer, b"{}", at, brace + 1)
        at = brace + 1
        if depth < 0:
            return text.take(at)
    raise ValueError("a record says more than any does besides its snapshots")


def _balance(text: bytes, brackets: bytes, start: int, end: int) -> int:
    """How many more brackets open than close in a part of a text."""
    return text.count(brackets[:1], start, end) - text.count(brackets[1:], start, end)


_T = TypeVar("_T")


class DamoJson:
    """damo's `json`."""

    name = "json"
    suffixes: tuple[str, ...] = (".json",)
    is_text = True
    holds: Holds | None = damo_write.HOLDS

    def matches(self, head: bytes) -> bool:
        return head.lstrip().startswith(b"[")

    def open(self, content: Content) -> DamoSource:
        return DamoSource(content.chunks)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        for text in damo_write.json_text(parts):
            file.write(text)


class DamoJsonCompressed:
    """damo's `json_compressed`, its default."""

    name = "json_compressed"
    suffixes: tuple[str, ...] = (".data", ".json_compressed")
    is_text = False
    holds: Holds | None = damo_write.HOLDS

    def matches(self, head: bytes) -> bool:
        """Whether it begins as a zlib stream does (RFC 1950)."""
        return (
            len(head) > 1 and head[0] & 0x8F == 0x08 and int.from_bytes(head[:2], "big") % 31 == 0
        )

    def open(self, content: Content) -> DamoSource:
        return DamoSource(lambda: inflated(content.chunks()))

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        damo_write.deflated(file, damo_write.json_text(parts))


_SNAPSHOT_DECODER = msgspec.json.Decoder(list[Snapshot])
_RECORD = msgspec.json.Decoder(dict[str, Any])
_RECORD_BYTES = 500
"""Of what a record says besides its snapshots."""


class DamoSource:
    """A file of damo's JSON."""

    ordered = False

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._chunks = chunks
        self._numbering = Numbering(chunks, TARGET_ID)
        attrs, started_ns = Attrs(), 0
        count = 0
        try:
            for kind, text in pieces(chunks()):
                if kind == "head":
                    count += 1
                    check_count(count)
                    attrs = Record(_parsed(_RECORD, text + b"]}"), self._numbering).attrs
                elif kind == "snapshots":
                    with suppress(ValueError):  # which reading it says with its place
                        begun = _parsed(_SNAPSHOT_DECODER, b"[" + text + b"]")[0].start_time
                        started_ns = min(max(0, ns_of(begun)), 2**63 - 1)
                    break
        except Incomplete as error:
            if count == 0:
                raise ValueError("it is not a list of records with snapshots") from error
        self.info = RecordingInfo(attrs, "damo", started_ns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Small records become one batch. Whatever is sound before the first error comes first."""
        pending = _Pending()
        problem: Exception | None = None
        try:
            for record, snapshots in self._records():
                if pending.add(record, snapshots):
                    yield from pending.batches()
        except (Incomplete, ValueError, OSError, zlib.error) as error:
            problem = error
        yield from pending.batches()
        if problem is not None:
            raise problem

    def _records(self) -> Iterator[tuple[Record, bytes]]:
        """Text of snapshots, each with its record; the last has waited for the record's tail."""
        numbering = Numbering(self._chunks, TARGET_ID)
        record: Record | None = None
        number = 0
        waiting: bytes | None = None
        try:
            for kind, text in pieces(ahead(self._chunks())):
                if kind == "head":
                    number += 1
                    check_count(number)
                    record = Record(_parsed(_RECORD, text + b"]}"), numbering, number)
                assert record is not None  # since a head comes first
                if kind == "tail":
                    record.tail = _parsed(_RECORD, b'{"snapshots":[' + text)
                ready, waiting = waiting, text if kind == "snapshots" else None
                if ready is not None:
                    yield record, ready
        except (Incomplete, ValueError, OSError, zlib.error):
            if waiting is not None and record is not None:
                yield record, waiting
            raise


class _Pending:
    """Snapshots that still become a batch."""

    def __init__(self) -> None:
        self._parsed: list[tuple[Record, list[Snapshot]]] = []
        self._size_bytes = 0

    def add(self, record: Record, text: bytes) -> bool:
        """Take some snapshots; whether there are enough."""
        self._parsed.append((record, _decoded_snapshots(record, text)))
        self._size_bytes += len(text) + _RECORD_BYTES
        return self._size_bytes >= CHUNK_BYTES

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All of them as one batch, or one by one up to the first that makes no sense."""
        parsed, self._parsed, self._size_bytes = self._parsed, [], 0
        if not parsed:
            return
        try:
            whole = rows_of(parsed)
        except ValueError:
            for record, snapshots in parsed:
                for snapshot in snapshots:
                    yield rows_of([(record, [snapshot])])
            raise
        yield whole


def _decoded_snapshots(record: Record, text: bytes) -> list[Snapshot]:
    try:
        return _parsed(_SNAPSHOT_DECODER, b"[" + text + b"]")
    except ValueError as error:
        behind = f", behind snapshot {record.snapshot_count}" if record.snapshot_count else ""
        raise ValueError(f"record {record.number}{behind}: {error}") from error


def _parsed(decoder: msgspec.json.Decoder[_T], text: bytes) -> _T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"its JSON makes no sense: {error}") from error
