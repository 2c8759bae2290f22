"""Where the memory of an object lies: one function for each kind of object."""

from __future__ import annotations

import array
import mmap
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

__all__ = ["kinds", "spans_of"]

_KINDS = {
    "builtins": ("bytes", "bytearray", "memoryview"),
    "mmap": ("mmap",),
    "array": ("array",),
    "numpy": ("ndarray",),
    "pandas": ("DataFrame", "Series", "Index"),
    "pyarrow": ("Table", "RecordBatch", "ChunkedArray", "Array"),
    "torch": ("Tensor",),
}
_BYTES = (bytes, bytearray, memoryview, mmap.mmap, array.array)


def spans_of(value: Any) -> list[tuple[int, int]]:
    """The memory [start, end) that holds the data of an object; empty where it has none.

    Of a view it is all of the memory that it keeps alive. Nothing of the data is read. Libraries
    that nobody has imported are not imported for this.
    """
    try:
        found = list(_spans(value))
    except Exception:  # an object may answer anything, with any error
        return []
    return [(start, end) for start, end in found if end > start]


def kinds() -> tuple[type[Any], ...]:
    """The types of objects that are known, as far as their libraries are imported."""
    return tuple(
        getattr(sys.modules[library], name)
        for library, names in _KINDS.items()
        if library in sys.modules
        for name in names
    )


def _spans(value: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, np.ndarray):
        yield byte_bounds(_owner(value))
    elif isinstance(value, _BYTES):
        if len(value):
            yield byte_bounds(np.frombuffer(value, np.uint8))
    elif (pandas := sys.modules.get("pandas")) and isinstance(value, _of("pandas")):
        yield from _of_pandas(value, pandas)
    elif isinstance(value, _of("pyarrow")):
        yield from _of_arrow(value)
    elif isinstance(value, _of("torch")) and value.device.type == "cpu":
        storage = value.untyped_storage()
        yield storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def _of(library: str) -> tuple[type[Any], ...]:
    module = sys.modules.get(library)
    return tuple(getattr(module, name) for name in _KINDS[library]) if module else ()


def _owner(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value


def _of_pandas(value: Any, pandas: Any) -> Iterator[tuple[int, int]]:
    if isinstance(value, pandas.DataFrame):
        for column in range(value.shape[1]):
            yield from _of_column(value.iloc[:, column].array)
        value = value.index
    elif isinstance(value, pandas.Series):
        yield from _of_column(value.array)
        value = value.index
    if not isinstance(value, (pandas.RangeIndex, pandas.MultiIndex)):
        yield from _of_column(value.array)


def _of_column(column: Any) -> Iterator[tuple[int, int]]:
    """The arrays behind an extension array: public attributes would make copies of some."""
    for name in ("_ndarray", "_data", "_mask", "_codes", "_pa_array"):
        part = getattr(column, name, None)
        if isinstance(part, np.ndarray):
            yield byte_bounds(_owner(part))
        elif part is not None and name == "_pa_array":
            yield from _of_arrow(part)


def _of_arrow(value: Any) -> Iterator[tuple[int, int]]:
    if hasattr(value, "columns"):
        for column in value.columns:
            yield from _of_arrow(column)
    elif hasattr(value, "chunks"):
        for chunk in value.chunks:
            yield from _of_arrow(chunk)
    else:
        for buffer in value.buffers():
            if buffer is not None and buffer.is_cpu:
                yield buffer.address, buffer.address + buffer.size
