"""The interface of a format of recordings, and what formats share: rows in chunks, made-up pids."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats.content import Content, Incomplete
from pydamon._data.formats.output import Holds
from pydamon._data.recording.arrow import (
    column_array,
    concatenate,
    constant_array,
    to_arrow,
    to_numpy,
)
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import conform, default_numbers, with_used_names
from pydamon._data.recording.schema import COLUMNS, EXTRA, OPTIONAL_COLUMNS, RecordingInfo
from pydamon._model.errors import RecordingError

__all__ = [
    "UNREADABLE",
    "BatchReader",
    "Format",
    "RowBuffer",
    "TargetIds",
    "WithFilesBeside",
    "check_count",
    "ids_of",
]

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
    """A file format; `holds` says which facts it can hold, and `None` means all.

    Its name and its suffixes stand in `formats.FORMATS`.
    """

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


@runtime_checkable
class WithFilesBeside(Protocol):
    """A format whose recordings have other files beside them.

    `columns_beside` has their suffixes, each with the columns that the file holds.
    """

    columns_beside: Mapping[str, tuple[str, ...]]

    def texts_beside(self, info: RecordingInfo, chunks: Iterable[Recording]) -> dict[str, bytes]:
        """The content of these files by suffix, of those that there is something for."""
        ...


_MAX_NAMES_BYTES = 2**25
_MAX_SMALL_TABLES = 256
_MAX_SNAPSHOT_ROWS = 2**22
_WORDS = ("page_ages", "passed", "page_map", "cpu_use")
"""Columns of names that say several numbers of each region, or of each page."""


class RowBuffer:
    """Rows that have been read, until there are enough whole snapshots for a chunk."""

    def __init__(self, info: RecordingInfo, chunk_rows: int) -> None:
        self._info = info
        self._chunk_rows = chunk_rows
        self._tables: list[pa.Table] = []
        self._small: list[pa.Table] = []
        """The last tables, still to be joined: thousands of them take more than their rows."""
        self._row_count = 0
        self._names_bytes = 0

    def __len__(self) -> int:
        return self._row_count

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take rows; raises `ValueError` or another of `UNREADABLE` if they are not sound."""
        if len(batch) == 0:
            return
        batch.validate(full=True)
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        table = self._completed(conform(table))
        self._small.append(table)
        self._row_count += len(table)
        self._names_bytes += sum(
            chunk.dictionary.nbytes
            for column in table.columns
            if pa.types.is_dictionary(column.type)
            for chunk in column.chunks
        )
        if len(self._small) >= _MAX_SMALL_TABLES:
            self._tables.append(concatenate(self._small))

    def _completed(self, table: pa.Table) -> pa.Table:
        """The table with every column, in the usual order."""
        if "host" not in table.column_names:
            host = constant_array(self._info.hostname, len(table))
            table = table.append_column("host", host)
        for name in (*_WORDS, "container"):
            if name not in table.column_names:
                table = table.append_column(name, constant_array("", len(table)))
        for name in OPTIONAL_COLUMNS.difference(table.column_names):
            numbers = default_numbers(name, len(table), partial(_int64_column, table))
            table = table.append_column(name, to_arrow(numbers))
        schema = COLUMNS.append(EXTRA) if EXTRA.name in table.column_names else COLUMNS
        return pa.Table.from_arrays([table[name] for name in schema.names], schema=schema)

    def take_chunk(self) -> pa.Table | None:
        """The whole snapshots, if there are enough for a chunk; the last snapshot may go on."""
        if self._row_count < self._chunk_rows and self._names_bytes < _MAX_NAMES_BYTES:
            return None
        table = self.take_all()
        cut = int(Recording(self._info, table).snapshot_offsets[-2])
        if len(table) - cut > _MAX_SNAPSHOT_ROWS:
            raise Incomplete("it is damaged: a snapshot has no end")
        # These words hardly ever come again: the next chunk must not keep those of this one.
        rest = with_used_names(table[cut:], _WORDS)
        self._tables, self._row_count = [rest], len(table) - cut
        return table[:cut] if cut else None

    def take_all(self) -> pa.Table:
        """All rows as one table in one piece."""
        table = concatenate(self._tables + self._small)
        self._tables, self._small, self._row_count, self._names_bytes = [], [], 0, 0
        return table


def _int64_column(table: pa.Table, name: str) -> NDArray[np.int64]:
    return to_numpy(column_array(table, name)).astype(np.int64)


_MAX_PID = 2**31 - 1
_LONGEST_MATCH = 64
_MAX_TARGETS = 2**15


class TargetIds:
    """The pids of a file's targets: the ids in the file, or free numbers for targets without.

    *chunks* returns the text of the file, in which *pattern* finds the ids. The text is searched
    when the first target without an id comes, so that no two targets get the same number.
    """

    def __init__(self, chunks: Callable[[], Iterator[bytes]], pattern: re.Pattern[bytes]) -> None:
        self._chunks = chunks
        self._pattern = pattern
        self._used: set[int] = set()
        self._in_file: set[int] | None = None
        self._next_free = 0
        self._by_key: dict[bytes, int] = {}

    def pid(self, target_id: int | None, key: bytes | None = None) -> int:
        """The pid of a new target, or of the target that had the same *key* before."""
        if key is not None and key in self._by_key:
            return self._by_key[key]
        if target_id is None or target_id in self._used or not 0 <= target_id <= _MAX_PID:
            target_id = self._free_id()
        self._used.add(target_id)
        if key is not None:
            self._by_key[key] = target_id
        return target_id

    def _free_id(self) -> int:
        if self._in_file is None:
            self._in_file = set(self._ids_in_file())
        while self._next_free in self._used or self._next_free in self._in_file:
            self._next_free += 1
        return self._next_free

    def _ids_in_file(self) -> Iterator[int]:
        before = b""
        for chunk in self._chunks():
            yield from map(int, self._pattern.findall(before + chunk))
            before = chunk[-_LONGEST_MATCH:]


def check_count(targets: int) -> None:
    """Raise `ValueError` if a file has more targets than DAMON is ever given."""
    if targets > _MAX_TARGETS:
        raise ValueError(f"it has more than {_MAX_TARGETS:,} targets")


def ids_of(pids: Iterable[int]) -> Iterator[int]:
    """The ids to write for targets: their pids, or another number where a pid comes twice.

    Raises `RecordingError` if there are more targets than could be read again.
    """
    wanted = list(pids)
    if len(wanted) > _MAX_TARGETS:
        raise RecordingError(
            f"damo's formats have at most {_MAX_TARGETS:,} targets, not {len(wanted):,}",
            hint="take some of them: pydamon slice --pid",
        )
    written, reserved = set[int](), set(wanted)
    free = 0
    for pid in wanted:
        if pid not in written:
            written.add(pid)
            yield pid
            continue
        while free in reserved:
            free += 1
        reserved.add(free)
        yield free
