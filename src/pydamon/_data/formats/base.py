"""The interface of a format of recordings: a module here that is listed in `formats.FORMATS`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

import pyarrow as pa

from pydamon._data.formats.content import Content
from pydamon._data.formats.losses import Holds
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.schema import RecordingInfo

__all__ = ["UNREADABLE", "BatchReader", "Format"]

UNREADABLE = (
    pa.ArrowException,
    OSError,
    MemoryError,
    ValueError,
    OverflowError,
    KeyError,
    RecursionError,
    zlib.error,
)
"""Errors that libraries raise for files that are damaged or malicious."""


class BatchReader(Protocol):
    """Reads the rows of a file; `ordered` says whether its snapshots come in the order of time."""

    info: RecordingInfo
    ordered: bool

    def batches(self) -> Iterator[pa.RecordBatch | pa.Table]:
        """Yield the rows from the first on, in pieces that fit into memory; more than once.

        The columns are `COLUMNS` in any order; `OPTIONAL_COLUMNS` may be missing, and `EXTRA` may
        be there. The caller checks the values. Raises `Incomplete` or one of `UNREADABLE` where the
        file is damaged or not finished, after all rows that can be read.
        """
        ...


class Format(Protocol):
    """A file format.

    `name` is the name that people use. `suffixes` end the names of its files; new files get the
    first. `is_text` says whether it is fit for terminals and pipes. `holds` says which facts it can
    hold; `None` means all.
    """

    name: str
    suffixes: tuple[str, ...]
    is_text: bool
    holds: Holds | None

    def matches(self, head: bytes) -> bool:
        """Whether a file may have this format; *head* is its first 64 KiB, or all of it."""
        ...

    def open(self, content: Content) -> BatchReader:
        """Open a file. Raises `ValueError` or another of `UNREADABLE` if it has another format."""
        ...

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        """Write a recording; *chunks* may be iterated over more than once."""
        ...
