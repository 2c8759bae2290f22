"""CSV and NDJSON: a region a line, with the columns of every recording.

The description of the recording stands, as JSON, in a column of its own, `pydamon`, of the first
row only. So any program reads such a file as it is, and nothing is lost.
"""

from __future__ import annotations

import codecs
import csv as python_csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from pydamon._data.formats.content import (
    CHUNK_BYTES,
    HEAD_BYTES,
    PUT_TOGETHER,
    ChunkFile,
    Content,
    line_chunks,
)
from pydamon._data.formats.output import Holds
from pydamon._data.recording.arrow import POOL, string_array
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import split_by_text
from pydamon._data.recording.schema import (
    COLUMNS,
    EXTRA,
    OPTIONAL_COLUMNS,
    RecordingInfo,
    check_version,
)
from pydamon._model.attrs import Attrs

__all__ = ["Csv", "Ndjson"]

_INFO = "pydamon"
_MAX_COLUMNS = 1000
_MAX_SHOWN = 40
_TEXT_ROWS = 2**15
"""Rows that are made into text at once, which takes some KB a row."""
_SEPARATORS = b",;\t"
"""Where decimals have a comma, spreadsheets separate columns by something else."""
_COLUMN_NUMBER = re.compile(r"In CSV column #(\d+)")
_TYPES = {
    field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type
    for field in (*COLUMNS, EXTRA)
}
"""The types of columns in a text."""
_MAY_LACK = (*OPTIONAL_COLUMNS, EXTRA.name)


class Csv:
    """Comma-separated values, with a header."""

    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        header = head.partition(b"\n")[0]
        has_columns = any(separator in header for separator in _SEPARATORS)
        return b"start_ns" in header and has_columns and not header.startswith((b"{", b"["))

    def open(self, content: Content) -> _CsvReader:
        return _CsvReader(content)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        from pyarrow import csv  # noqa: PLC0415  (slow to import)

        writer: csv.CSVWriter | None = None
        for table in _text_tables(info, chunks):
            if writer is None:
                writer = csv.CSVWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


class _CsvReader:
    ordered = True

    def __init__(self, content: Content) -> None:
        self._content = content
        self._separator, self._names = _header(content.head)
        self.info = _info_of_table(next(self._tables(), None))

    def batches(self) -> Iterator[pa.Table]:
        return _recording_tables(self._tables())

    def _tables(self) -> Iterator[pa.Table]:
        from pyarrow import csv  # noqa: PLC0415  (slow to import)

        row_count = 0
        bad_rows: list[csv.InvalidRow] = []

        def skip(row: csv.InvalidRow) -> str:
            bad_rows.append(row)
            return "skip"

        try:
            with csv.open_csv(
                pa.PythonFile(ChunkFile(_text_of(self._content.chunks())), "r"),
                csv.ReadOptions(use_threads=False, block_size=CHUNK_BYTES),
                csv.ParseOptions(
                    newlines_in_values=True,
                    delimiter=self._separator,
                    invalid_row_handler=skip,
                ),
                csv.ConvertOptions(
                    column_types={**_TYPES, _INFO: pa.string()},
                    include_columns=[name for name in (*_TYPES, _INFO) if name in self._names],
                ),
                POOL,
            ) as reader:
                for batch in reader:
                    # Rows are counted from the header on.
                    sound = bad_rows[0].number - 2 - row_count if bad_rows else len(batch)
                    yield pa.Table.from_batches([batch[:sound]])
                    row_count += sound
                    if bad_rows:
                        raise ValueError(_problem_with(bad_rows[0]))
        except pa.ArrowInvalid as error:
            if any(f"invalid value '{name}'" in str(error) for name in self._names):
                raise ValueError(f"its header comes again: {PUT_TOGETHER}") from error
            message = _COLUMN_NUMBER.sub(self._column_name, str(error), count=1)
            raise ValueError(f"behind row {row_count:,}: {message}") from error

    def _column_name(self, number: re.Match[str]) -> str:
        index = int(number[1])
        return f"column {self._names[index]}" if index < len(self._names) else number[0]


