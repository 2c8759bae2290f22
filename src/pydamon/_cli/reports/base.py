"""Opening, filtering and printing, for all reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydamon._cli.command import Args, eprint
from pydamon._cli.streams import WithProgress, console, open_source, show
from pydamon._data.analysis import Bytes, where
from pydamon._data.formats.output import replacing
from pydamon._data.recording import DerivedFile, Recording, RecordingFile
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Target

__all__ = [
    "bytes_document",
    "console",
    "filtered",
    "new_file",
    "open_recording",
    "open_whole",
    "show",
    "target_document",
]


def open_recording(args: Args, file: str | None = None) -> RecordingFile:
    """Open the selected part of a recording; reading it reports errors in it."""
    return filtered(args, open_whole(args, file))


def filtered(args: Args, recording: RecordingFile) -> RecordingFile:
    """The part of a recording that `--where` selects."""
    if args.where is None:
        return recording
    return _Filtered(where(recording, args.where), args.where)


def open_whole(args: Args, file: str | None = None) -> RecordingFile:
    """Open a recording, whatever `--where` says; reading it reports errors in it."""
    recording: RecordingFile = _Checked(
        WithProgress(open_source(args.file if file is None else file))
    )
    if getattr(args, "pid", None) is not None:
        recording = recording.of_pid(args.pid)
    return recording


class _Checked(DerivedFile):
    """Raises `RecordingError` for an empty recording, and warns once about an incomplete one."""

    _warned = False

    def __iter__(self) -> Iterator[Recording]:
        empty = True
        for part in super().__iter__():
            empty = False
            yield part
        if empty:
            raise RecordingError(f"{self.path} has no snapshots", hint=self.problem)
        if not self._warned:
            self._warned = True
            if self.problem:
                eprint(f"{self.path} is not complete: {self.problem}")
            if self.overlap:
                eprint(f"{self.path}: {self.overlap}")


class _Filtered(DerivedFile):
    """Raises `RecordingError` if no region matches the filter."""

    def __init__(self, whole: RecordingFile, query: str) -> None:
        super().__init__(whole)
        self._query = query

    def __iter__(self) -> Iterator[Recording]:
        rows = 0
        for part in super().__iter__():
            rows += len(part.table)
            yield part
        if rows == 0:
            raise RecordingError(f"no region in {self.path} matches {self._query}")


def target_document(target: Target) -> dict[str, Any]:
    """Return a target for JSON, with its start, host and container if the recording has them."""
    document: dict[str, Any] = {"pid": target.pid, "target": target.name}
    if target.started_ns:
        document["process_started_ns"] = target.started_ns
    if target.host:
        document["host"] = target.host
    if target.container:
        document["container"] = target.container
    return document


def bytes_document(size: Bytes) -> dict[str, float]:
    """Return bytes by state (hot, warm, ...) for JSON."""
    return asdict(size)


def new_file(path: str | Path, force: bool, content: bytes) -> None:
    """Write a file; an existing file is an error unless *force* is set."""
    with replacing(Path(path), force=force) as file:
        file.write(content)
