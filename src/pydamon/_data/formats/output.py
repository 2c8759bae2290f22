"""Writing whole recordings in any format, and naming the facts that the format cannot hold.

A format with every column holds everything, also columns that are added later. Any other format
lists the facts that it holds; all other facts of a recording are lost there, and are named.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats import format_for, format_named
from pydamon._data.formats.soundness import SoundChunks
from pydamon._data.recording.arrow import unique_rows
from pydamon._data.recording.file import AnyRecording
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.rows import ages_ns, default_numbers
from pydamon._data.recording.schema import COLUMNS, EXTRA, RecordingInfo
from pydamon._data.recording.writer import create_file
from pydamon._model.attrs import Attrs
from pydamon._model.classify import UNKNOWN
from pydamon._model.errors import RecordingError
from pydamon._model.page_size import SMALLEST_PAGE

__all__ = [
    "Holds",
    "Losses",
    "PartlyLost",
    "TargetKeys",
    "columns_beside",
    "extra_codes",
    "extras_of",
    "lost_ages",
    "lost_columns",
    "lost_names",
    "lost_touched",
    "replacing",
    "target_begins",
    "write_recording",
]

PartlyLost: TypeAlias = Callable[[Recording, dict[Any, Any]], Iterable[str]]
"""Names the columns of a chunk in which something is lost.

