"""The content of a file, whichever tool wrote it: unpacked, decoded, and cut into lines."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import pyarrow as pa

__all__ = [
    "CHUNK_BYTES",
    "HEAD_BYTES",
    "PUT_TOGETHER",
    "ChunkFile",
    "Content",
    "Incomplete",
    "Readable",
    "check_ratio",
    "line_chunks",
]

HEAD_BYTES = 2**16
CHUNK_BYTES = 2**22
PUT_TOGETHER = "it may be several recordings put together, of which `pydamon merge` makes one"
_PIECE_BYTES = 2**16
_MAX_LINE_BYTES = 2**22
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks, and the encodings that they stand for."""
_BLANKS_AND_COMMENTS = re.compile(rb"(?:[ \t\r\n]++|#[^\n]*+\n)*+")
_MAX_RATIO = 300
"""The indented text that damo writes of an idle process is some 150 times its compressed size."""
_ANY_RATIO_BYTES = 2**24


class Incomplete(Exception):  # noqa: N818
    """A file ends too early. The message says how, as in "it was not closed"."""


class Readable(Protocol):
    """Bytes that can be read from the first to the last."""

    def read(self, count: int, /) -> bytes: ...


def check_ratio(unpacked_bytes: int, packed_bytes: int, most: int = _MAX_RATIO) -> None:
    """Raise `ValueError` if a few bytes unpack to more than a recording of that size can hold."""
    if unpacked_bytes > max(_ANY_RATIO_BYTES, most * packed_bytes):
        raise ValueError("it unpacks to far more than a recording of its size can hold")


def line_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in chunks of whole lines; raises `ValueError` for a line without end."""
    begun = b""
    for chunk in chunks:
        lines, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield begun + lines + newline
            begun = b""
        begun += rest
        if len(begun) > _MAX_LINE_BYTES:
            raise ValueError("a line is longer than any can be")
    if begun:
        yield begun


class ChunkFile:
    """Chunks of bytes as a file for `pyarrow.PythonFile`."""

    closed = False

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ready = memoryview(b"")

    def read(self, count: int) -> bytes:
        """At most *count* bytes of the chunk that is due."""
        if not self._ready:
            self._ready = memoryview(next(self._chunks, b""))
        given, self._ready = self._ready[:count], self._ready[count:]
        return bytes(given)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the file to whoever opened it."""


class Content:
    """The content of the file *path*, which may be compressed as a whole by gzip or zstd."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            first = file.read(4)
        self.compression = next(
            (name for magic, name in _COMPRESSIONS if first.startswith(magic)), ""
        )

    @cached_property
    def head(self) -> bytes:
        """The first bytes of `chunks`: at most `HEAD_BYTES`."""
        return next(self.chunks(HEAD_BYTES), b"")[:HEAD_BYTES]

    @contextmanager
    def open(self) -> Iterator[Readable]:
        """Open the unpacked bytes."""
        with ExitStack() as stack:
            file = stack.enter_context(self.path.open("rb"))
            if self.compression == "gzip":
                # Arrow's reader gives nothing of a small file whose end is missing.
                yield _Unpacked(gzip.GzipFile(fileobj=file).read1, self.path.stat().st_size)
            elif self.compression:
                unpacked = pa.CompressedInputStream(pa.PythonFile(file, "r"), self.compression)
                stack.callback(unpacked.close)
                yield _Unpacked(unpacked.read, self.path.stat().st_size)
            else:
                yield file

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield text as UTF-8, without leading blank lines and comments; or bytes that are no text.

        A chunk has about *size* bytes.
        """
        with self.open() as file:
            yield from _without_comments(_decoded(iter(lambda: file.read(size), b"")))


def _decoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Text as UTF-8, if it begins with a byte order mark; otherwise the same bytes."""
    first = next(chunks, b"")
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if first.startswith(mark)), "")
    if not encoding:
        yield first
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    yield decoder.decode(first).encode()
    for chunk in chunks:
        yield decoder.decode(chunk).encode()


def _without_comments(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks from the first line on that is neither blank nor a comment."""
    begun = b""
    for chunk in chunks:
        begun += chunk
        begun = begun[cast("re.Match[bytes]", _BLANKS_AND_COMMENTS.match(begun)).end() :]
        if begun.startswith(b"#"):
            begun = b"#"  # the rest of the comment is still to come
        elif begun:
            yield begun
            break
    yield from filter(None, chunks)


class _Unpacked:
    """A compressed file; reading it takes no more memory and time than its size lets expect."""

    def __init__(self, read: Callable[[int], bytes], size_bytes: int) -> None:
        self._read = read
        self._size_bytes = size_bytes
        self._unpacked_bytes = 0
        self._is_damaged = False

    def read(self, count: int) -> bytes:
        """The next bytes, at most *count*; raises `Incomplete` behind the last that is sound."""
        pieces: list[bytes] = []
        while count > 0 and (piece := self._piece(count)):
            pieces.append(piece)
            count -= len(piece)
        if self._is_damaged and not pieces:
            raise Incomplete("its end is cut off or damaged")
        return b"".join(pieces)

    def _piece(self, count: int) -> bytes:
        """The next bytes; none at the end, and where the file is damaged."""
        if self._is_damaged:
            return b""
        try:
            piece = bytes(self._read(min(count, _PIECE_BYTES)))
        except (OSError, EOFError, zlib.error) as error:
            if getattr(error, "errno", None):
                raise
            self._is_damaged = True
            return b""
        self._unpacked_bytes += len(piece)
        check_ratio(self._unpacked_bytes, self._size_bytes)
        return piece
