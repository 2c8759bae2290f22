"""NumPy arrays as Arrow columns and back, without copies, in the memory that there is."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.format import COLUMNS, EXTRA, RecordingInfo, check_type
from pydamon._model.attrs import Attrs
from pydamon._model.damo_values import Misread
from pydamon._model.snapshot import UNKNOWN

__all__ = [
    "POOL",
    "Numbers",
    "ages_ns",
    "arrow",
    "batch_of",
    "conformed",
    "constant",
    "distinct",
    "free_memory",
    "info_by_rows",
    "joined",
    "missing_numbers",
    "named",
    "numbers",
    "single",
    "strings",
    "with_few_names",
    "with_short_text",
]

Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.int32]

_OPTIONAL = ("host", EXTRA.name)
_MOST = 2**63 - 1
_MOST_NAME_BYTES = 2**14
"""A path of 4,096 bytes, none of which is UTF-8, takes as much."""
_MOST_EXTRA_BYTES = 2**16
_MOST_TEXT_BYTES = 2**25
_MOST_WRITTEN_NAMES = 2**25

_Known: TypeAlias = Callable[[str], NDArray[np.int64]]

POOL = pa.system_memory_pool()
"""Where readers allocate: Arrow's own pools keep what was freed, a third of a whole recording."""


def numbers(array: pa.Array) -> NDArray[Any]:
    """An Arrow array of integers, none of them null, as a NumPy array."""
    dtype = np.dtype(f"i{array.type.bit_width // 8}")
    if len(array) == 0:
        return np.empty(0, dtype)
    offset = array.offset * dtype.itemsize
    return np.frombuffer(array.buffers()[1], dtype, len(array), offset)


def arrow(values: Numbers) -> pa.Array:
    """Integers as an Arrow array."""
    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)]
    )


def strings(words: Iterable[str]) -> pa.Array:
    """Names as an Arrow array. A file's name need not be UTF-8, which an Arrow string must be."""
    encoded = [word.encode(errors="backslashreplace") for word in words]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))
    )


