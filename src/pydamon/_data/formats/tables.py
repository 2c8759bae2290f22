"""CSV and NDJSON: a region a line, with the columns of every recording.

The description of the recording stands, as JSON, in a column of its own, `pydamon`, of the first
row only. So any program reads such a file as it is, and nothing is lost.
"""

from __future__ import annotations

import csv as csv_of_python
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pydamon._data.formats.content import (
    CHUNK_BYTES,
    HEAD_BYTES,
    PUT_TOGETHER,
    Content,
    line_chunks,
)
from pydamon._data.formats.holds import Holds
from pydamon._data.recording.arrays import POOL, strings, with_short_text
from pydamon._data.recording.format import COLUMNS, EXTRA, LATER, RecordingInfo, checked
from pydamon._data.recording.recording import Recording
from pydamon._model.attrs import Attrs

__all__ = ["Csv", "Ndjson"]

_INFO = "pydamon"
_MOST_COLUMNS = 1000
_TEXT_ROWS = 2**15
"""Made into text at once, which takes some KB a row."""
_SEPARATORS = b",;\t"
"""Where a comma separates decimals, spreadsheets separate columns by something else."""
_COLUMN_NUMBER = re.compile(r"In CSV column #(\d+)")
_KINDS = {
    field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type
    for field in (*COLUMNS, EXTRA)
}
"""The columns as they are in a text."""
_MAY_LACK = (*LATER, EXTRA.name)


class Csv:
    """Comma-separated values, with a header."""

    name = "csv"
    suffixes: tuple[str, ...] = (".csv",)
    is_text = True
    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        header = head.partition(b"\n")[0]
        has_columns = any(separator in header for separator in _SEPARATORS)
        return b"start_ns" in header and has_columns and not header.startswith((b"{", b"["))

    def open(self, content: Content) -> _CsvFile:
        return _CsvFile(content)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        from pyarrow import csv  # noqa: PLC0415

        writer: csv.CSVWriter | None = None
        for table in _text_tables(info, parts):
            if writer is None:
                writer = csv.CSVWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


class _CsvFile:
    ordered = True

    def __init__(self, content: Content) -> None:
        self._content = content
        self._separator, self._names = _header(content.head)
        self.info = _info_in(next(self._tables(), None))

    def batches(self) -> Iterator[pa.Table]:
        return map(_with_dictionaries, filter(len, map(_without_info, self._tables())))

    def _tables(self) -> Iterator[pa.Table]:
        from pyarrow import csv  # noqa: PLC0415

        row_count = 0
        try:
            with csv.open_csv(
                pa.PythonFile(_ChunkReader(self._content.chunks()), "r"),
                csv.ReadOptions(use_threads=False, block_size=CHUNK_BYTES),
                csv.ParseOptions(newlines_in_values=True, delimiter=self._separator),
                csv.ConvertOptions(
                    column_types={**_KINDS, _INFO: pa.string()},
                    include_columns=[name for name in (*_KINDS, _INFO) if name in self._names],
                ),
                POOL,
            ) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch])
                    row_count += len(batch)
        except pa.ArrowInvalid as error:
            if any(f"invalid value '{name}'" in str(error) for name in self._names):
                raise ValueError(f"its header comes again: {PUT_TOGETHER}") from error
            message = _COLUMN_NUMBER.sub(self._column, str(error), count=1)
            raise ValueError(f"behind row {row_count:,}: {message}") from error

    def _column(self, number: re.Match[str]) -> str:
        index = int(number[1])
        return f"column {self._names[index]}" if index < len(self._names) else number[0]


def _header(head: bytes) -> tuple[str, list[str]]:
    """What separates columns, and their names; raises `ValueError`."""
    line, ended, _ = head.partition(b"\n")
    if not ended and len(head) >= HEAD_BYTES:
        raise ValueError("its first line is longer than the names of columns are")
    separator = max(_SEPARATORS.decode(), key=line.decode(errors="replace").count)
    names = next(csv_of_python.reader([line.decode(errors="replace")], delimiter=separator), [])
    if len(names) > _MOST_COLUMNS:
        raise ValueError(f"it has {len(names):,} columns")
    twice = [name for name in (*_KINDS, _INFO) if names.count(name) > 1]
    if twice:
        raise ValueError(f"the column {twice[0]} is there twice")
    for name in COLUMNS.names:
        if name not in names and name not in LATER:
            raise ValueError(f"the column {name} is missing")
    return separator, names


