"""Reading a recording back, whole or in parts, from any format, as far as it got."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pydamon._data.formats import FORMATS, HEAD_BYTES, format_of
from pydamon._data.formats.base import UNREADABLE, Source
from pydamon._data.formats.content import Content, Incomplete
from pydamon._data.formats.sound import first_nonsense
from pydamon._data.recording.arrays import (
    arrow,
    conformed,
    constant,
    joined,
    missing_numbers,
    numbers,
    single,
)
from pydamon._data.recording.format import COLUMNS, EXTRA, LATER, RecordingInfo
from pydamon._data.recording.overlap import Coverage
from pydamon._data.recording.parts import RecordingFile, SeveralFiles
from pydamon._data.recording.recording import Recording
from pydamon._model.errors import RecordingError
from pydamon._model.names import blanked
from pydamon._model.units import format_size

__all__ = ["merge_recordings", "open_recording", "read_recording"]

_PART_ROWS = 2**17
"""16 MB as columns."""
_STDIN = Path("/dev/stdin")
_CHUNK_BYTES = 2**20
_LEAST_PART_ROWS = 2**12
_PART_NAME_BYTES = 2**25
_SMALL_TABLES = 256
_MOST_SNAPSHOT_ROWS = 2**22
_MANY_WINDOWS = 2**20
"""29 hours of a target at 100 ms; reports keep something of each. DAMON has 10 regions or more."""
_MOST_TOLD = 200


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """A recording of any format, whole and in memory: some 130 bytes a region.

    What a crash or damage has cut off is left out, and `Recording.complete` is then false. *path*
    may stand for several, as in `open_recording`. Raises `RecordingError` where there is no such
    file, it is not a recording, or it is too large for the memory that is free.
    """
    return open_recording(path).read()


def open_recording(path: str | os.PathLike[str]) -> RecordingFile:
    """A recording of any format and size, to be read in parts.

    *path* is a file, or a directory or a pattern (as in `"fleet/*.parquet"`) of files, which then
    are one recording; the column `host` tells them apart. Raises `RecordingError`.
    """
    text = os.fspath(path)
    paths = _several(text)
    if paths is None:
        return _File(Path(text))
    if not paths:
        raise RecordingError(f"there is no recording in {text}")
    return merge_recordings(paths, path=text)


def merge_recordings(
    paths: Iterable[str | os.PathLike[str]], *, path: str = "the recordings"
) -> RecordingFile:
    """Several recordings as one; *path* is what errors call it.

    They come one after the other; in the order of time where that is `read`, `sorted` or written.

    A recording that does not say on which host it was made gets the name of its file as one.
    Raises `RecordingError`.
    """
    names = [Path(one) for one in paths]
    part_rows = max(_LEAST_PART_ROWS, _PART_ROWS // max(1, len(names)))
    return SeveralFiles(path, [_File(one, part_rows, one.stem) for one in names])


class _File(RecordingFile):
    def __init__(self, path: Path, part_rows: int = _PART_ROWS, host: str = "") -> None:
        self.path = str(path)
        self._copy = _copy_of_pipe(path)
        self._source = _open(
            path, Path(f"/proc/self/fd/{self._copy.fileno()}") if self._copy else path
        )
        self._part_rows = part_rows
        self.ordered = self._source.ordered
        self.info = self._source.info
        if host and not self.info.hostname:
            self.info = replace(self.info, hostname=host)

    def __iter__(self) -> Iterator[Recording]:
        coverage = Coverage()
        self.overlap = ""
        for part in self._parts():
            found = coverage.add(part)
            if found is not None and not self.overlap:
                self.overlap = f"{found}: it may be several recordings put together"
            yield part

    def _parts(self) -> Iterator[Recording]:
        self.problem = ""
        rows = _Rows(self.info)
        row_count = window_count = 0
        batches = _in_pieces(self._source.batches())
        while not self.problem:
            try:
                rows.add(next(batches))
                is_enough = len(rows) >= self._part_rows or rows.name_bytes >= _PART_NAME_BYTES
                table = rows.take() if is_enough else None
            except StopIteration:
                break
            except Incomplete as reason:
                self.problem = str(reason)
                break
            except UNREADABLE as error:
                if getattr(error, "errno", None):  # of the file system, not of what is in the file
                    raise _unreadable(self.path, error) from error
                self.problem = f"it is damaged: {_told(error)}"
                break
            if table is not None:
                for part in self._sound(table):
                    window_count += len(part.part_offsets) - 1
                    row_count += len(part.table)
                    yield part
            if window_count > _MANY_WINDOWS and row_count < 2 * window_count:
                self.problem = f"its first {window_count:,} windows have hardly more than a region"
                return
        if len(rows):
            yield from self._sound(rows.take(all_of_them=True))

    def _sound(self, table: pa.Table) -> Iterator[Recording]:
        """The part of a table before the first snapshot that holds nonsense."""
        part = Recording(self.info, table, self.problem)
        found = first_nonsense(part)
        if found is not None:
            row, reason = found
            self.problem = f"it is damaged: regions make no sense: {_told(reason)}"
            begins = part.snapshot_offsets
            # A nonsensical row may only seem to begin a snapshot: the one before is not trusted.
            at = np.searchsorted(begins, max(0, row - 1), side="right") - 1
            part = Recording(self.info, table[: int(begins[at])], self.problem)
        if len(part.table):
            yield part


def _in_pieces(batches: Iterator[pa.RecordBatch | pa.Table]) -> Iterator[pa.RecordBatch | pa.Table]:
    """The same, none of them longer than a part."""
    for batch in batches:
        for begin in range(0, len(batch), _PART_ROWS):
            yield batch[begin : begin + _PART_ROWS] if len(batch) > _PART_ROWS else batch


class _Rows:
    """Rows that have been read and not yet been given on."""

    def __init__(self, info: RecordingInfo) -> None:
        self._info = info
        self._tables: list[pa.Table] = []
        self._small: list[pa.Table] = []
        """The last ones, still to be joined: thousands of tables take more than their rows."""
        self._count = 0
        self.name_bytes = 0

    def __len__(self) -> int:
        return self._count

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take rows over; raises `ValueError` or another error where they are not sound."""
        if len(batch) == 0:
            return
        batch.validate(full=True)
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        table = conformed(table)
        if "host" not in table.column_names:
            table = table.append_column("host", constant(self._info.hostname, len(table)))
        for name in LATER.difference(table.column_names):
            known = partial(_column, table)
            table = table.append_column(name, arrow(missing_numbers(name, len(table), known)))
        schema = COLUMNS.append(EXTRA) if EXTRA.name in table.column_names else COLUMNS
        table = pa.Table.from_arrays([table[name] for name in schema.names], schema=schema)
        self._small.append(table)
        self._count += len(table)
        self.name_bytes += sum(
            chunk.dictionary.nbytes
            for column in table.columns
            if pa.types.is_dictionary(column.type)
            for chunk in column.chunks
        )
        if len(self._small) >= _SMALL_TABLES:
            self._tables.append(joined(self._small))

    def take(self, *, all_of_them: bool = False) -> pa.Table | None:
        """All rows but those of the last snapshot, which may go on, as one table in one piece."""
        table = joined(self._tables + self._small)
        self._tables, self._small, self._count, self.name_bytes = [], [], 0, 0
        if all_of_them:
            return table
        cut = int(Recording(self._info, table).snapshot_offsets[-2])
        if len(table) - cut > _MOST_SNAPSHOT_ROWS:
            raise Incomplete("it is damaged: a snapshot has no end")
        self._tables, self._count = [table[cut:]], len(table) - cut
        return table[:cut] if cut else None


