"""Text files of any size, some whole lines at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["line_chunks"]

_CHUNK = 2**22
_MOST_LINE = 2**22


def line_chunks(path: Path) -> Iterator[bytes]:
    """Lines, a few MiB at a time; raises `ValueError` where one is longer than any can be."""
    begun = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            lines, newline, rest = chunk.rpartition(b"\n")
            if newline:
                yield begun + lines + newline
                begun = b""
            begun += rest
            if len(begun) > _MOST_LINE:
                raise ValueError("a line is longer than any can be")
    if begun:
        yield begun