class _ChunkReader:
    """Chunks of bytes as a file for `pyarrow.PythonFile`."""

    closed = False

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, count: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        given, self._rest = self._rest[:count], self._rest[count:]
        return bytes(given)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the file to whoever opened it."""


class Ndjson:
    """A JSON object a line."""

    name = "ndjson"
    suffixes: tuple[str, ...] = (".ndjson", ".jsonl")
    is_text = True
    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        return head.startswith(b"{")

    def open(self, content: Content) -> _NdjsonFile:
        return _NdjsonFile(content)

    def write(self, file: BinaryIO, info: RecordingInfo, parts: Iterable[Recording]) -> None:
        from pyarrow import compute  # noqa: PLC0415

        for table in _text_tables(info, parts):
            values: list[Any] = []
            for name in table.column_names:
                column = table[name]
                if name != _INFO:
                    if _KINDS[name] == pa.string():
                        words = column.dictionary_encode().unify_dictionaries().combine_chunks()
                        quoted = strings(map(json.dumps, words.dictionary.to_pylist()))
                        column = quoted.take(words.indices)
                    values += [f'{"," if values else "{"}"{name}":', column.cast(pa.string())]
            lines = compute.binary_join_element_wise(*values, "}", "").to_pylist()
            described = table[_INFO][0].as_py()
            if described:
                start = "{" if lines[0] is None else f"{lines[0][:-1]},"
                lines[0] = f'{start}"{_INFO}":{described}}}'
            file.write("".join(f"{line}\n" for line in lines).encode())


class _NdjsonFile:
    ordered = True

    def __init__(self, content: Content) -> None:
        self._content = content
        first = next(line_chunks(content.chunks()), b"").partition(b"\n")[0]
        row = json.loads(first)
        if not isinstance(row, dict) or (_INFO not in row and "start_ns" not in row):
            raise ValueError("its first line is no region")
        self.info = _info(row.get(_INFO), row.get("start_ns"))

    def batches(self) -> Iterator[pa.Table]:
        return map(_with_dictionaries, filter(len, map(_without_info, self._tables())))

    def _tables(self) -> Iterator[pa.Table]:
        from pyarrow import json as arrow_json  # noqa: PLC0415

        line_count = 0
        for chunk in line_chunks(self._content.chunks()):
            lines = chunk.count(b"\n") + 1
            if chunk.isspace():
                line_count += lines - 1
                continue
            try:
                table = arrow_json.read_json(
                    pa.BufferReader(chunk),
                    arrow_json.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
                    arrow_json.ParseOptions(
                        explicit_schema=pa.schema(list(_KINDS.items())),
                        unexpected_field_behavior="ignore",
                    ),
                    POOL,
                )
            except pa.ArrowInvalid as error:
                raise ValueError(_place(chunk, line_count) or str(error)) from error
            line_count += lines - 1
            rows = len(table)
            missing = [name for name in _MAY_LACK if table[name].null_count == rows]
            yield table.drop_columns(missing)


def _place(chunk: bytes, line_count: int) -> str:
    """Which of some lines, behind so many others, cannot be read, and why."""
    for number, line in enumerate(chunk.splitlines(), line_count + 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            return f"line {number}: {error}"
        if not isinstance(row, dict):
            return f"line {number}: it is no region"
        for name, kind in _KINDS.items():
            value = row.get(name, "" if kind == pa.string() else 0)
            if pa.types.is_integer(kind):
                most = 2 ** (kind.bit_width - 1)
                if type(value) is not int or not -most <= value < most:
                    return f"line {number}: {name} cannot be {str(value)[:40]!r}"
            elif not isinstance(value, str):
                return f"line {number}: {name} cannot be {str(value)[:40]!r}"
    return ""


def _text_tables(info: RecordingInfo, parts: Iterable[Recording]) -> Iterator[pa.Table]:
    """Parts with plain strings and the column that describes the recording.

    Of a recording without regions there is one row, with nothing but the description.
    """
    description = info.to_json().decode()
    empty = True
    pieces = (
        piece[begin : begin + _TEXT_ROWS]
        for part in parts
        for piece in with_short_text(part.table)
        for begin in range(0, len(piece), _TEXT_ROWS)
    )
    for table in filter(len, pieces):
        described = pa.nulls(len(table), pa.string())
        if empty:
            described = pa.concat_arrays([strings([description]), described[1:]])
        columns = [table[name].cast(_KINDS[name]) for name in table.column_names]
        empty = False
        yield pa.table([*columns, described], [*table.column_names, _INFO])
    if empty:
        nothing = [pa.nulls(1, _KINDS[name]) for name in COLUMNS.names]
        yield pa.table([*nothing, strings([description])], [*COLUMNS.names, _INFO])


def _without_info(table: pa.Table) -> pa.Table:
    """A table without the row that describes a recording without regions."""
    if len(table) and not table["start_ns"][0].is_valid:
        return table[1:]
    return table


def _with_dictionaries(table: pa.Table) -> pa.Table:
    """The columns of a recording, with names as they are in it."""
    kinds = [field for field in (*COLUMNS, EXTRA) if field.name in table.column_names]
    columns = [
        table[field.name].dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else table[field.name]
        for field in kinds
    ]
    return pa.table(columns, [field.name for field in kinds])


def _info_in(table: pa.Table | None) -> RecordingInfo:
    if table is None or len(table) == 0:
        raise ValueError("it has no rows")
    described = table[_INFO][0].as_py() if _INFO in table.column_names else None
    return _info(json.loads(described) if described else None, table["start_ns"][0].as_py())


def _info(description: Any, start_ns: Any) -> RecordingInfo:
    """The description in a file, or what can be said where other programs have left it out."""
    if description is not None:
        return checked(RecordingInfo.from_json(json.dumps(description).encode()))
    if not isinstance(start_ns, int) or start_ns < 0:
        raise ValueError("its first line is no region")
    return RecordingInfo(Attrs(), "", start_ns)
