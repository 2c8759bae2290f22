"""Rows of a recording: every column, with its type, in pieces of bounded size and in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrow import (
    Numbers,
    column_array,
    concatenate,
    constant_array,
    to_arrow,
    to_numpy,
)
from pydamon._data.recording.cpu_use import MAX_USE_BYTES
from pydamon._data.recording.page_maps import MAX_WORD_BYTES
from pydamon._data.recording.schema import COLUMNS, EXTRA, RecordingInfo, check_type
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import Misread
from pydamon._model.shares import counted_shares
from pydamon._model.snapshot import UNKNOWN

__all__ = [
    "ages_ns",
    "batch_of",
    "conform",
    "default_numbers",
    "in_time_order",
    "info_from_rows",
    "split_by_names",
    "split_by_text",
    "with_extra",
    "with_used_names",
]

_WITHOUT_DEFAULT = ("host", EXTRA.name)
_LARGEST = 2**63 - 1
_MAX_NAME_BYTES = 2**14
"""A path of 4,096 bytes, none of which is UTF-8, takes as much when it is escaped."""
_MAX_BYTES = {EXTRA.name: 2**16, "page_map": MAX_WORD_BYTES, "cpu_use": MAX_USE_BYTES}
"""The most that other columns have in a name."""
_MAX_TEXT_BYTES = 2**25
_MAX_NAMES_BYTES = 2**25

_GetColumn: TypeAlias = Callable[[str], NDArray[np.int64]]


def ages_ns(
    age: NDArray[np.int64], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Ages in windows as times in ns; where int64 cannot hold a time, its largest value."""
    window_ns = end_ns - start_ns
    fits = age <= _LARGEST // np.maximum(window_ns, 1)
    return np.where(fits, age * np.where(fits, window_ns, 0), _LARGEST)


def default_numbers(name: str, row_count: int, column: _GetColumn) -> Numbers:
    """The values of a column of numbers that rows lack; *column* returns their other columns."""
    if name == "access_share":
        return counted_shares(column("nr_accesses"), column("max_nr_accesses")).astype(np.float32)
    if name == "access_share_error":
        return np.full(row_count, np.nan, np.float32)
    if name == "followed_share":
        return np.ones(row_count, np.float32)
    if name == "age_ns":
        return ages_ns(column("age"), column("start_ns"), column("end_ns"))
    return np.full(row_count, UNKNOWN if name == "resident_bytes" else 0, np.int64)


def batch_of(columns: Mapping[str, Numbers | pa.Array], row_count: int) -> pa.RecordBatch:
    """Rows of a recording, with defaults for the columns that are not given.

    Missing numbers are `default_numbers`, and missing names are empty; `host` and `extra` are
    left out. Raises `Misread` for a number that its column cannot hold.
    """

    def given(name: str) -> NDArray[np.int64]:
        values = columns.get(name, np.zeros(row_count, np.int64))
        return (to_numpy(values) if isinstance(values, pa.Array) else values).astype(np.int64)

    schema = pa.schema(
        [
            field
            for field in (*COLUMNS, EXTRA)
            if field.name in columns or field.name not in _WITHOUT_DEFAULT
        ]
    )
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        if values is None and pa.types.is_dictionary(field.type):
            values = constant_array("", row_count)
        elif values is None:
            values = default_numbers(field.name, row_count, given)
        if not isinstance(values, pa.Array):
            values = to_arrow(_narrow(field, values))
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _narrow(field: pa.Field, values: Numbers) -> Numbers:
    """Numbers in the type of a column, which may be narrower: whole numbers must not wrap."""
    dtype = np.dtype(field.type.to_pandas_dtype())
    if dtype.kind == "i" and values.dtype != dtype and len(values):
        bounds = np.iinfo(dtype)
        too_large = (values < bounds.min) | (values > bounds.max)
        if too_large.any():
            index = int(too_large.argmax())
            raise Misread(f"{field.name} cannot be {values[index]}", index)
    narrowed: Numbers = values.astype(dtype, copy=False)
    return narrowed


