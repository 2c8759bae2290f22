"""Text files of any size, some whole lines at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["line_chunks"]

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
