"""damo's record files: `json`, and `json_compressed`, which is the same text as one zlib stream.

Their records are per target: every snapshot of one, then every snapshot of the next. What damo
writes and no column of ours holds (filters, statistics of schemes, ...) is kept in the column
`extra`, so that nothing is lost on the way back.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec
import pyarrow as pa

from pydamon.core.attrs import Attrs
from pydamon.core.damo_values import ns_of
from pydamon.recording.format import RecordingInfo
from pydamon.recording.formats import damo_json, damo_write
from pydamon.recording.formats.content import CHUNK_BYTES, Content, Incomplete
from pydamon.recording.formats.damo_rows import TARGET_ID, Record, Snapshot, rows_of
from pydamon.recording.formats.holds import Holds
from pydamon.recording.formats.numbering import Numbering, check_count
from pydamon.recording.recording import Recording

__all__ = ["DamoJson", "DamoJsonCompressed"]

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
        return DamoSource(lambda: damo_json.inflated(content.chunks()))

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
            for kind, text in damo_json.pieces(chunks()):
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
            for kind, text in damo_json.pieces(damo_json.ahead(self._chunks())):
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
