"""Writing a recording while it happens, so that a crash costs a second of it at most."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon.core.closing import Closing
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Snapshot, Target
from pydamon.recording.arrays import Numbers, arrow, batch_of, strings
from pydamon.recording.compact import CompactCopy
from pydamon.recording.files import PRIVATE, create_file
from pydamon.recording.format import RecordingInfo, file_schema
from pydamon.recording.ipc_options import stream_options

__all__ = ["Recorder"]

_FLUSH_NS = 10**9
_MOST_NAMES = 1000
_INT32_MAX = 2**31 - 1


class Recorder(Closing):
    """Appends snapshots to a new file; use it as a context manager.

    What was written reaches the file at least once a second of the recording's own time, in whole
    snapshots. Snapshots that have no regions leave nothing in the file. Raises `RecordingError`
    where the file exists and *force* is not set, and wherever it cannot be written: that ends the
    recording, since nothing must follow a batch that is missing.
    """

    def __init__(self, path: str | Path, info: RecordingInfo, *, force: bool = False) -> None:
        self.path = Path(path)
        self._pending: list[Snapshot] = []
        self._flushed_ns = info.started_ns
        self._names = {name: _Names() for name in ("target", "mapping", "perms", "host")}
        self._hostname = info.hostname
        self._schema = file_schema(info)
        self._stream = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._stream, self._schema, options=stream_options())
        with self._errors():
            self._fd = _opened(self.path, force=force)
        self._compact = CompactCopy(self.path, self._fd, self._schema)
        self._closed = False
        # The stream's writer holds the schema back until the first batch; the file has it now.
        header = memoryview(self._schema.serialize())
        self._written_ahead = len(header)
        self._put(header)

    def write(self, snapshot: Snapshot) -> None:
        """Append a snapshot; it is in the file a second later at the latest."""
        if self._closed:
            raise RecordingError(f"{self.path} is closed")
        if len(snapshot):
            self._pending.append(snapshot)
        # Another snapshot as long as this one must not push the oldest beyond the second.
        next_ns = snapshot.end_ns + snapshot.window_ns
        if not self._flushed_ns <= next_ns <= self._flushed_ns + _FLUSH_NS:
            self.flush()
            self._flushed_ns = snapshot.end_ns

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        if self._pending and not self._closed:
            batch = self._batch(self._pending)
            self._writer.write_batch(batch)
            self._pending = []
            self._put_stream()
            self._compact.add(batch)

    def close(self) -> None:
        """Flush, mark the recording as complete, close the file, and have it compact.

        Batches of a second are large; the same rows in batches of some 10,000 take its place.
        """
        if self._closed:
            return
        try:
            self.flush()
            self._writer.close()
            self._put_stream()
            self._compact.take_over()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._pending = []
        self._compact.give_up()
        os.close(self._fd)

    def _put_stream(self) -> None:
        data = memoryview(self._stream.getvalue())[self._written_ahead :]
        self._written_ahead = 0
        self._stream.seek(0)
        self._stream.truncate()
        self._put(data)

    def _put(self, data: memoryview) -> None:
        """One `write` for each second, so that a crash hardly ever meets a half-written batch."""
        with self._errors():
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except OSError:
                    # The disk may be full of what can be spared.
                    if not self._compact.give_up():
                        self._abandon()
                        raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise RecordingError(
                f"{self.path} exists already", hint="name another file, or overwrite with --force"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise RecordingError(f"cannot write {self.path}: {reason}") from error

    def _batch(self, snapshots: list[Snapshot]) -> pa.RecordBatch:
        targets, target = _targets(snapshots)
        regions = _Columns(snapshots)
        start, end = regions.of(lambda s: s.start), regions.of(lambda s: s.end)
        mapping = np.full(len(start), self._names["mapping"].code(""), np.int32)
        perms = np.full(len(start), self._names["perms"].code(""), np.int32)
        for index, one in enumerate(targets):
            mine = np.flatnonzero(target == index)
            found = one.mappings.largest_in(start[mine], end[mine])
            used, inverse = np.unique(found, return_inverse=True)
            known = [one.mappings.mappings[i] for i in used if i >= 0]
            if len(known) < len(used):
                mine, inverse = mine[found >= 0], inverse[found >= 0] - 1
            if known:
                codes = [self._names["mapping"].code(m.name) for m in known]
                mapping[mine] = np.array(codes, np.int32)[inverse]
                codes = [self._names["perms"].code(m.perms) for m in known]
                perms[mine] = np.array(codes, np.int32)[inverse]
        names = [self._names["target"].code(one.name) for one in targets]
        self._names["host"].code(self._hostname)
        columns: dict[str, Numbers | pa.Array] = {
            "start_ns": regions.each(lambda s: s.start_ns),
            "end_ns": regions.each(lambda s: s.end_ns),
            "pid": np.array([one.pid for one in targets], np.int32)[target],
            "target": self._names["target"].array(np.array(names, np.int32)[target]),
            "start": start,
            "end": end,
            "nr_accesses": regions.of(lambda s: s.nr_accesses).astype(np.int32),
            "max_nr_accesses": regions.each(lambda s: s.max_nr_accesses).astype(np.int32),
            "age": np.minimum(regions.of(lambda s: s.age), _INT32_MAX).astype(np.int32),
            "touched_bytes": regions.of(lambda s: s.touched_bytes),
            "unobservable_bytes": regions.of(lambda s: s.unobservable_bytes),
            "mapping": self._names["mapping"].array(mapping),
            "perms": self._names["perms"].array(perms),
            "sampling_ns": regions.each(lambda s: s.sampling_ns),
            "cpu_ns": regions.each(lambda s: s.cost.cpu_ns),
            "interruption_ns": regions.each(lambda s: s.cost.interruption_ns),
            "late_ticks": regions.each(lambda s: s.cost.late_ticks).astype(np.int32),
            "host": self._names["host"].array(np.zeros(len(start), np.int32)),
            "vsz_bytes": regions.of(lambda s: _footprint(s, "vsz_bytes")),
            "rss_bytes": regions.of(lambda s: _footprint(s, "rss_bytes")),
            "process_started_ns": np.array([one.started_ns for one in targets], np.int64)[target],
            "age_ns": regions.of(lambda s: s.age_ns),
            "resident_bytes": regions.of(lambda s: s.resident_bytes),
            "unseen_bytes": regions.of(lambda s: s.unseen_bytes),
            "repeated_bytes": regions.of(lambda s: s.repeated_bytes),
        }
        return batch_of(columns, len(start))


def _opened(path: Path, *, force: bool) -> int:
    """A new file, or with *force* one that is there, which keeps its owner and mode."""
    try:
        return create_file(path, private=True)
    except FileExistsError:
        if not force:
            raise
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)


class _Columns:
    """The columns of several snapshots, one after the other."""

    def __init__(self, snapshots: list[Snapshot]) -> None:
        self._snapshots = snapshots
        self._lengths = [len(snapshot) for snapshot in snapshots]

    def of(self, column: Callable[[Snapshot], NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.concatenate([column(snapshot) for snapshot in self._snapshots])

    def each(self, value: Callable[[Snapshot], int]) -> NDArray[np.int64]:
        values = np.array([value(snapshot) for snapshot in self._snapshots], np.int64)
        return np.repeat(values, self._lengths)


class _Names:
    """The words of a dictionary column.

    Arrow writes a dictionary again, as a whole, only where it has changed. It is not written as
    a delta, which Polars cannot read.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._words: pa.Array | None = None

    def code(self, word: str) -> int:
        return self._codes.setdefault(word, len(self._codes))

    def array(self, codes: NDArray[np.int32]) -> pa.Array:
        if self._words is None or len(self._codes) != len(self._words):
            self._words = strings(self._codes)
        array = pa.DictionaryArray.from_arrays(arrow(codes), self._words)
        if len(self._codes) > _MOST_NAMES:
            self._codes.clear()
            self._words = None
        return array


def _footprint(snapshot: Snapshot, name: str) -> NDArray[np.int64]:
    """The footprint of each region's target; 0 where that is not known."""
    known = [getattr(one, name) for one in snapshot.footprints]
    return np.array(known or [0] * len(snapshot.targets), np.int64)[snapshot.target]


def _targets(snapshots: list[Snapshot]) -> tuple[list[Target], NDArray[np.int64]]:
    """The targets of several snapshots, and for each region the index of its own.

    Mappings are read once in a while only, so that a second of snapshots has one or two tables of
    them for each process, and each is searched once.
    """
    known: dict[tuple[int, int, str, int], int] = {}
    targets: list[Target] = []
    parts = []
    for snapshot in snapshots:
        indices = []
        for one in snapshot.targets:
            key = (one.pid, one.started_ns, one.name, id(one.mappings))
            if key not in known:
                known[key] = len(targets)
                targets.append(one)
            indices.append(known[key])
        parts.append(np.array(indices, np.int64)[snapshot.target])
    return targets, np.concatenate(parts)
