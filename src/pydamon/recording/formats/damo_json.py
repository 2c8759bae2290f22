"""Taking damo's JSON apart as it comes: record by record, some hundred snapshots at a time.

The text of a million regions is half a gigabyte; no more than a few megabytes of it are held.
Where snapshots begin and end is found by counting brackets, and a JSON parser judges every piece.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydamon.recording.formats.base import Incomplete

__all__ = ["Piece", "ahead", "inflated", "pieces", "plain"]

_CHUNK = 2**22
_MOST_TEXT = 2**26
"""Of one snapshot. damo writes some 500 bytes a region."""
_MOST_HEAD = 2**20
_SNAPSHOTS = re.compile(rb'"snapshots"\s*:\s*\[')
_ARRAY_END = re.compile(rb"\}\s*\]")
_SPACE = b" \t\r\n"

Piece = tuple[str, bytes]
"""`"head"` and a record up to the bracket that opens its snapshots; `"snapshots"` and some of
these, with commas between; `"tail"` and the rest of the record, from the closing bracket on."""


def plain(path: Path) -> Iterator[bytes]:
    """The text of a JSON file, in chunks."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def inflated(path: Path) -> Iterator[bytes]:
    """The text of a zlib-compressed file, in chunks; raises `Incomplete` where it is cut off.

    Files put together are one text: what follows a stream is the next one.
    """
    inflater = zlib.decompressobj()
    rest = b""
    with path.open("rb") as file:
        while True:
            data = inflater.unconsumed_tail or rest or file.read(_CHUNK)
            rest = b""
            if not data:
                raise Incomplete("its end is cut off")
            if chunk := inflater.decompress(data, _CHUNK):
                yield chunk
            if inflater.eof:
                rest = inflater.unused_data or file.read(_CHUNK)
                if not rest.strip(_SPACE + b"\0"):
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
        text.drop(1)
        while (byte := text.next_byte(b",")) != b"]":
            if byte != b"{":
                raise ValueError("it is not a list of records")
            head = text.until(_SNAPSHOTS)
            yield "head", head
            yield from _snapshots(text)
            yield "tail", _tail(text)
        text.drop(1)
        if text.has_ended():
            return


class _Text:
    """The part of a text that is being looked at."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.buffer = b""

    def more(self, most: int = _MOST_TEXT) -> None:
        """Read on."""
        if len(self.buffer) > most:
            raise ValueError("a part of it is larger than any snapshot can be")
        chunk = next(self._chunks, b"")
        if not chunk:
            raise Incomplete("its end is cut off")
        self.buffer += chunk

    def drop(self, count: int) -> bytes:
        """Take so many bytes away."""
        dropped, self.buffer = self.buffer[:count], self.buffer[count:]
        return dropped

    def next_byte(self, besides: bytes = b"") -> bytes:
        """The next byte that is neither white space nor one of *besides*; it stays."""
        while not (rest := self.buffer.lstrip(_SPACE + besides)):
            self.buffer = b""
            self.more()
        self.buffer = rest
        return rest[:1]

    def has_ended(self) -> bool:
        """Whether nothing but white space follows."""
        while not (rest := self.buffer.lstrip(_SPACE)):
            self.buffer = next(self._chunks, b"")
            if not self.buffer:
                return True
        self.buffer = rest
        return False

    def until(self, pattern: re.Pattern[bytes]) -> bytes:
        """Take everything up to the end of what matches first."""
        while not (match := pattern.search(self.buffer)):
            self.more(_MOST_HEAD)
        return self.drop(match.end())


def _snapshots(text: _Text) -> Iterator[Piece]:
    """The snapshots of a record; what is left begins with the bracket that closes them."""
    if text.next_byte() == b"]":
        return
    depth = scanned = ended = searched = 0
    while True:
        for match in _ARRAY_END.finditer(text.buffer, searched):
            depth += _balance(text.buffer, b"[]", scanned, match.end())
            scanned = match.end()
            if depth < 0:
                yield "snapshots", text.drop(scanned - 1)
                return
            if depth == 0:
                ended = scanned  # the regions of a snapshot
        cut = _object_end(text.buffer, ended) if ended else 0
        if cut:
            yield "snapshots", text.drop(cut)
            text.next_byte(b",")
            depth = scanned = ended = searched = 0
            if text.buffer.startswith(b"]"):
                return
        else:
            searched = max(scanned, text.buffer.rfind(b"}"))
            text.more()


def _object_end(text: bytes, at: int) -> int:
    """Where the object that is open at *at* ends; 0 if its end is not there yet."""
    open_ones = 1
    while (brace := text.find(b"}", at)) >= 0:
        open_ones += _balance(text, b"{}", at, brace + 1)
        at = brace + 1
        if open_ones == 0:
            return at
    return 0


def _tail(text: _Text) -> bytes:
    depth = at = 0
    while True:
        brace = text.buffer.find(b"}", at)
        if brace < 0:
            text.more(_MOST_HEAD)
            continue
        depth += _balance(text.buffer, b"{}", at, brace + 1)
        at = brace + 1
        if depth < 0:
            return text.drop(at)


def _balance(text: bytes, brackets: bytes, start: int, end: int) -> int:
    """How many more brackets open than close in a part of a text."""
    return text.count(brackets[:1], start, end) - text.count(brackets[1:], start, end)
