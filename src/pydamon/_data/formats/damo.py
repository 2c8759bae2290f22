"""damo's record files, `json` and `json_compressed`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec
import pyarrow as pa

from pydamon._data.formats import damo_beside_write, damo_write
from pydamon._data.formats.base import TargetIds, check_count
from pydamon._data.formats.content import CHUNK_BYTES, Content, Incomplete
from pydamon._data.formats.damo_rows import rows_of
from pydamon._data.formats.damo_text import TARGET_ID, DamoSnapshot, Record, ahead, inflated, pieces
from pydamon._data.formats.output import Holds
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import RecordingInfo
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import ns_of

__all__ = ["DamoJson", "DamoJsonCompressed", "DamoReader"]

_T = TypeVar("_T")
_SNAPSHOTS = msgspec.json.Decoder(list[DamoSnapshot])
_RECORD = msgspec.json.Decoder(dict[str, Any])
_RECORD_BYTES = 500
"""Of a record without its snapshots, roughly."""
_LATEST_NS = 2**63 - 1
_UNREADABLE = (Incomplete, ValueError, OSError, zlib.error)


class DamoJson:
    """damo's `json`."""

    holds: Holds | None = damo_write.HOLDS
    columns_beside = damo_beside_write.COLUMNS
    texts_beside = staticmethod(damo_beside_write.texts_beside)

    def matches(self, head: bytes) -> bool:
        return head.lstrip().startswith(b"[")

    def open(self, content: Content) -> DamoReader:
        return DamoReader(content.chunks)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        for text in damo_write.json_text(chunks):
            file.write(text)


class DamoJsonCompressed:
    """damo's `json_compressed`, its default."""

    holds: Holds | None = damo_write.HOLDS
    columns_beside = damo_beside_write.COLUMNS
    texts_beside = staticmethod(damo_beside_write.texts_beside)

    def matches(self, head: bytes) -> bool:
        """Whether it begins as a zlib stream does (RFC 1950)."""
        return (
            len(head) > 1 and head[0] & 0x8F == 0x08 and int.from_bytes(head[:2], "big") % 31 == 0
        )

    def open(self, content: Content) -> DamoReader:
        return DamoReader(lambda: inflated(content.chunks()))

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        damo_write.deflate(file, damo_write.json_text(chunks))


class DamoReader:
    """Reads damo's JSON, of which *chunks* returns the text."""

    ordered = False

    def __init__(self, chunks: Callable[[], Iterator[bytes]]) -> None:
        self._chunks = chunks
        target_ids = TargetIds(chunks, TARGET_ID)
        attrs, started_ns = Attrs(), 0
        record_count = 0
        try:
            for kind, text in pieces(chunks()):
                if kind == "head":
                    record_count += 1
                    check_count(record_count)
                    attrs = Record(_parsed(_RECORD, text + b"]}"), target_ids).attrs
                elif kind == "snapshots":
                    started_ns = _first_start_ns(text)
                    break
        except Incomplete as error:
            if record_count == 0:
                raise ValueError("it is not a list of records with snapshots") from error
        self.info = RecordingInfo(attrs, "damo", started_ns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Small records share a batch. All sound rows come before the first error."""
        parsed = _ParsedSnapshots()
        problem: Exception | None = None
        try:
            for record, text in self._snapshots():
                parsed.add(record, text)
                if parsed.is_enough:
                    yield from parsed.take_batches()
        except _UNREADABLE as error:
            problem = error
        yield from parsed.take_batches()
        if problem is not None:
            raise problem

    def _snapshots(self) -> Iterator[tuple[Record, bytes]]:
        """Texts of snapshots with their records; the last of a record comes behind its tail."""
        target_ids = TargetIds(self._chunks, TARGET_ID)
        record: Record | None = None
        record_count = 0
        waiting: bytes | None = None
        try:
            for kind, text in pieces(ahead(self._chunks())):
                if kind == "head":
                    record_count += 1
                    check_count(record_count)
                    record = Record(_parsed(_RECORD, text + b"]}"), target_ids, record_count)
                assert record is not None  # since a head comes first
                if kind == "tail":
                    record.tail = _parsed(_RECORD, b'{"snapshots":[' + text)
                ready, waiting = waiting, text if kind == "snapshots" else None
                if ready is not None:
                    yield record, ready
        except _UNREADABLE:
            if waiting is not None and record is not None:
                yield record, waiting
            raise


class _ParsedSnapshots:
    """Snapshots that were parsed, and still become a batch."""

    def __init__(self) -> None:
        self._snapshots: list[tuple[Record, list[DamoSnapshot]]] = []
        self._size_bytes = 0

    @property
    def is_enough(self) -> bool:
        """Whether there are enough for a batch."""
        return self._size_bytes >= CHUNK_BYTES

    def add(self, record: Record, text: bytes) -> None:
        """Parse some snapshots of a record; raises `ValueError` that says which cannot be read."""
        try:
            snapshots = _parsed(_SNAPSHOTS, b"[" + text + b"]")
        except ValueError as error:
            behind = f", behind snapshot {record.snapshot_count}" if record.snapshot_count else ""
            raise ValueError(f"record {record.number}{behind}: {error}") from error
        self._snapshots.append((record, snapshots))
        self._size_bytes += len(text) + _RECORD_BYTES

    def take_batches(self) -> Iterator[pa.RecordBatch]:
        """All snapshots as a single batch; or separately, up to the first that makes no sense."""
        taken, self._snapshots, self._size_bytes = self._snapshots, [], 0
        if not taken:
            return
        try:
            batch = rows_of(taken)
        except ValueError:
            for record, snapshots in taken:
                for snapshot in snapshots:
                    yield rows_of([(record, [snapshot])])
            raise
        yield batch


def _first_start_ns(text: bytes) -> int:
    """When the first of some snapshots began; 0 if that cannot be read, which `batches` reports."""
    with suppress(ValueError):
        began = _parsed(_SNAPSHOTS, b"[" + text + b"]")[0].start_time
        return min(max(0, ns_of(began)), _LATEST_NS)
    return 0


def _parsed(decoder: msgspec.json.Decoder[_T], text: bytes) -> _T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"its JSON makes no sense: {error}") from error
