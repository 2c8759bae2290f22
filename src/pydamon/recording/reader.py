"""Reading a recording back, whole or in parts, from any format, as far as it got."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.errors import RecordingError
from pydamon.recording.format import COLUMNS, EXTRA, LATER, RecordingInfo
from pydamon.recording.formats import HEAD_BYTES, format_of
from pydamon.recording.formats.base import POOL, UNREADABLE, Format, Incomplete, Source
from pydamon.recording.memory import free_memory
from pydamon.recording.recording import Recording, numbers, single

__all__ = ["RecordingFile", "open_recording", "read_recording"]

_PART_ROWS = 2**17
"""14 MB as columns."""
_MOST_SNAPSHOT_ROWS = 2**22
_MAX_ADDRESS = 2**57
"""No address space that Linux gives to a process is larger; sums of sizes stay within int64."""
_DAMAGED = "its end is cut off or damaged"
_LEAST_FREE = 2**25


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """The recording in a file of any format, whole and in memory: some 110 bytes a region.

    What a crash or damage has cut off is left out, and `Recording.complete` is then false. Raises
    `RecordingError` where there is no such file, it is not a recording, or it is too large for
    the memory that is free: `open_recording` reads that in parts.
    """
    return open_recording(path).read()


def open_recording(path: str | os.PathLike[str]) -> RecordingFile:
    """A recording of any format and size, to be read in parts; raises `RecordingError`."""
    return RecordingFile(Path(path))


class RecordingFile:
    """A recording of any size: iterate over it, as often as you like, to get it in parts.

    Each part is a `Recording` of whole snapshots with some 100,000 rows, so that memory stays
    bounded. `problem` says why the recording is not complete; it is known once a part that
    was cut short, or the last, has been read. Names have other codes in each part.

    `info` describes the recording, `format` is what the file was found to be. Raises
    `RecordingError` where there is no such file or it is not a recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self.format, self._source = _open(path)
        self.info: RecordingInfo = self._source.info

    def __iter__(self) -> Iterator[Recording]:
        self.problem = ""
        rows = _Rows(self.info)
        batches = iter(self._source.batches())
        while not self.problem:
            try:
                batch = next(batches)
                rows.add(batch)
                table = rows.take() if len(rows) >= _PART_ROWS else None
            except StopIteration:
                break
            except Incomplete as reason:
                self.problem = str(reason)
                break
            except UNREADABLE:
                self.problem = _DAMAGED
                break
            if table is not None:
                yield from self._sound(table)
        if len(rows):
            yield from self._sound(rows.take(all_of_them=True))

    def read(self) -> Recording:
        """All of it, with the snapshots in the order of time."""
        tables, row_count = [], 0
        for part in self:
            tables.append(part.table)
            row_count += len(part.table)
            self._check_memory(row_count)
        table = _joined(tables) if tables else COLUMNS.empty_table()
        if not self._source.ordered:
            table = _in_order(table)
        return Recording(self.info, table, self.problem)

    def _sound(self, table: pa.Table) -> Iterator[Recording]:
        """The part of a table before the first snapshot that holds nonsense."""
        part = Recording(self.info, table, self.problem)
        wrong = _nonsense(part)
        if wrong.any():
            self.problem = "it is damaged: regions make no sense"
            begins = part.snapshot_offsets
            # A nonsensical row may only seem to begin a snapshot: the one before is not trusted.
            at = np.searchsorted(begins, max(0, int(wrong.argmax()) - 1), side="right") - 1
            part = Recording(self.info, table[: int(begins[at])], self.problem)
        if len(part.table):
            yield part

    def _check_memory(self, row_count: int) -> None:
        """Joining takes a column or two besides the columns themselves, and reports take theirs."""
        if free_memory() < _LEAST_FREE + 2 * 8 * row_count:
            raise RecordingError(
                f"{self.path} does not fit into memory", hint="take a part of it: pydamon slice"
            )


