"""What a format of recordings has to offer."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

import pyarrow as pa

from pydamon._data.formats.content import Content
from pydamon._data.formats.holds import Holds
from pydamon._data.recording.format import RecordingInfo
from pydamon._data.recording.recording import Recording

__all__ = ["UNREADABLE", "Format", "Source"]

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
"""What libraries raise for files that are not what they should be."""


class Source(Protocol):
    """A file of some format that was found to be one.

    `ordered` says whether its snapshots follow one another in time.
    """

    info: RecordingInfo
    ordered: bool

    def batches(self) -> Iterator[pa.RecordBatch | pa.Table]:
        """Its rows from the first on, whenever asked, in pieces that fit into memory.

        Columns are those of `COLUMNS`, in any order, perhaps without `host`, and perhaps with
        `EXTRA`. Values are checked by whoever asks. Raises `Incomplete` or one of `UNREADABLE`
        where the file is damaged or not finished, after all that can be read.
        """
        ...


class Format(Protocol):
    """A format: one module here, registered in `formats.FORMATS`.

    `name` is what people call it, `suffixes` what its files are called (the first of them is
    the usual one), `is_text` whether it is for eyes and pipes, `holds` what of a recording it can
    hold, or `None` if that is everything.
    """

    name: str
    suffixes: tuple[str, ...]
    is_text: bool
    holds: Holds | None

    def matches(self, head: bytes) -> bool:
        """Whether a file that begins with these bytes (64 KiB, if it has them) may be one."""
        ...

    def open(self, content: Content) -> Source:
        """Make sure that it is one. Raises `ValueError` or another of `UNREADABLE`."""
        ...

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        """Write a recording that comes in parts, which may be asked for more than once."""
        ...
