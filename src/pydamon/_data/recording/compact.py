"""A compact copy of a recording, with large batches, which takes its place in the end."""

from __future__ import annotations

import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from pydamon._data.recording.arrow import concatenate
from pydamon._data.recording.schema import BATCH_ROWS, compact_options

__all__ = ["CompactCopy"]


class CompactCopy:
    """A copy of a recording that grows beside it and takes its place when that is closed.

    The copy has no name until then, so that a crash leaves nothing of it behind. If it cannot be
    made, or anything goes wrong, it is given up without a word: the recording itself is there.
    """

    def __init__(self, path: Path, fd: int, schema: pa.Schema) -> None:
        self._path = Path(os.path.realpath(path))
        self._original = os.fstat(fd)
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
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
        """Take a batch that has just been written to the recording."""
        if self._fd < 0:
            return
        self._waiting.append(pa.Table.from_batches([batch]))
        self._waiting_rows += len(batch)
        if self._waiting_rows >= BATCH_ROWS and not self._has_failed():
            self._writing = self._thread.submit(self._write, self._waiting)
            self._waiting, self._waiting_rows = [], 0

    def take_over(self) -> None:
        """Take the place of the recording, if that is still where it was."""
        try:
            if self._fd >= 0 and self._is_in_place() and not self._has_failed():
                self._write(self._waiting)
                self._writer.close()
                self._file.flush()
                self._replace()
        except (OSError, MemoryError, pa.ArrowException):
            return
        finally:
            self.give_up()

    def give_up(self) -> bool:
        """Free the space of the copy; return whether there was any to free."""
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
            table = concatenate(tables).replace_schema_metadata(self._schema.metadata)
            self._writer.write_table(table)

    def _has_failed(self) -> bool:
        """Wait for the last write; give the copy up, and return true, if that has failed."""
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
        # A power cut could still take the copy away: it must be on the disk before it replaces.
        os.fsync(self._fd)
        name = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        files = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Python follows the link to the file only if a directory descriptor is given.
            os.link(str(self._fd), name, src_dir_fd=files, follow_symlinks=True)
            name.replace(self._path)
        finally:
            os.close(files)
            with suppress(OSError):
                name.unlink()
