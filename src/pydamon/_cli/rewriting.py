"""What the commands that read recordings in parts, and write them anew, have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from pydamon._cli.command import Args, eprint
from pydamon._data.formats import format_named
from pydamon._data.formats.losses import Losses
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording
from pydamon._data.recording import DerivedFile, Recording, RecordingFile
from pydamon._model.errors import UsageError

__all__ = ["WithProgress", "opened", "rewrite", "source_path"]

_SHOWN_EVERY_S = 0.2
_SHOWN_FROM_S = 1.0
_STANDARD = "-"


def source_path(word: str) -> str:
    """The path of what a word on the command line names: `-` is standard input."""
    if word != _STANDARD:
        return word
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed: there is nothing to read in it")
    if sys.stdin.isatty():
        raise UsageError(
            "standard input is a terminal", hint="pipe a recording into it, or name a file"
        )
    return "/dev/stdin"


def opened(word: str) -> RecordingFile:
    """The recording that a word on the command line names."""
    return open_recording(source_path(word))


def rewrite(file: RecordingFile, args: Args) -> int:
    """Write it as `target_options` say; the exit code."""
    watched = WithProgress(file.sorted())
    if str(args.target) == _STANDARD:
        lost = _write_out(watched, args.format)
    else:
        lost = write_recording(args.target, watched, format=args.format, force=args.force)
    watched.finish()
    if lost:
        eprint(f"{args.target} cannot hold: {', '.join(lost)}")
    return 0


def _write_out(watched: WithProgress, name: str | None) -> tuple[str, ...]:
    """Write it to standard output; the names of what is lost there."""
    if name is None:
        raise UsageError(
            "standard output has no suffix that says in which format to write",
            hint="name it with --format",
        )
    chosen = format_named(name)
    if not chosen.is_text and sys.stdout.isatty():
        raise UsageError(
            f"the format {name} is not for terminals", hint="write it to a file or a pipe"
        )
    kept = Losses(chosen.holds, watched.info, watched.sorted())
    chosen.write(sys.stdout.buffer, watched.info, kept)
    return kept.names


class WithProgress(DerivedFile):
    """A recording whose reading shows, on a terminal, how far it is."""

    def __init__(self, file: RecordingFile) -> None:
        super().__init__(file)
        self._terminal = sys.stderr.isatty()

    def __iter__(self) -> Iterator[Recording]:
        began = shown = time.monotonic()
        rows = 0
        try:
            for part in super().__iter__():
                rows += len(part.table)
                now = time.monotonic()
                if self._terminal and now - began > _SHOWN_FROM_S and now - shown > _SHOWN_EVERY_S:
                    eprint(f"\r\x1b[Kreading {self.path}: {rows:,} regions", end="")
                    shown = now
                yield part
        finally:
            if shown > began:
                eprint("\r\x1b[K", end="")

    def finish(self) -> None:
        """Say what was left out, and what is there twice."""
        if self.problem:
            eprint(f"{self.path} is not complete: {self.problem}")
        if self.overlap:
            eprint(f"{self.path}: {self.overlap}")