The dictionary keeps facts from chunk to chunk.
"""


@dataclass(frozen=True, slots=True)
class Holds:
    """The facts that a format holds.

    It holds `columns` as they are, unless `partly_lost` names them, and of `EXTRA` the keys
    `extra_keys`. `attrs` are the monitoring attributes that it holds.
    """

    columns: Set[str]
    extra_keys: Set[str]
    attrs: Set[str]
    partly_lost: PartlyLost


class Losses:
    """The chunks of a recording on their way to a format; `names` are the facts lost there."""

    def __init__(
        self, holds: Holds | None, info: RecordingInfo, chunks: Iterable[Recording]
    ) -> None:
        self._holds = holds
        self._chunks = SoundChunks(chunks)
        self._names: dict[str, None] = {}
        self._memory: dict[Any, Any] = {}
        self._is_known = holds is None
        if holds is not None:
            self._names |= dict.fromkeys(_lost_facts(holds, info))

    @property
    def names(self) -> tuple[str, ...]:
        """Columns, keys of `extra` and facts of the description, once all chunks were read."""
        order = {name: place for place, name in enumerate(COLUMNS.names)}
        return tuple(sorted(self._names, key=lambda name: order.get(name, len(order))))

    def __iter__(self) -> Iterator[Recording]:
        for chunk in self._chunks:
            if self._holds is not None and not self._is_known:
                self._names |= dict.fromkeys(lost_columns(self._holds.columns, chunk))
                self._names |= dict.fromkeys(_lost_extras(self._holds, chunk))
                self._names |= dict.fromkeys(self._holds.partly_lost(chunk, self._memory))
            yield chunk
        self._is_known = True


def lost_columns(held: Set[str], chunk: Recording) -> Iterator[str]:
    """The columns that are not *held*, and in which the chunk says something."""

    def given(name: str) -> NDArray[np.int64]:
        return chunk.column(name).astype(np.int64)

    for field in COLUMNS:
        if field.name in held:
            continue
        if pa.types.is_dictionary(field.type):
            used = np.unique(chunk.codes(field.name))
            names = chunk.names(field.name)
            is_lost = any(names[code] for code in used.tolist())
        else:
            default = default_numbers(field.name, len(chunk.table), given)
            values = chunk.column(field.name)
            is_real = values.dtype.kind == "f"  # where NaN is unknown
            is_lost = not np.array_equal(values, default, equal_nan=is_real)
        if is_lost:
            yield field.name


def _lost_extras(holds: Holds, chunk: Recording) -> Iterator[str]:
    """The facts in `extra` that a format does not hold, by the names that other tools use."""
    if EXTRA.name not in chunk.table.column_names:
        return
    extras = extras_of(chunk)
    for code in np.unique(chunk.codes(EXTRA.name)).tolist():
        for key, value in extras[code].items():
            if key in holds.extra_keys:
                continue
            if key in ("region", "snapshot", "tail") and isinstance(value, dict):
                yield from value
            else:
                yield f"extra.{key}"


def _lost_facts(holds: Holds, info: RecordingInfo) -> Iterator[str]:
    """The facts about the recording that a format does not hold."""
    for name in ("commands", "kernel", "hostname", "pydamon_version"):
        if getattr(info, name):
            yield name
    if info.probe != "damo":
        yield "probe"
    if info.page_size != SMALLEST_PAGE:
        yield "page_size"
    for field in fields(Attrs):
        default = getattr(Attrs(), field.name)
        if field.name not in holds.attrs and getattr(info.attrs, field.name) != default:
            yield f"attrs.{field.name}"


def lost_touched(chunk: Recording) -> Iterator[str]:
    """The columns that lose something where regions are touched as a whole or not at all."""
    size = chunk.column("end") - chunk.column("start")
    touched = chunk.column("touched_bytes")
    if ((touched > 0) & (touched < size)).any():
        yield "touched_bytes"  # such a region becomes two, of which the first has all accesses
    elif ((touched > 0) != (chunk.column("nr_accesses") > 0)).any():
        yield "nr_accesses"


def lost_ages(chunk: Recording) -> Iterator[str]:
    """The columns that lose something where ages are numbers of aggregations, or unknown."""
    age, age_ns = chunk.column("age"), chunk.column("age_ns")
    is_known = age_ns != UNKNOWN
    counted_ns = ages_ns(age, chunk.column("start_ns"), chunk.column("end_ns"))
    if (age_ns != counted_ns)[is_known].any():
        yield "age_ns"
    if age[~is_known].any():
        yield "age"


def target_begins(chunk: Recording) -> NDArray[np.int64]:
    """The row at which each target of each snapshot begins, if it has any."""
    offsets = chunk.target_offsets
    return offsets[:-1][offsets[1:] > offsets[:-1]]


@dataclass(frozen=True, slots=True)
class TargetKeys:
    """The targets of a chunk by host and pid.

    `keys` are these pairs, and `first_rows` the row at which each appears first. `index` is that of
    each target of each snapshot that has rows, and `begins` the row at which it begins.
    """

    keys: list[tuple[str, int]]
    first_rows: list[int]
    index: NDArray[np.int64]
    begins: NDArray[np.int64]

    @classmethod
    def of(cls, chunk: Recording) -> TargetKeys:
        begins = target_begins(chunk)
        host, pid = chunk.codes("host")[begins], chunk.column("pid")[begins]
        first, index = unique_rows(host, pid)
        hosts = chunk.names("host")
        pairs = zip(host[first].tolist(), pid[first].tolist(), strict=True)
        keys = [(hosts[code], number) for code, number in pairs]
        return cls(keys, begins[first].tolist(), index, begins)


def lost_names(chunk: Recording, targets: TargetKeys, memory: dict[Any, Any]) -> Iterator[str]:
    """The columns that lose something where a target is a number, without a name or a host."""
    hosts_by_pid = memory.setdefault("hosts", {})
    for host, pid in targets.keys:
        if hosts_by_pid.setdefault(pid, host) != host:
            yield "pid"
    pids, codes = chunk.column("pid"), chunk.codes("target")
    first, _ = unique_rows(pids, codes)
    names = chunk.names("target")
    pairs = zip(pids[first].tolist(), codes[first].tolist(), strict=True)
    if any(names[code] != f"target {pid}" for pid, code in pairs):
        yield "target"


_EXTRA_TYPES: dict[str, type] = {
    "record": dict,
    "tail": dict,
    "snapshot": dict,
    "region": dict,
    "with_pid": int,
    "with_empty": bool,
    "perf": dict,
}
_PERF_TYPES: dict[str, type] = {"task": str, "target_id": int, "more": str}

_cached: tuple[weakref.ref[Recording], list[dict[str, Any]]] | None = None


def extras_of(chunk: Recording) -> list[dict[str, Any]]:
    """The facts in each word of the column `extra`, as far as a reader here may have written them.

    Writers ask for them several times a chunk: the last answer is kept as long as its chunk.
    """
    global _cached  # noqa: PLW0603
    if EXTRA.name not in chunk.table.column_names:
        return [{}]
    if _cached is None or _cached[0]() is not chunk:
        _cached = weakref.ref(chunk), [_facts_in(word) for word in chunk.names(EXTRA.name)]
    return _cached[1]


def extra_codes(chunk: Recording) -> NDArray[np.int32]:
    """Which of `extras_of` each row has."""
    if EXTRA.name not in chunk.table.column_names:
        return np.zeros(len(chunk.table), np.int32)
    return chunk.codes(EXTRA.name)


def _facts_in(word: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(word) if word else {}
    except (msgspec.MsgspecError, RecursionError):
        return {}
    facts = _of_types(document, _EXTRA_TYPES)
    if "perf" in facts:
        perf = _of_types(facts["perf"], _PERF_TYPES)
        facts["perf"] = {key: value for key, value in perf.items() if "\n" not in str(value)}
    return facts


def _of_types(document: Any, types: dict[str, type]) -> dict[str, Any]:
    if not isinstance(document, dict):
        return {}
    return {k: v for k, v in document.items() if k in types and type(v) is types[k]}


def write_recording(
    path: str | os.PathLike[str],
    recording: AnyRecording,
    *,
    format: str | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Write a recording to a new file, in any format and of any size.

    The file appears when it is complete. Formats of damo have more files beside it, with footprints
    and mappings about once a second.

    Parameters
    ----------
    path
        The file. Its suffix says in which format, unless *format* does.
    recording
        The recording; a file is written in the order of time.
    format
        The name of a format, such as `"parquet"`.
    force
        Overwrite the file if it exists.

    Returns
    -------
    tuple of str
        The names of columns, and of other facts, that are lost because the format cannot hold them.

    Raises
    ------
    UsageError
        If neither the suffix nor *format* names a format.
    RecordingError
        If the file exists and *force* is not set, the file cannot be written, or the recording
        cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> recording = pydamon.Recording.from_snapshots(monitor.run("1s"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pydamon.write_recording(Path(folder) / "app.csv", recording)
    ()
    """
    path = Path(path)
    chosen = format_named(format) if format else format_for(path)
    chunks = [recording] if isinstance(recording, Recording) else recording.sorted()
    beside = chosen.beside
    paths_beside = _paths_beside(path, beside.columns_beside if beside else ())
    for other in paths_beside.values():
        if other.exists() and not force:
            raise _exists(other)
    with replacing(path, force=force, private=True) as file:
        losses = Losses(chosen.holds, recording.info, chunks)
        chosen.write(file, recording.info, losses)
    if beside and paths_beside:
        _write_beside(paths_beside, beside.texts_beside(recording.info, chunks))
    return losses.names


