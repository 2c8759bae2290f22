"""Taking damo's JSON apart as it comes: record by record, some hundred snapshots at a time.

The text of a million regions is half a gigabyte; no more than a few megabytes of it are held.
Where snapshots begin and end is found by counting brackets, and a JSON parser judges every piece.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pydamon.recording.formats.content import CHUNK_BYTES, Incomplete, check_ratio

__all__ = ["Piece", "ahead", "inflated", "pieces"]

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
