"""NumPy arrays as Arrow columns and back, without copies.

`pyarrow.array` and `to_numpy` do the same, but load pandas at their first call, where there is one:
that takes a fifth of a second, longer than most reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.snapshot import UNKNOWN
from pydamon.recording.format import COLUMNS, EXTRA

__all__ = [
    "POOL",
    "Numbers",
    "arrow",
    "batch_of",
    "constant",
    "joined",
    "missing_numbers",
    "named",
    "numbers",
    "single",
    "strings",
]

Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.int32]

_OPTIONAL = ("host", EXTRA.name)

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


def named(codes: NDArray[np.int32], words: Iterable[str]) -> pa.DictionaryArray:
    """A column of names: *codes* are indices into *words*."""
    return pa.DictionaryArray.from_arrays(arrow(codes), strings(words))


def constant(word: str, count: int) -> pa.DictionaryArray:
    """A column of one name."""
    return named(np.zeros(count, np.int32), [word])


def missing_numbers(name: str, row_count: int, known: _Known) -> NDArray[np.int64]:
    """What stands in a column of numbers that rows lack; *known* gives the columns they have."""
    if name == "age_ns":
        return known("age") * (known("end_ns") - known("start_ns"))
    return np.full(row_count, UNKNOWN if name == "resident_bytes" else 0, np.int64)


def batch_of(columns: Mapping[str, Numbers | pa.Array], row_count: int) -> pa.RecordBatch:
    """Rows of a recording; `missing_numbers` says what stands in columns that are not given.

    Columns of names are empty then, but `host` and `extra`, which are left out.
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
            values = arrow(values.astype(field.type.to_pandas_dtype(), copy=False))
        arrays.append(values)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


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