def columns_beside(path: Path, format: str | None = None) -> set[str]:
    """The columns of which the files beside a recording that was written hold a part."""
    beside = (format_named(format) if format else format_for(path)).beside
    if beside is None:
        return set()
    paths = _paths_beside(path, beside.columns_beside)
    held = (beside.columns_beside[suffix] for suffix, other in paths.items() if other.exists())
    return {column for columns in held for column in columns}


def _write_beside(beside: dict[str, Path], texts: dict[str, bytes]) -> None:
    """Write the files that there is a text for; the others would be of an overwritten recording."""
    for suffix, path in beside.items():
        if suffix not in texts:
            path.unlink(missing_ok=True)
            continue
        with replacing(path, force=True, private=True) as file:
            file.write(texts[suffix])


def _paths_beside(path: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """The files beside a recording by their suffix; none beside a terminal or a pipe."""
    if path.exists() and not path.is_file():
        return {}
    return {suffix: path.with_name(path.name + suffix) for suffix in suffixes}


def _exists(path: Path) -> RecordingError:
    return RecordingError(
        f"{path} exists already", hint="name another file, or overwrite with --force"
    )


@contextmanager
def replacing(path: Path, *, force: bool, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of *path* once it is written, and is gone otherwise.

    A new file is for its owner alone if it is *private*.
    """
    exists = _exists(path)
    try:
        if path.exists() and not path.is_file():  # a terminal, a pipe
            with path.open("wb") as file:
                yield file
            return
        if path.exists() and not force:
            raise exists
        path = path.resolve()
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(create_file(unfinished, private=private), "wb") as file:
                yield file
            if not force and path.exists():
                raise exists
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink()
    except FileExistsError:
        raise exists from None
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error) or "too little memory"
        raise RecordingError(f"cannot write {path}: {reason}") from error
