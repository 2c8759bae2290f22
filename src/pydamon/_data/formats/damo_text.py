"""The text of damo's record files: cut into pieces, and parsed as records and snapshots."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from pydamon._data.formats.base import TargetIds
from pydamon._data.formats.content import CHUNK_BYTES, Incomplete, check_ratio
from pydamon._data.formats.damo_passed import kind_of_filters
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import Value, integers, number_of

__all__ = [
    "TARGET_ID",
    "Age",
    "DamoSnapshot",
    "NrAccesses",
    "Piece",
    "Record",
    "Region",
    "ahead",
    "attrs_of",
    "inflated",
    "pieces",
]

_MAX_SNAPSHOT_BYTES = 2**26
"""damo writes some 500 bytes a region."""
_MAX_HEAD_BYTES = 2**16
"""Of a record without its snapshots."""
_MAX_BRACKETS = 2**18
"""That are searched for the end of a snapshot: statistics have some dozens."""
_SNAPSHOTS = re.compile(rb'"snapshots"\s*:\s*\[')
_ARRAY_END = re.compile(rb"\}\s*\]")
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SPACE_OR_COMMA = re.compile(rb"[ \t\r\n,]*+")
_ONLY_BRACKETS = "it has brackets where there should be snapshots"
_NO_LIST = "it is not a list of records"

Piece: TypeAlias = tuple[Literal["head", "snapshots", "tail"], bytes]
"""A kind of piece, and its text.

A head is a record up to the bracket that opens its snapshots, a tail the rest of the record from
the closing bracket on. Between them come pieces of whole snapshots with commas between.
"""


def inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The text in zlib streams, one after the other; raises `Incomplete` if it is cut off."""
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
    """The same chunks, each made in a thread while its predecessor is parsed.

    Inflating takes a quarter of the time of reading, and another CPU can do it.
    """
    with ThreadPoolExecutor(1, "pydamon-inflate") as thread:
        coming = thread.submit(next, chunks, b"")
        while chunk := coming.result():
            coming = thread.submit(next, chunks, b"")
            yield chunk


