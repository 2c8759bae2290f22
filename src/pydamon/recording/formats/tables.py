"""CSV and NDJSON: a region a line, with the columns of every recording.

The description of the recording stands, as JSON, in a column of its own, `pydamon`, of the first
row only. So any program reads such a file as it is, and nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pydamon.core.attrs import Attrs
from pydamon.recording.arrays import POOL, strings
from pydamon.recording.format import COLUMNS, EXTRA, LATER, RecordingInfo, checked
from pydamon.recording.formats.lines import line_chunks
from pydamon.recording.recording import Recording

__all__ = ["Csv", "Ndjson"]

_INFO = "pydamon"
_BLOCK_BYTES = 2**22
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

    def matches(self, head: bytes) -> bool:
        header = head.partition(b"\n")[0]
        return b"start_ns" in header and b"," in header and not header.lstrip().startswith(b"{")

    def open(self, path: Path) -> _CsvFile:
        return _CsvFile(path)

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

    def __init__(self, path: Path) -> None:
        self._path = path
        self.info = _info_in(next(self._tables(), None))

    def batches(self) -> Iterator[pa.Table]:
        return map(_with_dictionaries, filter(len, map(_without_info, self._tables())))

    def _tables(self) -> Iterator[pa.Table]:
        from pyarrow import csv  # noqa: PLC0415

        with csv.open_csv(
            self._path,
            csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(column_types={**_KINDS, _INFO: pa.string()}),
            POOL,
        ) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])


class Ndjson:
    """A JSON object a line."""

    name = "ndjson"
    suffixes: tuple[str, ...] = (".ndjson", ".jsonl")
    is_text = True

    def matches(self, head: bytes) -> bool:
        return head.lstrip().startswith(b"{")

    def open(self, path: Path) -> _NdjsonFile:
        return _NdjsonFile(path)

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

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(line_chunks(path), b"").partition(b"\n")[0]
        row = json.loads(first)
        if _INFO not in row and "start_ns" not in row:
            raise ValueError("its first line is no region")
        self.info = _info(row.get(_INFO), row.get("start_ns"))

    def batches(self) -> Iterator[pa.Table]:
        return map(_with_dictionaries, filter(len, map(_without_info, self._tables())))

    def _tables(self) -> Iterator[pa.Table]:
        from pyarrow import json as arrow_json  # noqa: PLC0415

        for chunk in line_chunks(self._path):
            if chunk.isspace():
                continue
            table = arrow_json.read_json(
                pa.BufferReader(chunk),
                arrow_json.ReadOptions(use_threads=False, block_size=len(chunk) + 1),
                arrow_json.ParseOptions(
                    explicit_schema=pa.schema(list(_KINDS.items())),
                    unexpected_field_behavior="ignore",
                ),
                POOL,
            )
            rows = len(table)
            missing = [name for name in _MAY_LACK if table[name].null_count == rows]
            yield table.drop_columns(missing)


def _text_tables(info: RecordingInfo, parts: Iterable[Recording]) -> Iterator[pa.Table]:
    """Parts with plain strings and the column that describes the recording.

    Of a recording without regions there is one row, with nothing but the description.
    """
    description = info.to_json().decode()
    empty = True
    for part in parts:
        if len(part.table) == 0:
            continue
        described = pa.nulls(len(part.table), pa.string())
        if empty:
            described = pa.concat_arrays([strings([description]), described[1:]])
        columns = [part.table[name].cast(_KINDS[name]) for name in part.table.column_names]
        empty = False
        yield pa.table([*columns, described], [*part.table.column_names, _INFO])
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
