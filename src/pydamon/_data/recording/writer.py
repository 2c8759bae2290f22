"""Writing a recording while it happens, so that a crash costs a second of it at most."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.recording.arrays import Numbers, arrow, batch_of, joined, strings
from pydamon._data.recording.format import (
    BATCH_ROWS,
    RecordingInfo,
    compact_options,
    file_schema,
    stream_options,
)
from pydamon._model.closing import Closing
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot, Target

__all__ = ["PRIVATE", "CompactCopy", "Recorder", "create_file"]

PRIVATE = 0o600
"""A recording tells the command lines and addresses of programs: it is for its owner alone."""


def create_file(path: Path, *, private: bool) -> int:
    """Create a file to write to, for its owner alone if *private*; its descriptor.

    Under sudo it belongs to the user who called sudo, who can then read and delete it. Raises
    `OSError`, as for a file that exists.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(path, flags, PRIVATE if private else 0o666)
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal():
        with suppress(OSError):  # a file system without owners
            os.fchown(fd, int(uid), int(gid))
    return fd


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


class CompactCopy:
    """A copy of a recording that grows beside it and takes its place when the recording is closed.

    It has no name until then, so that a crash leaves nothing of it behind; and it is given up
    without a word where that cannot be had, or anything goes wrong: the recording is there.
    """

    def __init__(self, path: Path, file: int, schema: pa.Schema) -> None:
        self._path = Path(os.path.realpath(path))
        self._original = os.fstat(file)
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows = 0
        # Compressing takes longer than a sampling interval, in which the monitor must not wait.
        self._thread = ThreadPoolExecutor(1, "pydamon-compact")
        self._writing: Future[None] | None = None
        self._fd = -1
        if not stat.S_ISREG(self._original.st_mode):
            return
        with suppress(OSError):  # not every file system has files without names
            self._fd = os.open(self._path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(os.dup(self._fd), "wb")
            self._writer = pa.ipc.new_stream(self._file, schema, options=compact_options())

    def add(self, batch: pa.RecordBatch) -> None:
        """Take what has just been written to the recording."""
        if self._fd < 0:
            return
        self._waiting.append(pa.Table.from_batches([batch]))
        self._rows += len(batch)
        if self._rows >= BATCH_ROWS and not self._is_failing():
            self._writing = self._thread.submit(self._write, self._waiting)
            self._waiting, self._rows = [], 0

    def take_over(self) -> None:
        """Take the place of the recording, if it is still where it was."""
        try:
            if self._fd >= 0 and self._is_in_place() and not self._is_failing():
                self._write(self._waiting)
                self._writer.close()
                self._file.flush()
                self._replace()
        except (OSError, MemoryError, pa.ArrowException):
            return
        finally:
            self.give_up()

    def give_up(self) -> bool:
        """Free the space; whether there was any to free."""
        if self._fd < 0:
            return False
        self._thread.shutdown()
        with suppress(OSError):
            self._file.close()
        os.close(self._fd)
        self._fd = -1
        self._waiting = []
        return True

    def _write(self, tables: list[pa.Table]) -> None:
        if tables:
            table = joined(tables).replace_schema_metadata(self._schema.metadata)
            self._writer.write_table(table)

    def _is_failing(self) -> bool:
        """Wait for what is being written; whether that went wrong, and the copy is given up."""
        if self._writing is not None and self._writing.exception():
            self.give_up()
        self._writing = None
        return self._fd < 0

    def _is_in_place(self) -> bool:
        now = self._path.stat()
        same = (now.st_dev, now.st_ino) == (self._original.st_dev, self._original.st_ino)
        return same and now.st_nlink == 1

    def _replace(self) -> None:
        os.fchown(self._fd, self._original.st_uid, self._original.st_gid)
        os.fchmod(self._fd, stat.S_IMODE(self._original.st_mode))
        # What is there must not be replaced by what a power cut could still take away.
        os.fsync(self._fd)
        named = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        files = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Python follows the link to the file only where a directory is named.
            os.link(str(self._fd), named, src_dir_fd=files, follow_symlinks=True)
            named.replace(self._path)
        finally:
            os.close(files)
            with suppress(OSError):
                named.unlink()