def distinct(*columns: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each combination of values, and which of these each row has.

    Combinations are in the order of their values. `np.unique` of rows does the same, but compares
    rows as strings of bytes, which takes some 20 times as long.
    """
    order = np.lexsort(columns[::-1])
    new = np.ones(len(order), np.bool_)
    new[1:] = False
    for values in columns:
        placed = values[order]
        new[1:] |= placed[1:] != placed[:-1]
    which = np.empty(len(order), np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which


def named(codes: NDArray[np.int32], words: Iterable[str]) -> pa.DictionaryArray:
    """A column of names: *codes* are indices into *words*."""
    return pa.DictionaryArray.from_arrays(arrow(codes), strings(words))


def constant(word: str, count: int) -> pa.DictionaryArray:
    """A column of one name."""
    return named(np.zeros(count, np.int32), [word])


def ages_ns(
    age: NDArray[np.int64], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Ages that are counted in windows as times, the largest for what no column can hold."""
    window_ns = end_ns - start_ns
    fits = age <= _MOST // np.maximum(window_ns, 1)
    return np.where(fits, age * np.where(fits, window_ns, 0), _MOST)


def missing_numbers(name: str, row_count: int, known: _Known) -> NDArray[np.int64]:
    """What stands in a column of numbers that rows lack; *known* gives the columns they have."""
    if name == "age_ns":
        return ages_ns(known("age"), known("start_ns"), known("end_ns"))
    return np.full(row_count, UNKNOWN if name == "resident_bytes" else 0, np.int64)


def batch_of(columns: Mapping[str, Numbers | pa.Array], row_count: int) -> pa.RecordBatch:
    """Rows of a recording; `missing_numbers` says what stands in columns that are not given.

    Columns of names are empty then, but `host` and `extra`, which are left out. Raises `Misread`
    for a number that its column cannot hold.
    """

    def known(name: str) -> NDArray[np.int64]:
        values = columns.get(name, np.zeros(row_count, np.int64))
        return (numbers(values) if isinstance(values, pa.Array) else values).astype(np.int64)

    schema = pa.schema(
        [f for f in (*COLUMNS, EXTRA) if f.name in columns or f.name not in _OPTIONAL]
    )
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        if values is None and pa.types.is_dictionary(field.type):
            values = constant("", row_count)
        elif values is None:
            values = missing_numbers(field.name, row_count, known)
        if not isinstance(values, pa.Array):
            values = arrow(_narrowed(field, values))
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _narrowed(field: pa.Field, values: Numbers) -> Numbers:
    """Numbers as the column has them, whose type may be narrower: they must not wrap."""
    kind = np.dtype(field.type.to_pandas_dtype())
    if values.dtype != kind and len(values):
        bounds = np.iinfo(kind)
        wrong = (values < bounds.min) | (values > bounds.max)
        if wrong.any():
            at = int(wrong.argmax())
            raise Misread(f"{field.name} cannot be {values[at]}", at)
    narrowed: Numbers = values.astype(kind, copy=False)
    return narrowed


def conformed(table: pa.Table) -> pa.Table:
    """The columns of a recording, with the types that they have in one.

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
        fields.append(field)
        columns.append(column)
        if pa.types.is_dictionary(field.type):
            _check_names(field.name, column)
        if column.null_count:
            raise ValueError(f"values of {field.name} are missing")
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _cast(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        if pa.types.is_dictionary(field.type):
            return column.cast(pa.string()).dictionary_encode()
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{field.name}: {error}") from error


def _check_names(name: str, column: pa.ChunkedArray) -> None:
    """Names are written for every row in some formats, so that a long one would become many."""
    most = _MOST_EXTRA_BYTES if name == EXTRA.name else _MOST_NAME_BYTES
    for chunk in column.chunks:
        words = chunk.dictionary
        if words.null_count:
            raise ValueError(f"values of {name} are missing")
        longest = int(_lengths(words).max(initial=0))
        if longest > most:
            raise ValueError(f"{name} has a name of {longest:,} bytes")


def info_by_rows(first: pa.RecordBatch | pa.Table | None) -> RecordingInfo:
    """What can be said of a recording that other tools wrote without its description."""
    start_ns = first.column("start_ns")[0].as_py() if first is not None and len(first) else None
    if not isinstance(start_ns, int | float) or not 0 <= start_ns < 2**63:
        raise ValueError("it has no description of a recording, and no rows")
    return RecordingInfo(Attrs(), "", int(start_ns))


def with_few_names(table: pa.Table) -> Iterator[pa.Table]:
    """The same in pieces, the names of none of which take more memory than a reader allows."""
    names = _names_in(table)
    size_bytes = sum(single(table, name).dictionary.nbytes for name in names)
    if size_bytes <= _MOST_WRITTEN_NAMES or len(table) < 2:
        yield table
        return
    for piece in (table[: len(table) // 2], table[len(table) // 2 :]):
        columns = [
            _with_used_names(single(piece, name)) if name in names else piece[name]
            for name in table.column_names
        ]
        yield from with_few_names(pa.Table.from_arrays(columns, schema=table.schema))


def _with_used_names(column: pa.DictionaryArray) -> pa.DictionaryArray:
    used, codes = np.unique(numbers(column.indices), return_inverse=True)
    words = column.dictionary.take(arrow(used))
    return pa.DictionaryArray.from_arrays(arrow(codes.astype(np.int32)), words)


def with_short_text(table: pa.Table) -> Iterator[pa.Table]:
    """The same in pieces that fit into memory where each row has its names as text."""
    lengths = np.zeros(len(table), np.int64)
    for name in _names_in(table):
        column = single(table, name)
        lengths += _lengths(column.dictionary)[numbers(column.indices)]
    piece = np.cumsum(lengths) // _MOST_TEXT_BYTES
    borders = np.flatnonzero(piece[1:] != piece[:-1]) + 1
    for low, high in pairwise([0, *borders.tolist(), len(table)]):
        yield table[low:high]


def _names_in(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if pa.types.is_dictionary(table[name].type)]


def _lengths(words: pa.StringArray) -> NDArray[np.int32]:
    """Bytes of each."""
    if len(words) == 0:
        return np.zeros(0, np.int32)
    offsets = np.frombuffer(words.buffers()[1], np.int32)
    return np.diff(offsets[words.offset : words.offset + len(words) + 1])


def single(table: pa.Table, name: str) -> pa.Array:
    """A column in one piece, which is what reading and picking leave: without a copy, then."""
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def joined(tables: list[pa.Table]) -> pa.Table:
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
        chunks = columns.pop(name).chunks
        pieces.append(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks, POOL))
        del chunks
    return pa.Table.from_arrays(pieces, schema=schema)


_CGROUP = Path("/sys/fs/cgroup")
_CACHE = re.compile(r"^(?:in)?active_file (\d+)$", re.MULTILINE)


def free_memory() -> int:
    """Bytes that the machine, the container and the process's own limit all leave.

    What cannot be found out does not limit it.
    """
    left = [2**63 - 1]
    with suppress(OSError, ValueError, IndexError):
        _, _, available = Path("/proc/meminfo").read_text().partition("MemAvailable:")
        left.append(1024 * int(available.split()[0]))
    with suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        # The page cache counts as used, and is given back where memory is asked for.
        cached = sum(map(int, _CACHE.findall((_CGROUP / "memory.stat").read_text())))
        left.append(most - used + cached)
    with suppress(OSError, ValueError, IndexError):
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            left.append(most - pages * resource.getpagesize())
    return min(left)
