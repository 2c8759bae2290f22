"""The large objects of this interpreter: where their memory lies, and what they are called."""

from __future__ import annotations

import array
import gc
import mmap
import sys
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

__all__ = ["Buffer", "find_buffers", "kinds", "spans_of"]

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


_LARGE = 1 << 16
_DEEPEST = 4
_MOST_VISITED = 200_000
_MOST_ITEMS = 10_000
_OF_MODULES = ("_modules", "_parameters", "_buffers")
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Buffer:
    """The memory of an object: `spans` are bytes [start, end), sorted, without overlap.

    `names` are where it was found, the best one first; there are none where only the garbage
    collector knows who holds it.
    """

    kind: str
    names: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """What to call it."""
        return self.names[0] if self.names else "(unnamed)"

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(end - start for start, end in self.spans)


def find_buffers(
    namespace: Mapping[str, Any] | None = None, *, min_bytes: int = _LARGE
) -> list[Buffer]:
    """The objects of at least *min_bytes* whose data are bytes in memory, the largest first.

    NumPy arrays, pandas frames, series and indexes, Arrow tables and arrays, torch tensors on the
    CPU, bytes, bytearrays, arrays and memory maps. They are looked for in the *namespace* (by
    default in `__main__` and in the variables of all functions that are running), in containers and
    attributes below it, and among everything that the garbage collector knows. Views count to
    what they are views of.
    """
    found: dict[tuple[tuple[int, int], ...], tuple[str, list[str]]] = {}
    for name, value in _reachable(namespace):
        _note(found, name, value, min_bytes)
    for value in _held(min_bytes):
        _note(found, "", value, min_bytes)
    buffers = [Buffer(kind, tuple(names), spans) for spans, (kind, names) in found.items()]
    buffers.sort(key=lambda one: -one.size)
    return _apart(buffers)


def _held(min_bytes: int) -> Iterator[Any]:
    """What may be large of all that the garbage collector knows, or that is held by that."""
    known = kinds()
    of_interest: dict[type[Any], bool] = {}  # there are few types, and a million objects
    seen: set[int] = set()
    for value in gc.get_referents(*gc.get_objects()):
        kind = type(value)
        if kind not in of_interest:
            of_interest[kind] = issubclass(kind, known)
        if of_interest[kind] and id(value) not in seen:
            seen.add(id(value))
            if kind is not bytes or len(value) >= min_bytes:
                yield value


def _note(
    found: dict[tuple[tuple[int, int], ...], tuple[str, list[str]]],
    name: str,
    value: Any,
    min_bytes: int,
) -> None:
    spans = _union(spans_of(value))
    if sum(end - start for start, end in spans) < min_bytes:
        return
    _, names = found.setdefault(spans, (type(value).__name__, []))
    if name and name not in names:
        names.append(name)


def _union(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _apart(buffers: list[Buffer]) -> list[Buffer]:
    """Leave out what lies within a named object before it, such as the columns of a frame."""
    named = sorted(buffers, key=lambda one: (not one.names, -one.size))
    taken = _Spans()
    kept = []
    for one in named:
        if not all(span in taken for span in one.spans):
            kept.append(one)
            for span in one.spans:
                taken.add(span)
    return sorted(kept, key=lambda one: -one.size)


class _Spans:
    """Spans of which none lies within another, so that starts and ends are in the same order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, span: tuple[int, int]) -> bool:
        """Whether it lies within one of them."""
        before = bisect_right(self._starts, span[0])
        return before > 0 and self._ends[before - 1] >= span[1]

    def add(self, span: tuple[int, int]) -> None:
        if span not in self:
            within = slice(bisect_left(self._starts, span[0]), bisect_right(self._ends, span[1]))
            self._starts[within], self._ends[within] = [span[0]], [span[1]]


def _reachable(namespace: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """Names, and what they name: near things first, and of these the ones without underscores."""
    queue: deque[tuple[str, Any, int]] = deque()
    for prefix, variables in _namespaces(namespace):
        names = sorted(variables, key=lambda name: str(name).startswith("_"))
        queue.extend((f"{name}{prefix}", variables[name], 0) for name in names)
    seen: set[int] = set()
    keep = []  # what is made on the way must not give its id to something else
    while queue and len(seen) < _MOST_VISITED:
        name, value, depth = queue.popleft()
        yield name, value
        if depth == _DEEPEST or id(value) in seen:
            continue
        seen.add(id(value))
        keep.append(value)
        queue.extend((f"{name}{part}", inner, depth + 1) for part, inner in _inside(value))


def _namespaces(namespace: Mapping[str, Any] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if namespace is not None:
        yield "", dict(namespace)
        return
    for first in sys._current_frames().values():
        frame: FrameType | None = first
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            if module.partition(".")[0] != _PACKAGE and frame.f_locals is not frame.f_globals:
                yield f" in {frame.f_code.co_name}()", dict(frame.f_locals)
            frame = frame.f_back
    yield "", dict(vars(sys.modules["__main__"]))


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container or an instance holds, and how to write that."""
    if isinstance(value, dict):
        for key, inner in list(value.items())[:_MOST_ITEMS]:
            yield f"[{key!r}]" if isinstance(key, str | int) else "[...]", inner
    elif isinstance(value, list | tuple | deque):
        for index, inner in enumerate(list(value)[:_MOST_ITEMS]):
            yield f"[{index}]", inner
    elif isinstance(value, type | ModuleType) or spans_of(value):
        return
    else:
        yield from ((f".{name}", inner) for name, inner in _attributes(value))


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """What an instance holds; of a torch module, its tensors by the names that torch has for them.

    Those say where a tensor is however deep it is, in less steps than there are.
    """
    try:
        attributes = dict(vars(value))
    except TypeError:
        return []
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.nn.Module):
        return list(attributes.items())
    try:
        tensors = [*value.named_parameters(), *value.named_buffers()]
        inner = [*tensors, *value.named_children()]
    except Exception:  # it may be a module that overrides these, and answers with any error
        inner = []
    return [*inner, *((k, v) for k, v in attributes.items() if k not in _OF_MODULES)]