def _text_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same. Raises `ValueError` where they are not text: pyarrow would print a traceback."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks:
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise ValueError("it has bytes that are not text in UTF-8") from error
        yield chunk


def _problem_with(row: Any) -> str:
    return f"row {row.number:,} has {row.actual_columns:,} columns, not {row.expected_columns:,}"


def _header(head: bytes) -> tuple[str, list[str]]:
    """The separator of columns, and their names; raises `ValueError`."""
    line, newline, _ = head.partition(b"\n")
    if not newline and len(head) >= HEAD_BYTES:
        raise ValueError("its first line is longer than the names of columns are")
    text = line.decode(errors="replace")
    separator = max(_SEPARATORS.decode(), key=text.count)
    names = next(python_csv.reader([text], delimiter=separator), [])
    if len(names) > _MAX_COLUMNS:
        raise ValueError(f"it has {len(names):,} columns")
    repeated = [name for name in (*_TYPES, _INFO) if names.count(name) > 1]
    if repeated:
        raise ValueError(f"the column {repeated[0]} is there twice")
    for name in COLUMNS.names:
        if name not in names and name not in OPTIONAL_COLUMNS:
            raise ValueError(f"the column {name} is missing")
    return separator, names


class Ndjson:
    """A JSON object a line."""

    holds: Holds | None = None

    def matches(self, head: bytes) -> bool:
        return head.startswith(b"{")

    def open(self, content: Content) -> _NdjsonReader:
        return _NdjsonReader(content)

    def write(self, file: BinaryIO, info: RecordingInfo, chunks: Iterable[Recording]) -> None:
        for table in _text_tables(info, chunks):
            lines = _json_lines(table)
            description = table[_INFO][0].as_py()
            if description:
                start = "{" if lines[0] is None else f"{lines[0][:-1]},"
                lines[0] = f'{start}"{_INFO}":{description}}}'
            file.write("".join(f"{line}\n" for line in lines).encode())


def _json_lines(table: pa.Table) -> list[str | None]:
    """An object a row, without the description; `None` for a row that has nothing else."""
    from pyarrow import compute  # noqa: PLC0415  (slow to import)

    pieces: list[Any] = []
    for name in table.column_names:
        if name == _INFO:
            continue
        column = table[name]
        if _TYPES[name] == pa.string():
            words = column.dictionary_encode().unify_dictionaries().combine_chunks()
            quoted = string_array(map(json.dumps, words.dictionary.to_pylist()))
            column = quoted.take(words.indices)
        text = column.cast(pa.string()).fill_null("null")
        pieces += [f'{"," if pieces else "{"}"{name}":', text]
    lines: list[str | None] = compute.binary_join_element_wise(*pieces, "}", "").to_pylist()
    return lines


class _NdjsonReader:
    ordered = True

    def __init__(self, content: Content) -> None:
        self._content = content
        first = next(line_chunks(content.chunks()), b"").partition(b"\n")[0]
        row = json.loads(first)
        if not isinstance(row, dict) or (_INFO not in row and "start_ns" not in row):
            raise ValueError("its first line is no region")
        self.info = _info(row.get(_INFO), row.get("start_ns"))

    def batches(self) -> Iterator[pa.Table]:
        return _recording_tables(self._tables())

    def _tables(self) -> Iterator[pa.Table]:
        line_count = 0
        for chunk in line_chunks(self._content.chunks()):
            if not chunk.isspace():
                yield _parsed(chunk, line_count)
            line_count += chunk.count(b"\n")


def _parsed(chunk: bytes, line_count: int) -> pa.Table:
    """The rows in some lines, behind *line_count* others; raises `ValueError`."""
    from pyarrow import json as arrow_json  # noqa: PLC0415  (slow to import)

    try:
        table = arrow_json.read_json(
            pa.BufferReader(chunk),
            arrow_json.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
            arrow_json.ParseOptions(
                explicit_schema=pa.schema(list(_TYPES.items())),
                unexpected_field_behavior="ignore",
            ),
            POOL,
        )
    except pa.ArrowInvalid as error:
        raise ValueError(_first_problem(chunk, line_count) or str(error)) from error
    missing = [name for name in _MAY_LACK if table[name].null_count == len(table)]
    return table.drop_columns(missing)


