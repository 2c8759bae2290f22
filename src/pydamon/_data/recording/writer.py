"""Writing a recording while it happens, so that a crash costs a second of it at most."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from pydamon._data.recording.compact import CompactCopy
from pydamon._data.recording.schema import RecordingInfo, file_schema, stream_options
from pydamon._data.recording.snapshots import RowBuilder
from pydamon._model.closing import Closing
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot

__all__ = ["PRIVATE", "Recorder", "create_file", "open_new", "writing"]

PRIVATE = 0o600
"""The mode of new files: a recording tells command lines and addresses, for its owner alone."""
_FLUSH_NS = 10**9


def create_file(path: Path, *, private: bool) -> int:
    """Create a file to write to, for its owner alone if *private*; return its descriptor.

    Under sudo it belongs to the user who called sudo, who can then read and delete it. Raises
    `OSError`, also if the file exists.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(path, flags, PRIVATE if private else 0o666)
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() == 0 and uid.isdecimal() and gid.isdecimal():
        with suppress(OSError):  # a file system without owners
            os.fchown(fd, int(uid), int(gid))
    return fd


class Recorder(Closing):
    """Appends snapshots to a new file; use it as a context manager.

    Snapshots reach the file at least once a second of the recording's own time, as whole
    snapshots. Snapshots without regions leave nothing in the file.

    Parameters
    ----------
    path
        The file to create.
    info
        The facts about the recording: see `RecordingInfo.here`.
    force
        Overwrite the file if it exists.

    Raises
    ------
    RecordingError
        If the file exists and *force* is not set, and whenever it cannot be written. A failed write
        ends the recording, since nothing must follow a batch that is missing.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "app.damon"
    ...     info = pydamon.RecordingInfo.here(monitor.attrs, "trace", started_ns=0)
    ...     with pydamon.Recorder(path, info) as recorder:
    ...         for snapshot in monitor.run("1s"):
    ...             recorder.write(snapshot)
    ...     recording = pydamon.read_recording(path)
    >>> recording.complete
    True
    """

    def __init__(self, path: str | Path, info: RecordingInfo, *, force: bool = False) -> None:
        self.path = Path(path)
        self._pending: list[Snapshot] = []
        self._flushed_ns = info.started_ns
        self._rows = RowBuilder(info.hostname)
        schema = file_schema(info)
        self._stream = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._stream, schema, options=stream_options())
        with writing(self.path):
            self._fd = open_new(self.path, force=force)
        self._compact = CompactCopy(self.path, self._fd, schema)
        self._closed = False
        # The stream's writer holds the schema back until the first batch; the file has it now.
        header = memoryview(schema.serialize())
        self._written_ahead = len(header)
        self._put(header)

    def write(self, snapshot: Snapshot) -> None:
        """Append a snapshot; it is in the file a second later at the latest.

        Raises
        ------
        RecordingError
            If the recorder is closed, or the file cannot be written.
        """
        if self._closed:
            raise RecordingError(f"{self.path} is closed")
        if len(snapshot):
            self._pending.append(snapshot)
        # Another snapshot as long as this must not keep the oldest back for more than a second.
        next_ns = snapshot.end_ns + snapshot.window_ns
        if not self._flushed_ns <= next_ns <= self._flushed_ns + _FLUSH_NS:
            self.flush()
            self._flushed_ns = snapshot.end_ns

    def flush(self) -> None:
        """Hand all snapshots written so far to the operating system."""
        if self._pending and not self._closed:
            batch = self._rows.batch(self._pending)
            self._writer.write_batch(batch)
            self._pending = []
            self._put_stream()
            self._compact.add(batch)

    def close(self) -> None:
        """Flush, mark the recording as complete, and close the file; harmless when done twice.

        A compact copy takes the place of the file: batches of a second compress badly.
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
        """Write a batch at once, so that a crash hardly ever leaves half of it."""
        with writing(self.path):
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except OSError:
                    # The disk may be full because of the compact copy, which can be spared.
                    if not self._compact.give_up():
                        self._abandon()
                        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of writing to a file into `RecordingError`."""
    try:
        yield
    except FileExistsError as error:
        raise RecordingError(
            f"{path} exists already", hint="name another file, or overwrite with --force"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"cannot write {path}: {reason}") from error


def open_new(path: Path, *, force: bool) -> int:
    """Create the file; with *force*, empty a file that exists: it keeps its owner and mode."""
    try:
        return create_file(path, private=True)
    except FileExistsError:
        if not force:
            raise
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
