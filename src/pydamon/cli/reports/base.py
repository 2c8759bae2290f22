"""What the reports share: which recording, of it which regions, and where to print."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from pydamon.analysis import Bytes, where
from pydamon.cli.command import complain, duration
from pydamon.cli.rewriting import Watched
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Target
from pydamon.recording import Recording
from pydamon.recording import open_recording as read_file
from pydamon.recording.output import replacing

__all__ = [
    "add_recording_arguments",
    "bytes_document",
    "console",
    "duration",
    "new_file",
    "open_recording",
    "show",
    "target_document",
]

_FILE = "pydamon.damon"


def add_recording_arguments(parser: argparse.ArgumentParser, *files: str) -> None:
    """Which recording, and which part of it; *files* name more than one."""
    for name in files:
        parser.add_argument(name, metavar=name.upper(), help="a recording")
    if not files:
        parser.add_argument(
            "file", nargs="?", default=_FILE, help="the recording (default: %(default)s)"
        )
        parser.add_argument("--pid", type=int, help="only this process")
    parser.add_argument("--where", metavar="FILTER", help="only regions that this holds for")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def open_recording(args: argparse.Namespace, file: str | None = None) -> Recording:
    """The part of the recording that was asked for; raises `RecordingError` where it is empty."""
    file = args.file if file is None else file
    recording = Watched(read_file(file)).read()
    _give_memory_back()
    if len(recording) == 0:
        raise RecordingError(f"{file} has no snapshots", hint=recording.problem)
    if not recording.complete:
        complain(f"{file} is not complete: {recording.problem}")
    if getattr(args, "pid", None) is not None:
        recording = recording.of_pid(args.pid)
    if args.where is not None:
        recording = where(recording, args.where)
        if len(recording.table) == 0:
            raise RecordingError(f"no region in {file} is such that {args.where}")
    return recording


def _give_memory_back() -> None:
    """Have glibc return to the system what reading has freed.

    It keeps blocks of up to 32 MB for later, but in pieces that no column fits into: 60 MB of what
    a million regions take.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def console() -> Console:
    """Standard output as wide as it is, without highlighting of what looks like a number."""
    return Console(highlight=False, markup=False, emoji=False)


def show(what: RenderableType, on: Console | None = None) -> None:
    """Render, then write: rich would exit by itself where the reader of a pipe has gone."""
    on = on or console()
    with on.capture() as capture:
        on.print(what)
    sys.stdout.write(capture.get())


def target_document(target: Target) -> dict[str, Any]:
    """A target in JSON."""
    return {"pid": target.pid, "target": target.name}


def bytes_document(size: Bytes) -> dict[str, float]:
    """Hot, warm, cold and idle bytes in JSON."""
    return asdict(size)


def new_file(path: str | Path, force: bool, content: bytes) -> None:
    """Write a file, which must not be there yet unless *force* is set."""
    with replacing(Path(path), force=force) as file:
        file.write(content)