def _first_problem(chunk: bytes, line_count: int) -> str:
    """Which of some lines, behind *line_count* others, cannot be read, and why."""
    for number, line in enumerate(chunk.splitlines(), line_count + 1):
        problem = _problem_in(line) if line.strip() else ""
        if problem:
            return f"line {number}: {problem}"
    return ""


def _problem_in(line: bytes) -> str:
    """Why a line cannot be read; empty if it can."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return str(error)
    if not isinstance(row, dict):
        return "it is no region"
    for name, kind in _TYPES.items():
        if name in row and not _fits(row[name], kind):
            return f"{name} cannot be {str(row[name])[:_MAX_SHOWN]!r}"
    return ""


def _fits(value: Any, kind: pa.DataType) -> bool:
    """Whether a JSON value can stand in a column of that type."""
    if pa.types.is_floating(kind):
        return value is None or type(value) in (int, float)
    if not pa.types.is_integer(kind):
        return isinstance(value, str)
    beyond = 2 ** (kind.bit_width - 1)
    return type(value) is int and -beyond <= value < beyond


def _text_tables(info: RecordingInfo, chunks: Iterable[Recording]) -> Iterator[pa.Table]:
    """The rows with plain strings, and the column with the description of the recording.

    A recording without regions becomes one row with nothing but the description.
    """
    description = info.to_json().decode()
    is_first = True
    pieces = (
        piece[begin : begin + _TEXT_ROWS]
        for chunk in chunks
        for piece in split_by_text(chunk.table)
        for begin in range(0, len(piece), _TEXT_ROWS)
    )
    for table in filter(len, pieces):
        descriptions = pa.nulls(len(table), pa.string())
        if is_first:
            descriptions = pa.concat_arrays([string_array([description]), descriptions[1:]])
        columns = [_text_column(name, table[name]) for name in table.column_names]
        is_first = False
        yield pa.table([*columns, descriptions], [*table.column_names, _INFO])
    if is_first:
        nulls = [pa.nulls(1, _TYPES[name]) for name in COLUMNS.names]
        yield pa.table([*nulls, string_array([description])], [*COLUMNS.names, _INFO])


def _text_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with plain strings, and nothing where a number is not known."""
    if not pa.types.is_floating(_TYPES[name]):
        return column.cast(_TYPES[name])
    from pyarrow import compute  # noqa: PLC0415  (slow to import)

    return compute.if_else(compute.is_nan(column), pa.scalar(None, _TYPES[name]), column)


def _recording_tables(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows of a text with the columns and the names of a recording."""
    for table in tables:
        has_only_description = len(table) > 0 and not table["start_ns"][0].is_valid
        rows = table[1:] if has_only_description else table
        if len(rows):
            yield _with_dictionaries(rows)


def _with_dictionaries(table: pa.Table) -> pa.Table:
    fields = [field for field in (*COLUMNS, EXTRA) if field.name in table.column_names]
    columns = [
        table[field.name].dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else table[field.name]
        for field in fields
    ]
    return pa.table(columns, [field.name for field in fields])


def _info_of_table(table: pa.Table | None) -> RecordingInfo:
    if table is None or len(table) == 0:
        raise ValueError("it has no rows")
    description = table[_INFO][0].as_py() if _INFO in table.column_names else None
    return _info(json.loads(description) if description else None, table["start_ns"][0].as_py())


def _info(description: Any, start_ns: Any) -> RecordingInfo:
    """The description in a file, or the little that is known where other programs dropped it."""
    if description is not None:
        return check_version(RecordingInfo.from_json(json.dumps(description).encode()))
    if not isinstance(start_ns, int) or start_ns < 0:
        raise ValueError("its first line is no region")
    return RecordingInfo(Attrs(), "", start_ns)