def conform(table: pa.Table) -> pa.Table:
    """Keep the columns of a recording and cast them to their types.

    Raises `ValueError` for numbers that do not fit, missing values, and names that are too long.
    """
    fields, columns = [], []
    for field in (*COLUMNS, EXTRA):
        if field.name not in table.column_names:
            continue
        column = table[field.name]
        if column.type != field.type:
            check_type(field, column.type)
            column = _cast(field, column)
        if pa.types.is_dictionary(field.type):
            _check_names(field.name, column)
        if pa.types.is_floating(field.type) and column.null_count:
            column = column.fill_null(np.nan)  # as text formats write what is not known
        if column.null_count:
            raise ValueError(f"values of {field.name} are missing")
        fields.append(field)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _cast(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        if pa.types.is_dictionary(field.type):
            return column.cast(pa.string()).dictionary_encode()
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{field.name}: {error}") from error


def _check_names(name: str, column: pa.ChunkedArray) -> None:
    """Refuse long names: some formats write a name once a row, so that it would fill a disk."""
    most_bytes = _MAX_BYTES.get(name, _MAX_NAME_BYTES)
    for chunk in column.chunks:
        words = chunk.dictionary
        if words.null_count:
            raise ValueError(f"values of {name} are missing")
        longest = int(_lengths(words).max(initial=0))
        if longest > most_bytes:
            raise ValueError(f"{name} has a name of {longest:,} bytes")


def info_from_rows(first: pa.RecordBatch | pa.Table | None) -> RecordingInfo:
    """Describe a recording of another tool, which has no description, by its first rows."""
    start_ns = first.column("start_ns")[0].as_py() if first is not None and len(first) else None
    if not isinstance(start_ns, int | float) or not 0 <= start_ns < 2**63:
        raise ValueError("it has no description of a recording, and no rows")
    return RecordingInfo(Attrs(), "", int(start_ns))


def in_time_order(tables: list[pa.Table], *, known: bool = False) -> pa.Table:
    """Join tables, sorted by `end_ns` unless they are *known* to be; the list is emptied."""
    table = concatenate(tables) if tables else COLUMNS.empty_table()
    end_ns = to_numpy(column_array(table, "end_ns"))
    if known or (end_ns[1:] >= end_ns[:-1]).all():
        return table
    order = np.argsort(end_ns, kind="stable")
    return concatenate([table.take(to_arrow(order))])


def with_extra(table: pa.Table) -> pa.Table:
    """The table with the column `extra`, empty where it had none."""
    if EXTRA.name in table.column_names:
        return table
    return table.append_column(EXTRA, constant_array("", len(table)))


def split_by_names(table: pa.Table) -> Iterator[pa.Table]:
    """Split a table so that the names of a piece take no more memory than a reader allows."""
    names = _name_columns(table)
    size_bytes = sum(column_array(table, name).dictionary.nbytes for name in names)
    if size_bytes <= _MAX_NAMES_BYTES or len(table) < 2:
        yield table
        return
    for half in (table[: len(table) // 2], table[len(table) // 2 :]):
        yield from split_by_names(with_used_names(half, names))


def with_used_names(table: pa.Table, names: Collection[str]) -> pa.Table:
    """The table without the words of the columns *names* that none of its rows has."""
    columns = [
        _with_used_names(column_array(table, name)) if name in names else table[name]
        for name in table.column_names
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _with_used_names(column: pa.DictionaryArray) -> pa.DictionaryArray:
    used, codes = np.unique(to_numpy(column.indices), return_inverse=True)
    words = column.dictionary.take(to_arrow(used))
    return pa.DictionaryArray.from_arrays(to_arrow(codes.astype(np.int32)), words)


def split_by_text(table: pa.Table) -> Iterator[pa.Table]:
    """Split a table so that a piece fits into memory when each row has its names as text."""
    lengths = np.zeros(len(table), np.int64)
    for name in _name_columns(table):
        column = column_array(table, name)
        lengths += _lengths(column.dictionary)[to_numpy(column.indices)]
    piece = np.cumsum(lengths) // _MAX_TEXT_BYTES
    borders = np.flatnonzero(piece[1:] != piece[:-1]) + 1
    for first, end in pairwise([0, *borders.tolist(), len(table)]):
        yield table[first:end]


def _name_columns(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if pa.types.is_dictionary(table[name].type)]


def _lengths(words: pa.StringArray) -> NDArray[np.int32]:
    """The number of bytes of each word."""
    if len(words) == 0:
        return np.zeros(0, np.int32)
    offsets = np.frombuffer(words.buffers()[1], np.int32)
    return np.diff(offsets[words.offset : words.offset + len(words) + 1])
