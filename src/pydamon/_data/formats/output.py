"""Writing whole recordings, in any format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pydamon._data.formats import format_for, format_named
from pydamon._data.formats.losses import Losses
from pydamon._data.recording.file import AnyRecording
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.writer import create_file
from pydamon._model.errors import RecordingError

__all__ = ["replacing", "write_recording"]


def write_recording(
    path: str | os.PathLike[str],
    recording: AnyRecording,
    *,
    format: str | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Write a recording to a new file, in any format and of any size.

    The file appears when it is complete.

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
    with replacing(path, force=force, private=True) as file:
        losses = Losses(chosen.holds, recording.info, chunks)
        chosen.write(file, recording.info, losses)
    return losses.names


@contextmanager
def replacing(path: Path, *, force: bool, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of *path* once it is written, and is gone otherwise.

    A new file is for its owner alone if it is *private*.
    """
    exists = RecordingError(
        f"{path} exists already", hint="name another file, or overwrite with --force"
    )
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
