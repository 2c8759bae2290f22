"""Standard streams of commands: recordings read and written with progress, and results printed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from rich.console import Console, RenderableType

from pydamon._cli.command import Args, eprint
from pydamon._data.formats import format_named
from pydamon._data.formats.output import Losses, columns_beside, write_recording
from pydamon._data.formats.reader import open_recording
from pydamon._data.recording import DerivedFile, Recording, RecordingFile
from pydamon._model.errors import UsageError

__all__ = [
    "WithProgress",
    "console",
    "open_source",
    "rewrite",
    "show",
    "show_wrapped",
    "source_path",
]

_PROGRESS_EVERY_S = 0.2
_PROGRESS_AFTER_S = 1.0
_STANDARD = "-"


def source_path(word: str) -> str:
    """Return the path that a word on the command line names: `-` is standard input."""
    if word != _STANDARD:
        return word
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed: there is nothing to read")
    if sys.stdin.isatty():
        raise UsageError(
            "standard input is a terminal", hint="pipe a recording into it, or name a file"
        )
    return "/dev/stdin"


def open_source(word: str) -> RecordingFile:
    """Open the recording that a word on the command line names."""
    return open_recording(source_path(word))


def rewrite(file: RecordingFile, args: Args) -> int:
    """Write a recording as `target_options` say, and return the exit code."""
    source = WithProgress(file.sorted())
    is_stream = str(args.target) == _STANDARD
    if is_stream:
        lost = _write_to_stdout(source, args.format)
    else:
        lost = write_recording(args.target, source, format=args.format, force=args.force)
    source.finish()
    beside = [] if is_stream else columns_beside(args.target, args.format)
    partly = [name for name in lost if name in beside]
    if wholly := [name for name in lost if name not in beside]:
        eprint(f"{args.target} cannot hold: {', '.join(wholly)}")
    if partly:
        eprint(f"the files beside it hold once a second: {', '.join(partly)}")
    return 0


def _write_to_stdout(source: WithProgress, name: str | None) -> tuple[str, ...]:
    """Write to standard output, and return the names of the columns that are lost."""
    if name is None:
        raise UsageError(
            "standard output has no suffix that says in which format to write",
            hint="name it with --format",
        )
    output_format = format_named(name)
    if not output_format.is_text and sys.stdout.isatty():
        raise UsageError(
            f"the format {name} is not for terminals", hint="write it to a file or a pipe"
        )
    losses = Losses(output_format.holds, source.info, source.sorted())
    output_format.write(sys.stdout.buffer, source.info, losses)
    return losses.names


class WithProgress(DerivedFile):
    """A recording that shows on a terminal how many regions were read."""

    def __init__(self, file: RecordingFile) -> None:
        super().__init__(file)
        self._terminal = sys.stderr.isatty()

    def __iter__(self) -> Iterator[Recording]:
        began_s = shown_s = time.monotonic()
        rows = 0
        try:
            for part in super().__iter__():
                rows += len(part.table)
                now_s = time.monotonic()
                is_due = now_s - began_s > _PROGRESS_AFTER_S and now_s - shown_s > _PROGRESS_EVERY_S
                if self._terminal and is_due:
                    eprint(f"\r\x1b[Kreading {self.path}: {rows:,} regions", end="")
                    shown_s = now_s
                yield part
        finally:
            if shown_s > began_s:
                eprint("\r\x1b[K", end="")

    def finish(self) -> None:
        """Warn if the recording is incomplete or contains snapshots twice."""
        if self.problem:
            eprint(f"{self.path} is not complete: {self.problem}")
        if self.overlap:
            eprint(f"{self.path}: {self.overlap}")


_SIZES = {"COLUMNS": (20, 1000), "LINES": (1, 1000)}
"""Least and most plausible value. Some programs set sizes, such as 0, in which no layout works."""


def console(*, soft_wrap: bool = False) -> Console:
    """Return a console for standard output, with its real width and without highlighting."""
    width = height = None
    if not all(_is_sane(name) for name in _SIZES):
        width, height = _size()
    return Console(
        highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width, height=height
    )


def show(view: RenderableType, screen: Console | None = None) -> None:
    """Render a view and print it, without blanks at the ends of lines.

    Rich itself does not print: it would exit by itself when the reader of a pipe has gone.
    """
    screen = screen or console()
    with screen.capture() as capture:
        screen.print(view)
    sys.stdout.write("".join(f"{line.rstrip(' ')}\n" for line in capture.get().splitlines()))


def show_wrapped(view: RenderableType) -> None:
    """Print text: wrapped on a terminal, and with lines of any length elsewhere."""
    show(view, console(soft_wrap=not sys.stdout.isatty()))


def _is_sane(name: str) -> bool:
    value = os.environ.get(name)
    if value is None:
        return True
    least, most = _SIZES[name]
    return value.isascii() and value.isdecimal() and least <= int(value[:9]) <= most


def _size() -> tuple[int, int]:
    """Return width and height: from sane variables, else from the terminal itself."""
    try:
        size = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    real = {"COLUMNS": size.columns or 80, "LINES": size.lines or 25}
    width, height = (
        int(os.environ[name]) if name in os.environ and _is_sane(name) else real[name]
        for name in _SIZES
    )
    return width, height
