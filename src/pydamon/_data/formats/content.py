"""What a file holds, whichever tool wrote it: unpacked, decoded, and cut into lines."""

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
    "Content",
    "Incomplete",
    "Readable",
    "check_ratio",
    "line_chunks",
]

_MOST_LINE = 2**22


def line_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same as whole lines; raises `ValueError` where one is longer than any can be."""
    begun = b""
    for chunk in chunks:
        lines, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield begun + lines + newline
            begun = b""
        begun += rest
        if len(begun) > _MOST_LINE:
            raise ValueError("a line is longer than any can be")
    if begun:
        yield begun


HEAD_BYTES = 2**16
CHUNK_BYTES = 2**22
PUT_TOGETHER = "it may be several recordings put together, of which `pydamon merge` makes one"
_PIECE_BYTES = 2**16
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks, and the encodings that they stand for."""
_PREAMBLE = re.compile(rb"(?:[ \t\r\n]++|#[^\n]*+\n)*+")
_MOST_RATIO = 300
"""Damo's indented text of a process that does nothing is some 150 times its compressed size."""
_ANY_RATIO_BYTES = 2**24


class Incomplete(Exception):  # noqa: N818
    """What can be read of a file ends here; the message says why, as in "it was not closed"."""


class Readable(Protocol):
    """What can be read from the first byte to the last."""

    def read(self, count: int, /) -> bytes: ...


def check_ratio(unpacked_bytes: int, packed_bytes: int, most: int = _MOST_RATIO) -> None:
    """Raise `ValueError` where a few bytes unpack to more than those of a recording can."""
    if unpacked_bytes > max(_ANY_RATIO_BYTES, most * packed_bytes):
        raise ValueError("it unpacks to far more than a recording of its size can hold")


class Content:
    """The content of the file *path*, which may be compressed as a whole by gzip or zstd."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            first = file.read(4)
        self.compression = next(
            (name for magic, name in _COMPRESSED if first.startswith(magic)), ""
        )

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the text, or of what is no text: at most `HEAD_BYTES`."""
        return next(self.chunks(HEAD_BYTES), b"")[:HEAD_BYTES]

    @contextmanager
    def open(self) -> Iterator[Readable]:
        """The bytes in it, as they are."""
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
        """Text as UTF-8, from its first line that says something; or whatever is no text."""
        with self.open() as file:
            chunk = file.read(size)
            encoding = next((name for mark, name in _MARKS if chunk.startswith(mark)), "")
            if chunk.startswith(b"\xff\xff"):
                encoding = ""
            decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
            rest, has_begun = b"", False
            while chunk:
                text = decoder.decode(chunk).encode() if decoder else chunk
                if not has_begun:
                    rest += text
                    rest = rest[cast("re.Match[bytes]", _PREAMBLE.match(rest)).end() :]
                    is_comment = rest.startswith(b"#")
                    has_begun = bool(rest) and not is_comment
                    text, rest = (rest, b"") if has_begun else (b"", b"#" if is_comment else b"")
                if text:
                    yield text
                chunk = file.read(size)


class _Unpacked:
    """A compressed file that is not worth more memory or time than its size lets expect."""

    def __init__(self, read: Callable[[int], bytes], size_bytes: int) -> None:
        self._read = read
        self._size_bytes = size_bytes
        self._unpacked_bytes = 0
        self._is_damaged = False

    def read(self, count: int) -> bytes:
        """What there is, at most *count* bytes, before `Incomplete` is raised."""
        pieces: list[bytes] = []
        while count > 0 and not self._is_damaged:
            try:
                piece = bytes(self._read(min(count, _PIECE_BYTES)))
            except (OSError, EOFError, zlib.error) as error:
                if getattr(error, "errno", None):
                    raise
                self._is_damaged = True
                break
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
            self._unpacked_bytes += len(piece)
            check_ratio(self._unpacked_bytes, self._size_bytes)
        if self._is_damaged and not pieces:
            raise Incomplete("its end is cut off or damaged")
        return b"".join(pieces)
