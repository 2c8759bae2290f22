"""The large objects of this interpreter: their memory, and the names that lead to them."""

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
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from pydamon._model.ranges import union

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
    """The memory [start, end) that holds the data of an object; empty where it has no data.

    For a view it is all memory that the view keeps alive. The data are not read, and libraries that
    the program has not imported stay so.
    """
    try:
        spans = list(_spans(value))
    except Exception:  # attributes of a foreign object may raise any error
        return []
    return [(start, end) for start, end in spans if end > start]


def kinds() -> tuple[type[Any], ...]:
    """The types whose data can be located, of the libraries that are imported."""
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
    """The arrays behind an extension array; some public attributes would make copies."""
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
    """The memory of an object.

    Parameters
    ----------
    kind
        The name of its type.
    names
        Expressions that lead to it, the best one first; empty where only the garbage collector
        knows who holds it.
    spans
        Bytes [start, end), sorted, without overlap.

    Examples
    --------
    >>> buffer = Buffer("ndarray", ("table['x']",), ((0, 4096), (8192, 12288)))
    >>> buffer.name, buffer.size
    ("table['x']", 8192)
    """

    kind: str
    names: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """The best name."""
        return self.names[0] if self.names else "(unnamed)"

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(end - start for start, end in self.spans)


def find_buffers(
    namespace: Mapping[str, Any] | None = None, *, min_bytes: int = _LARGE
) -> list[Buffer]:
    """Find large objects by their names.

    NumPy arrays, pandas frames, series and indexes, Arrow tables and arrays, torch tensors on the
    CPU, bytes, bytearrays, arrays and memory maps.

    Parameters
    ----------
    namespace
        Variables to search, with the containers and attributes below them: by default all of
        `__main__` and of the running functions. Objects that only the garbage collector knows are
        found as well, without a name.
    min_bytes
        Smaller objects are left out.

    Returns
    -------
    list of Buffer
        The largest first. A view counts as the object that it is a view of.

    Examples
    --------
    >>> import numpy as np
    >>> table = {"x": np.ones(1 << 20)}
    >>> [(b.name, b.size) for b in find_buffers({"table": table}) if b.names]
    [("table['x']", 8388608)]
    """
    by_spans: _BySpans = {}
    for name, value in _reachable(namespace):
        _note(by_spans, name, value, min_bytes)
    for value in _tracked(min_bytes):
        _note(by_spans, "", value, min_bytes)
    buffers = [Buffer(kind, tuple(names), spans) for spans, (kind, names) in by_spans.items()]
    buffers.sort(key=lambda buffer: -buffer.size)
    return _without_parts(buffers)


def _tracked(min_bytes: int) -> Iterator[Any]:
    """Objects of known types that the garbage collector tracks, or that tracked objects hold."""
    known = kinds()
    is_known: dict[type[Any], bool] = {}  # there are few types, and a million objects
    seen: set[int] = set()
    for value in gc.get_referents(*gc.get_objects()):
        kind = type(value)
        if kind not in is_known:
            is_known[kind] = issubclass(kind, known)
        if is_known[kind] and id(value) not in seen:
            seen.add(id(value))
            if kind is not bytes or len(value) >= min_bytes:
                yield value


_BySpans: TypeAlias = dict[tuple[tuple[int, int], ...], tuple[str, list[str]]]
"""The kind and the names of objects, by their memory."""


def _note(by_spans: _BySpans, name: str, value: Any, min_bytes: int) -> None:
    """Enter an object if it is large enough, or another name of an object that is there."""
    spans = tuple(spans_of(value))
    if len(spans) > 1:
        spans = tuple((start, end) for start, end in union(np.array(spans, np.int64)).tolist())
    if sum(end - start for start, end in spans) < min_bytes:
        return
    _, names = by_spans.setdefault(spans, (type(value).__name__, []))
    if name and name not in names:
        names.append(name)


def _without_parts(buffers: list[Buffer]) -> list[Buffer]:
    """Leave out objects within a larger named one, such as the columns of a frame."""
    named_first = sorted(buffers, key=lambda buffer: (not buffer.names, -buffer.size))
    taken = _Spans()
    kept = []
    for buffer in named_first:
        if not all(span in taken for span in buffer.spans):
            kept.append(buffer)
            for span in buffer.spans:
                taken.add(span)
    return sorted(kept, key=lambda buffer: -buffer.size)


class _Spans:
    """A set of spans, none within another, so that starts and ends are in the same order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, span: tuple[int, int]) -> bool:
        """Whether a span lies within one of the set."""
        before = bisect_right(self._starts, span[0])
        return before > 0 and self._ends[before - 1] >= span[1]

    def add(self, span: tuple[int, int]) -> None:
        if span not in self:
            within = slice(bisect_left(self._starts, span[0]), bisect_right(self._ends, span[1]))
            self._starts[within], self._ends[within] = [span[0]], [span[1]]


def _reachable(namespace: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """Names with their objects, the shortest way first; names with underscores come last."""
    queue: deque[tuple[str, Any, int]] = deque()
    for prefix, variables in _namespaces(namespace):
        names = sorted(variables, key=lambda name: str(name).startswith("_"))
        queue.extend((f"{name}{prefix}", variables[name], 0) for name in names)
    seen: set[int] = set()
    keep = []  # an object that is made on the way must not pass its id on to another one
    while queue and len(seen) < _MOST_VISITED:
        name, value, depth = queue.popleft()
        yield name, value
        if depth == _DEEPEST or id(value) in seen:
            continue
        seen.add(id(value))
        keep.append(value)
        queue.extend((f"{name}{suffix}", inner, depth + 1) for suffix, inner in _inside(value))


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
    """The objects in a container or an instance, with what to append to its name for each."""
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
    """The attributes of an instance; for a torch module, its tensors by torch's own names.

    Those names reach a tensor in one step, however deep it is.
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
    except Exception:  # a module may override these methods, and raise any error
        inner = []
    return [*inner, *((k, v) for k, v in attributes.items() if k not in _OF_MODULES)]