class _Rows:
    """Rows that have been read and not yet been given on."""

    def __init__(self, info: RecordingInfo) -> None:
        self._info = info
        self._tables: list[pa.Table] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take rows over; raises `Incomplete` or another error where they are not sound."""
        batch.validate(full=True)
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        if "host" not in table.column_names:
            table = table.append_column("host", _constant(self._info.hostname, len(table)))
        for name in LATER.difference(table.column_names):
            table = table.append_column(name, pa.array(np.zeros(len(table), np.int64)))
        schema = COLUMNS.append(EXTRA) if EXTRA.name in table.column_names else COLUMNS
        table = pa.Table.from_arrays([table[name] for name in schema.names], schema=schema)
        if any(_has_null(column) for column in table.columns):
            raise Incomplete("it is damaged: values are missing")
        if len(table):
            self._tables.append(table)
            self._count += len(table)

    def take(self, *, all_of_them: bool = False) -> pa.Table | None:
        """All rows but those of the last snapshot, which may go on, as one table in one piece."""
        table = _joined(self._tables)
        self._tables, self._count = [], 0
        if all_of_them:
            return table
        cut = int(Recording(self._info, table).snapshot_offsets[-2])
        if len(table) - cut > _MOST_SNAPSHOT_ROWS:
            raise Incomplete("it is damaged: a snapshot has no end")
        self._tables, self._count = [table[cut:]], len(table) - cut
        return table[:cut] if cut else None


def _open(path: Path) -> tuple[Format, Source]:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise RecordingError(
            f"there is no recording {path}", hint="make one with: pydamon record"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"cannot read {path}: {reason}") from error
    if not head:
        raise RecordingError(f"{path} is empty")
    found = format_of(head)
    if found is None:
        raise RecordingError(f"{path} is not a recording")
    try:
        return found, found.open(path)
    except Incomplete as error:
        raise RecordingError(f"{path} is not a recording: {error}") from error
    except UNREADABLE as error:
        raise RecordingError(f"{path} is not a recording: {_line(error)}") from error


def _constant(name: str, count: int) -> pa.DictionaryArray:
    codes = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(codes, pa.array([name], pa.string()))


def _has_null(column: pa.ChunkedArray) -> bool:
    if column.null_count:
        return True
    chunks = column.chunks if pa.types.is_dictionary(column.type) else []
    return any(chunk.dictionary.null_count for chunk in chunks)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table in one piece; the list is emptied, to need the memory of one column besides."""
    if len(tables) == 1 and all(column.num_chunks == 1 for column in tables[0].columns):
        return tables.pop()
    table = pa.concat_tables(tables).unify_dictionaries(POOL)
    tables.clear()
    schema = table.schema
    columns = {name: table[name] for name in schema.names}
    del table
    pieces = []
    for name in schema.names:
        column = columns.pop(name)
        chunks = column.chunks
        del column
        pieces.append(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks, POOL))
        del chunks
    return pa.Table.from_arrays(pieces, schema=schema)


def _in_order(table: pa.Table) -> pa.Table:
    """The same rows in the order of time."""
    start_ns = numbers(single(table, "start_ns"))
    if len(table) == 0 or (start_ns[1:] >= start_ns[:-1]).all():
        return table
    order = np.argsort(start_ns, kind="stable")
    return table.take(pa.array(order)).combine_chunks(POOL)


def _nonsense(recording: Recording) -> NDArray[np.bool_]:
    """Which rows cannot have come from a monitor."""
    kinds = {field.name: field.type for field in COLUMNS}
    c = {n: recording.column(n) for n, kind in kinds.items() if not pa.types.is_dictionary(kind)}
    size = c["end"] - c["start"]
    wrong: NDArray[np.bool_] = (
        (c["start"] < 0)
        | (c["end"] > _MAX_ADDRESS)
        | (size <= 0)
        | (c["start_ns"] < 0)
        | (c["end_ns"] < c["start_ns"])
        | (c["nr_accesses"] < 0)
        | (c["nr_accesses"] > c["max_nr_accesses"])
        | (c["max_nr_accesses"] < 1)
        | (c["touched_bytes"] < 0)
        | (c["touched_bytes"] > size)
        | (c["unobservable_bytes"] < 0)
        | (c["unobservable_bytes"] > size)
    )
    costs = ("sampling_ns", "cpu_ns", "interruption_ns", "late_ticks")
    for name in ("pid", "age", *costs, "vsz_bytes", "rss_bytes"):
        wrong |= c[name] < 0
    # In one target's part of a snapshot, regions are sorted and do not overlap.
    same = np.ones(max(0, len(recording.table) - 1), np.bool_)
    same[recording.part_offsets[1:-1] - 1] = False
    wrong[1:] |= same & (c["start"][1:] < c["end"][:-1])
    return wrong


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or ["it does not fit into memory"])[0]