def _column(table: pa.Table, name: str) -> NDArray[np.int64]:
    return numbers(single(table, name)).astype(np.int64)


def _several(text: str) -> list[str] | None:
    """The files that a directory or a pattern stands for; `None` for a file.

    Of a directory, those whose names and first bytes are those of recordings.
    """
    path = Path(text)
    try:
        if path.is_dir():
            suffixes = tuple(suffix for one in FORMATS for suffix in one.suffixes)
            named = sorted(one for one in path.iterdir() if one.name.endswith(suffixes))
            return [str(one) for one in named if one.is_file() and _is_one(one)]
        if glob.has_magic(text) and not path.exists():
            return sorted(glob.glob(text))  # noqa: PTH207
    except (OSError, ValueError) as error:
        raise _unreadable(text, error) from error
    return None


def _copy_of_pipe(path: Path) -> IO[bytes] | None:
    """A file without a name with what a pipe holds, which can be read only once; `None` for files.

    Of what begins like no recording only the beginning is read: a pipe need have no end.
    """
    try:
        if not (path.is_fifo() or path.is_socket()):
            return None
        copy = tempfile.TemporaryFile()  # noqa: SIM115
        most_bytes = shutil.disk_usage(tempfile.gettempdir()).free // 2
        # A socket cannot be opened by its name, but standard input is open already.
        pipe_name = 0 if path == _STDIN else path
        with open(pipe_name, "rb", closefd=pipe_name != 0) as pipe:
            chunk = pipe.read(HEAD_BYTES)
            wanted: bool | None = None
            while chunk:
                copy.write(chunk)
                if copy.tell() > most_bytes:
                    raise RecordingError(
                        f"cannot read {path}: it goes on after {format_size(most_bytes)}, and "
                        f"{tempfile.gettempdir()} cannot hold more",
                        hint="set TMPDIR to a directory on a larger disk, or write it to a file",
                    )
                copy.flush()
                if wanted is None:
                    wanted = _is_one(Path(f"/proc/self/fd/{copy.fileno()}"))
                chunk = pipe.read(_CHUNK_BYTES) if wanted else b""
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return copy


