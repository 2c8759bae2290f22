"""Opening recordings of any format: whole or in chunks, from files, directories and pipes."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from pydamon._data.formats import FORMATS, format_of
from pydamon._data.formats.base import UNREADABLE, BatchReader, RowBuffer
from pydamon._data.formats.content import HEAD_BYTES, Content, Incomplete
from pydamon._data.formats.cpu_samples import perf_script_command
from pydamon._data.formats.damo_beside import read_beside
from pydamon._data.formats.soundness import first_nonsense
from pydamon._data.recording.coverage import Coverage
from pydamon._data.recording.file import RecordingFile
from pydamon._data.recording.merge import SeveralFiles
from pydamon._data.recording.recording import Recording
from pydamon._model.display import blanked
from pydamon._model.errors import RecordingError
from pydamon._model.units import format_size

__all__ = ["merge_recordings", "open_recording", "read_recording"]

_CHUNK_ROWS = 2**17
"""16 MB as columns."""
_LEAST_CHUNK_ROWS = 2**12
_MANY_WINDOWS = 2**20
"""29 hours of a target at 100 ms. Reports keep something of each; DAMON has 10 regions or more."""
_STDIN = Path("/dev/stdin")
_PIPE_BYTES = 2**20
_MAX_REASON = 200


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Read a recording of any format into memory: some 170 bytes a region.

    Rows that a crash or damage has cut off are left out: see `Recording.complete`.

    Parameters
    ----------
    path
        As in `open_recording`.

    Returns
    -------
    Recording
        The recording, in the order of time.

    Raises
    ------
    RecordingError
        If there is no such file, it is not a recording, or it is too large for the free memory.

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
    ...     path = Path(folder) / "app.parquet"
    ...     lost = pydamon.write_recording(path, recording)
    ...     copy = pydamon.read_recording(path)
    >>> len(copy) == len(recording)
    True
    """
    return open_recording(path).read()


def open_recording(path: str | os.PathLike[str]) -> RecordingFile:
    """Open a recording of any format and size, to be read in chunks.

    Parameters
    ----------
    path
        A file, or a directory or a pattern (as in `"fleet/*.parquet"`) of files, which then are
        one recording: the column `host` tells them apart. The content decides about the format.

    Returns
    -------
    RecordingFile
        The recording; nothing but its first rows has been read.

    Raises
    ------
    RecordingError
        If there is no such file, or it is not a recording.

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
    ...     lost = pydamon.write_recording(Path(folder) / "app.damon", recording)
    ...     file = pydamon.open_recording(folder)
    ...     rows = sum(len(chunk.table) for chunk in file)
    >>> rows == len(recording.table)
    True
    """
    text = os.fspath(path)
    paths = _paths_in(text)
    if paths is None:
        return _File(Path(text))
    if not paths:
        raise RecordingError(f"there is no recording in {text}")
    return merge_recordings(paths, path=text)


