"""Writing recordings that are there already, in any format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pydamon._data.formats import format_for, format_named
from pydamon._data.formats.holds import Losses
from pydamon._data.recording.parts import Recorded
from pydamon._data.recording.recording import Recording
from pydamon._data.recording.writer import create_file
from pydamon._model.errors import RecordingError

__all__ = ["replacing", "write_recording"]


def write_recording(
    path: str | os.PathLike[str],
    recording: Recorded,
    *,
    format: str | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Write a recording to a new file, in any format and, if it comes in parts, of any size.

    Returns the names of what is lost, because the format cannot hold it: columns, fields of the
    description, and what damo says besides.

    The suffix of *path* says in which format, unless *format* names one. The file appears when
    it is complete. Raises `UsageError` where neither says it, and `RecordingError` where the file
    exists and *force* is not set, where it cannot be written, or what is to be written not read.
    """
    path = Path(path)
    chosen = format_named(format) if format else format_for(path)
    parts = [recording] if isinstance(recording, Recording) else recording.sorted()
    with replacing(path, force=force, private=True) as file:
        kept = Losses(chosen.holds, recording.info, parts)
        chosen.write(file, recording.info, kept)
    return kept.names


@contextmanager
def replacing(path: Path, *, force: bool, private: bool = False) -> Iterator[BinaryIO]:
    """A file that takes the place of *path* when all has been written, and is gone otherwise.

    A new one that is *private* is for its owner alone.
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