def pieces(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """The pieces of a list of records; or of several lists, in files put together.

    Raises `ValueError` for any other text, and `Incomplete` if it ends too early.
    """
    text = _Text(chunks)
    while True:
        if text.next_byte() != b"[":
            raise ValueError(_NO_LIST)
        text.at += 1
        while (byte := text.next_byte(_SPACE_OR_COMMA)) != b"]":
            if byte != b"{":
                raise ValueError(_NO_LIST)
            yield "head", text.take_through(_SNAPSHOTS)
            yield from _snapshots(text)
            yield "tail", _tail(text)
        text.at += 1
        if text.has_ended():
            return


class _Text:
    """A text that is read bit by bit: `buffer` from `at` on comes next."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.buffer = b""
        self.at = 0

    def more(self, most_bytes: int = _MAX_SNAPSHOT_BYTES) -> int:
        """Read on; return by how much the text moves to the front of the buffer."""
        if len(self.buffer) - self.at > most_bytes:
            raise ValueError("a part of it is larger than any snapshot can be")
        chunk = next(self._chunks, b"")
        if not chunk:
            raise Incomplete("its end is cut off")
        moved, self.at = self.at, 0
        self.buffer = self.buffer[moved:] + chunk
        return moved

    def take(self, end: int) -> bytes:
        """Take everything before a place in the buffer."""
        taken, self.at = self.buffer[self.at : end], end
        return taken

    def take_through(self, pattern: re.Pattern[bytes]) -> bytes:
        """Take everything up to the end of the first match."""
        while not (match := pattern.search(self.buffer, self.at, self.at + 2 * _MAX_HEAD_BYTES)):
            self.more(_MAX_HEAD_BYTES)
        return self.take(match.end())

    def next_byte(self, skipped: re.Pattern[bytes] = _SPACE) -> bytes:
        """The next byte behind a match of *skipped*; the byte is not taken."""
        while True:
            self._skip(skipped)
            if self.at < len(self.buffer):
                return self.buffer[self.at : self.at + 1]
            self.more()

    def has_ended(self) -> bool:
        """Whether only white space follows."""
        while True:
            self._skip(_SPACE)
            if self.at < len(self.buffer):
                return False
            self.buffer, self.at = next(self._chunks, b""), 0
            if not self.buffer:
                return True

    def _skip(self, skipped: re.Pattern[bytes]) -> None:
        match = skipped.match(self.buffer, self.at)
        assert match is not None  # the patterns match nothing, too
        self.at = match.end()


class _SnapshotScan:
    """Looks for ends of snapshots in a growing buffer, by counting square brackets."""

    def __init__(self, begin: int) -> None:
        self.regions_end = -1
        """Where the last complete list of regions ends; -1 before the first."""
        self._depth = 0
        self._counted = self._searched = begin
        self._brackets = 0

    def closing_bracket(self, buffer: bytes) -> int:
        """Where the bracket is that closes the list of snapshots; -1 if it is still to come."""
        for match in _ARRAY_END.finditer(buffer, self._searched):
            self._depth += _balance(buffer, b"[]", self._counted, match.end())
            self._counted = match.end()
            self._brackets += 1
            if self._depth < 0:
                return self._counted - 1
            if self._depth == 0:
                self.regions_end, self._brackets = self._counted, 0
            if self._brackets > _MAX_BRACKETS:
                raise ValueError(_ONLY_BRACKETS)
        self._searched = max(self._counted, buffer.rfind(b"}"))
        return -1

    def move(self, by: int) -> None:
        """Go on in a buffer whose text has moved to the front by so many bytes."""
        self._counted -= by
        self._searched -= by
        self.regions_end = max(-1, self.regions_end - by)


def _snapshots(text: _Text) -> Iterator[Piece]:
    """The snapshots of a record; the rest of the text begins with the closing bracket."""
    if text.next_byte() == b"]":
        return
    scan = _SnapshotScan(text.at)
    while True:
        closing = scan.closing_bracket(text.buffer)
        if closing >= 0:
            yield "snapshots", text.take(closing)
            return
        end = _object_end(text.buffer, scan.regions_end) if scan.regions_end >= 0 else 0
        if end:
            yield "snapshots", text.take(end)
            if text.next_byte(_SPACE_OR_COMMA) == b"]":
                return
            scan = _SnapshotScan(text.at)
        else:
            scan.move(text.more())


def _object_end(text: bytes, at: int) -> int:
    """Where the object ends that is open at *at*; 0 if its end is still to come."""
    depth = 1
    for _ in range(_MAX_BRACKETS):
        brace = text.find(b"}", at)
        if brace < 0:
            return 0
        depth += _balance(text, b"{}", at, brace + 1)
        at = brace + 1
        if depth == 0:
            return at
    raise ValueError(_ONLY_BRACKETS)


def _tail(text: _Text) -> bytes:
    """Take the rest of a record."""
    depth, at = 0, text.at
    while at - text.at <= _MAX_HEAD_BYTES:
        brace = text.buffer.find(b"}", at)
        if brace < 0:
            at -= text.more(_MAX_HEAD_BYTES)
            continue
        depth += _balance(text.buffer, b"{}", at, brace + 1)
        at = brace + 1
        if depth < 0:
            return text.take(at)
    raise ValueError("a record says more than any does besides its snapshots")


def _balance(text: bytes, brackets: bytes, start: int, end: int) -> int:
    """How many more brackets open than close between two places."""
    return text.count(brackets[:1], start, end) - text.count(brackets[1:], start, end)


TARGET_ID = re.compile(rb'"target_id"\s*:\s*"?(\d{1,20})')
_INDICES = ("kdamond_idx", "context_idx", "scheme_idx", "target_id")
_LONGEST_US = 2**50


class NrAccesses(msgspec.Struct, gc=False):
    samples: Value = None
    percent: Value = None


class Age(msgspec.Struct, gc=False):
    usec: Value = None
    aggr_intervals: Value = None


class Region(msgspec.Struct, gc=False):
    start: int | str
    end: int | str
    nr_accesses: NrAccesses | None = None
    age: Age | None = None
    probe_hits: tuple[Any, ...] = ()
    sz_filter_passed: Value = None


class DamoSnapshot(msgspec.Struct):
    start_time: int | float | str
    end_time: int | float | str
    regions: list[Region]
    total_bytes: Value = None
    damos_stats: Any = None
    sample_interval_us: Value = None


_EMPTY_TAILS: tuple[dict[str, Any], ...] = (
    {},
    {"snapshots": []},
    {"snapshots": [], "data_source": "unknown"},
)


@dataclass(slots=True)
class Record:
    """The facts that a record states about all its snapshots.

    `head` and `tail` are its JSON before and behind the snapshots. `number` counts records from 1,
    and `snapshot_count` the snapshots that have become rows already. `pids` has the pid of each
    target whose regions the snapshots list: only a record without a target id has several. The id
    of a target serves as its pid, so that reports tell targets apart.
    """

    head: dict[str, Any]
    target_ids: TargetIds
    number: int = 1
    tail: dict[str, Any] = field(default_factory=dict)
    snapshot_count: int = 0
    target_id: int | None = None
    name: str = ""
    attrs: Attrs = field(default_factory=Attrs)
    pids: list[int] = field(default_factory=list)
    filtered_kind: str = ""
    """The kind of pages that its filters let pass, if pydamon knows it."""
    with_empty: bool = False
    """Whether a snapshot without regions was read, as of a process that has ended."""

    def __post_init__(self) -> None:
        target_id = self.head.get("target_id")
        if isinstance(target_id, str | int) and not isinstance(target_id, bool):
            self.target_id = number_of(target_id)
        pairs = [(name, self.head.get(f"{name}_idx")) for name in ("kdamond", "context", "scheme")]
        scheme = ", ".join(f"{name} {index}" for name, index in pairs if index is not None)
        self.name = scheme if self.target_id is None else f"target {self.target_id}"
        try:
            self.attrs = attrs_of(self.head.get("intervals"))
        except ValueError as error:
            raise ValueError(f"record {self.number}: its intervals: {error}") from error
        self.filtered_kind = kind_of_filters(self.head.get("scheme_filters"))
        indices = [self.head.get(name) for name in _INDICES]
        # In files put together, records with the same indices and id are the same target.
        key = None if indices == [None] * len(_INDICES) else msgspec.json.encode(indices)
        self.pids.append(self.target_ids.pid(self.target_id, key))

    def pid_of(self, index: int) -> int:
        """The pid of the target whose list of regions has that index."""
        while len(self.pids) <= index:
            self.pids.append(self.target_ids.pid(None))
        return self.pids[index]

    def name_of(self, index: int) -> str:
        """The name of the target whose list of regions has that index."""
        return ", ".join(filter(None, [self.name, f"target {index}"])) if index else self.name

    def extra_of(self, index: int) -> dict[str, Any]:
        """The facts that no column holds, so that the record can be written again."""
        extra: dict[str, Any] = {"record": _without_snapshots(self.head)}
        if self.tail not in _EMPTY_TAILS:
            extra["tail"] = _without_snapshots(self.tail)
        if index:
            extra["with_pid"] = self.pids[0]
        if self.with_empty:
            extra["with_empty"] = True
        return extra


def _without_snapshots(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "snapshots"}


def attrs_of(intervals: Any) -> Attrs:
    """The intervals of a record; the usual ones if it does not state them."""
    names = ("sample_us", "aggr_us", "ops_update_us")
    if not isinstance(intervals, dict) or any(intervals.get(name) is None for name in names):
        return Attrs()
    values = integers([str(intervals[name]) for name in names], number_of).tolist()
    if max(values) > _LONGEST_US:
        raise ValueError("intervals are too long")
    sampling_ns, aggregation_ns, update_ns = (1000 * value for value in values)
    return Attrs(sampling_ns, aggregation_ns, max(update_ns, aggregation_ns))
