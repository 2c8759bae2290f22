"""NumPy arrays as Arrow columns and back, without copies, in the memory that is free."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = [
    "POOL",
    "Numbers",
    "column_array",
    "concatenate",
    "constant_array",
    "dictionary_array",
    "free_memory",
    "string_array",
    "to_arrow",
    "to_numpy",
    "unique_rows",
]

Numbers: TypeAlias = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float32]

POOL = pa.system_memory_pool()
"""Where readers allocate. Arrow's own pools keep freed memory: a third of a whole recording."""


def to_numpy(array: pa.Array) -> NDArray[Any]:
    """An Arrow array of numbers without nulls as a NumPy array of the same memory."""
    kind = "f" if pa.types.is_floating(array.type) else "i"
    dtype = np.dtype(f"{kind}{array.type.bit_width // 8}")
    if len(array) == 0:
        return np.empty(0, dtype)
    offset = array.offset * dtype.itemsize
    return np.frombuffer(array.buffers()[1], dtype, len(array), offset)


def to_arrow(values: Numbers) -> pa.Array:
    """Numbers as an Arrow array of the same memory."""
    flat = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)]
    )


def string_array(words: Iterable[str]) -> pa.Array:
    """Names as an Arrow array, which must be UTF-8. Other bytes of a file's name are escaped."""
    encoded = [word.encode(errors="backslashreplace") for word in words]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))
    )


def dictionary_array(codes: NDArray[np.int32], words: Iterable[str]) -> pa.DictionaryArray:
    """A column of names: *codes* are indices into *words*."""
    return pa.DictionaryArray.from_arrays(to_arrow(codes), string_array(words))


def constant_array(word: str, count: int) -> pa.DictionaryArray:
    """A column that has the same name in each of *count* rows."""
    return dictionary_array(np.zeros(count, np.int32), [word])


def unique_rows(*columns: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each combination of values, and the combination of each row.

    Combinations are in the order of their values. `np.unique` of rows does the same, but compares
    rows as strings of bytes, which takes some 20 times as long.
    """
    order = np.lexsort(columns[::-1])
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = False
    for values in columns:
        ordered = values[order]
        is_first[1:] |= ordered[1:] != ordered[:-1]
    combination = np.empty(len(order), np.int64)
    combination[order] = np.cumsum(is_first) - 1
    return order[is_first], combination


def column_array(table: pa.Table, name: str) -> pa.Array:
    """A column as a single array; no copy if it has a single chunk, as after reading."""
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def concatenate(tables: list[pa.Table]) -> pa.Table:
    """Join tables into a single table without chunks.

    The list is emptied on the way, so that only one column is in memory twice.
    """
    if len(tables) == 1 and all(column.num_chunks == 1 for column in tables[0].columns):
        return tables.pop()
    table = pa.concat_tables(tables).unify_dictionaries(POOL)
    tables.clear()
    schema = table.schema
    columns = {name: table[name] for name in schema.names}
    del table
    arrays = []
    for name in schema.names:
        chunks = columns.pop(name).chunks
        arrays.append(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks, POOL))
        del chunks
    return pa.Table.from_arrays(arrays, schema=schema)


_CGROUP = Path("/sys/fs/cgroup")
_FILE_CACHE = re.compile(r"^(?:in)?active_file (\d+)$", re.MULTILINE)
_UNLIMITED = 2**63 - 1


def free_memory() -> int:
    """Bytes that the machine, the container and the limit of this process all leave.

    A limit that cannot be read does not count.
    """
    return min(_machine_leaves(), _container_leaves(), _limit_leaves())


def _machine_leaves() -> int:
    with suppress(OSError, ValueError, IndexError):
        _, _, available = Path("/proc/meminfo").read_text().partition("MemAvailable:")
        return 1024 * int(available.split()[0])
    return _UNLIMITED


def _container_leaves() -> int:
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        # The page cache counts as used, but the kernel gives it back when memory is needed.
        cached = sum(map(int, _FILE_CACHE.findall((_CGROUP / "memory.stat").read_text())))
        return limit - used + cached
    return _UNLIMITED


def _limit_leaves() -> int:
    with suppress(OSError, ValueError, IndexError):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return limit - pages * resource.getpagesize()
    return _UNLIMITED