def _open(path: Path, content: Path) -> Source:
    """What is in *content*; errors name *path*."""
    try:
        inside = Content(content)
        head = inside.head
    except FileNotFoundError as error:
        raise RecordingError(
            f"there is no recording {path}", hint="make one with: pydamon record"
        ) from error
    except (OSError, ValueError, Incomplete) as error:
        raise _unreadable(path, error) from error
    if not head:
        raise RecordingError(f"{path} is empty")
    found = format_of(head)
    if found is None:
        raise RecordingError(f"{path} is not a recording", hint=_hint(content, head))
    try:
        return found.open(inside)
    except (Incomplete, *UNREADABLE) as error:
        if getattr(error, "errno", None):
            raise _unreadable(path, error) from error
        raise RecordingError(f"{path} is not a recording: {_told(error)}") from error


def _unreadable(path: str | Path, error: BaseException) -> RecordingError:
    return RecordingError(f"cannot read {path}: {getattr(error, 'strerror', None) or _told(error)}")


def _is_one(path: Path) -> bool:
    """Whether a file, of which there may only be the beginning, begins as a recording does."""
    try:
        content = Content(path)
        return bool(content.compression) or format_of(content.head) is not None
    except (*UNREADABLE, Incomplete):
        return False


def _hint(path: Path, head: bytes) -> str:
    """What to do with a file that other programs must prepare."""
    if head.startswith(b"PERFILE2"):
        from pydamon._data.recording.cpu_samples import perf_script_command  # noqa: PLC0415

        return f"it is for perf: {perf_script_command(path)} > FILE.perf"
    if head.startswith((b"BZh", b"\xfd7zXZ")):
        return "it is compressed as a whole: unpack it first"
    return ""


def _told(error: BaseException | str) -> str:
    """Why something cannot be read, on one line: an error may repeat what is in the file."""
    line = (str(error).splitlines() or [""])[0]
    shown = blanked(line)
    if not shown:
        return "it does not fit into memory" if isinstance(error, MemoryError) else "it is damaged"
    return shown if len(shown) <= _MOST_TOLD else f"{shown[:_MOST_TOLD]}..."