def merge_recordings(
    paths: Iterable[str | os.PathLike[str]], *, path: str = "the merged recording"
) -> RecordingFile:
    """Open several recordings as one.

    Iterating over it reads one file after the other; `read`, `sorted` and `write_recording` merge
    them in the order of time. A recording that does not name its host gets the name of its file.

    Parameters
    ----------
    paths
        The files.
    path
        A name for all of them, for errors.

    Returns
    -------
    RecordingFile
        All of them as one recording.

    Raises
    ------
    RecordingError
        If one of them does not exist or is not a recording.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pydamon
    >>> from pydamon import Access, Phase, RecordingInfo, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 64 << 20, rate_hz=1000),)),))
    >>> paths = []
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for host in ("web1", "web2"):
    ...         monitor = pydamon.simulate(trace, [(0, 256 << 20)])
    ...         paths.append(Path(folder) / f"{host}.damon")
    ...         info = RecordingInfo(monitor.attrs, "trace", started_ns=0, hostname=host)
    ...         with pydamon.Recorder(paths[-1], info) as recorder:
    ...             for snapshot in monitor.run("1s"):
    ...                 recorder.write(snapshot)
    ...     fleet = pydamon.merge_recordings(paths).read()
    >>> fleet.hosts
    ('web1', 'web2')
    """
    names = [Path(name) for name in paths]
    chunk_rows = max(_LEAST_CHUNK_ROWS, _CHUNK_ROWS // max(1, len(names)))
    return SeveralFiles(path, [_File(name, chunk_rows, name.stem) for name in names])


class _File(RecordingFile):
    """One file; *host* is the name of its host if the file does not say it."""

    def __init__(self, path: Path, chunk_rows: int = _CHUNK_ROWS, host: str = "") -> None:
        self.path = str(path)
        self._copy = _copy_of_pipe(path)
        content = Path(f"/proc/self/fd/{self._copy.fileno()}") if self._copy else path
        self._reader = _reader_of(path, content)
        self._chunk_rows = chunk_rows
        self.ordered = self._reader.ordered
        self.info = self._reader.info
        self._beside = None
        if self.info.probe == "damo":
            self._beside = read_beside(path, self.info.started_ns)
        if host and not self.info.hostname:
            self.info = replace(self.info, hostname=host)

    def __iter__(self) -> Iterator[Recording]:
        coverage = Coverage()
        self.overlap = ""
        for chunk in self._chunks():
            overlap = coverage.add(chunk)
            if overlap is not None and not self.overlap:
                self.overlap = f"{overlap}: it may be several recordings put together"
            yield chunk

    def _chunks(self) -> Iterator[Recording]:
        """The chunks up to the first problem."""
        self.problem = ""
        row_count = window_count = 0
        for table in self._tables():
            chunk = self._sound_part(table)
            if len(chunk.table):
                yield self._beside.completed(chunk) if self._beside else chunk
            if len(chunk.table) < len(table):
                return
            row_count += len(chunk.table)
            window_count += len(chunk.target_snapshots)
            if window_count > _MANY_WINDOWS and row_count < 2 * window_count:
                self.problem = f"its first {window_count:,} windows have hardly more than a region"
                return

    def _tables(self) -> Iterator[pa.Table]:
        """Whole snapshots, up to the end of the file or its first damage."""
        rows = RowBuffer(self.info, self._chunk_rows)
        batches = _split_batches(self._reader.batches())
        while True:
            try:
                rows.add(next(batches))
                table = rows.take_chunk()
            except StopIteration:
                break
            except Incomplete as reason:
                self.problem = str(reason)
                break
            except UNREADABLE as error:
                if getattr(error, "errno", None):  # of the file system, not of the content
                    raise _unreadable(self.path, error) from error
                self.problem = f"it is damaged: {_reason(error)}"
                break
            if table is not None:
                yield table
        if len(rows):
            yield rows.take_all()

    def _sound_part(self, table: pa.Table) -> Recording:
        """The snapshots before the first that cannot come from a monitor."""
        chunk = Recording(self.info, table, self.problem)
        nonsense = first_nonsense(chunk)
        if nonsense is None:
            return chunk
        row, reason = nonsense
        self.problem = f"it is damaged: regions make no sense: {_reason(reason)}"
        # A nonsensical row may only seem to begin a snapshot: the one before is not trusted.
        begins = chunk.snapshot_offsets
        snapshot = np.searchsorted(begins, max(0, row - 1), side="right") - 1
        return Recording(self.info, table[: int(begins[snapshot])], self.problem)


def _split_batches(
    batches: Iterator[pa.RecordBatch | pa.Table],
) -> Iterator[pa.RecordBatch | pa.Table]:
    """The same rows in batches that are no longer than a chunk."""
    for batch in batches:
        for begin in range(0, len(batch), _CHUNK_ROWS):
            yield batch[begin : begin + _CHUNK_ROWS] if len(batch) > _CHUNK_ROWS else batch


def _paths_in(text: str) -> list[str] | None:
    """The files that a directory or a pattern stands for; `None` if *text* names a file.

    In a directory, these are the files with names and first bytes like recordings.
    """
    path = Path(text)
    try:
        if path.is_dir():
            suffixes = tuple(suffix for format in FORMATS for suffix in format.suffixes)
            named = sorted(each for each in path.iterdir() if each.name.endswith(suffixes))
            return [str(each) for each in named if each.is_file() and _looks_sound(each)]
        if glob.has_magic(text) and not path.exists():
            return sorted(glob.glob(text))  # noqa: PTH207
    except (OSError, ValueError) as error:
        raise _unreadable(text, error) from error
    return None


def _copy_of_pipe(path: Path) -> IO[bytes] | None:
    """A nameless file with the content of a pipe, which can be read only once; `None` for files.

    If the content does not begin like a recording, only its beginning is read: a pipe may have no
    end.
    """
    try:
        if not (path.is_fifo() or path.is_socket()):
            return None
        copy = tempfile.TemporaryFile()  # noqa: SIM115
        # A socket cannot be opened by its name, but standard input is open already.
        pipe_name = 0 if path == _STDIN else path
        with open(pipe_name, "rb", closefd=pipe_name != 0) as pipe:
            most_bytes = shutil.disk_usage(tempfile.gettempdir()).free // 2
            _append(copy, pipe.read(HEAD_BYTES), most_bytes, path)
            if _looks_sound(Path(f"/proc/self/fd/{copy.fileno()}")):
                while chunk := pipe.read(_PIPE_BYTES):
                    _append(copy, chunk, most_bytes, path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return copy


def _append(copy: IO[bytes], chunk: bytes, most_bytes: int, path: Path) -> None:
    copy.write(chunk)
    copy.flush()
    if copy.tell() > most_bytes:
        raise RecordingError(
            f"cannot read {path}: it goes on after {format_size(most_bytes)}, and "
            f"{tempfile.gettempdir()} cannot hold more",
            hint="set TMPDIR to a directory on a larger disk, or write it to a file",
        )


def _reader_of(path: Path, content_path: Path) -> BatchReader:
    """A reader of the rows in *content_path*; errors name *path*."""
    try:
        content = Content(content_path)
        head = content.head
    except FileNotFoundError as error:
        raise RecordingError(
            f"there is no recording {path}", hint="make one with: pydamon record"
        ) from error
    except (OSError, ValueError, Incomplete) as error:
        raise _unreadable(path, error) from error
    if not head:
        raise RecordingError(f"{path} is empty")
    format = format_of(head)
    if format is None:
        raise RecordingError(f"{path} is not a recording", hint=_hint(content_path, head))
    try:
        return format.open(content)
    except (Incomplete, *UNREADABLE) as error:
        if getattr(error, "errno", None):
            raise _unreadable(path, error) from error
        raise RecordingError(f"{path} is not a recording: {_reason(error)}") from error


def _unreadable(path: str | Path, error: BaseException) -> RecordingError:
    reason = getattr(error, "strerror", None) or _reason(error)
    return RecordingError(f"cannot read {path}: {reason}")


def _looks_sound(path: Path) -> bool:
    """Whether a file, of which only the beginning may be there, begins like a recording."""
    try:
        content = Content(path)
        return bool(content.compression) or format_of(content.head) is not None
    except (*UNREADABLE, Incomplete):
        return False


def _hint(path: Path, head: bytes) -> str:
    """How another program can prepare a file that has none of the formats."""
    if head.startswith(b"PERFILE2"):
        return f"it is for perf: {perf_script_command(path)} > FILE.perf"
    if head.startswith((b"BZh", b"\xfd7zXZ")):
        return "it is compressed as a whole: unpack it first"
    return ""


def _reason(error: BaseException | str) -> str:
    """Why a file cannot be read, in one line: an error may repeat what is in the file."""
    line = (str(error).splitlines() or [""])[0]
    shown = blanked(line)
    if not shown:
        return "it does not fit into memory" if isinstance(error, MemoryError) else "it is damaged"
    return shown if len(shown) <= _MAX_REASON else f"{shown[:_MAX_REASON]}..."
