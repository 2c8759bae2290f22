"""What the commands that read recordings in parts, and write them anew, have in common."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydamon.cli.command import complain
from pydamon.recording import FORMATS, Recording, RecordingFile, write_recording
from pydamon.recording.parts import DerivedFile

__all__ = ["Watched", "add_target_arguments", "rewrite"]

_SHOWN_EVERY_S = 0.2
_SHOWN_FROM_S = 1.0


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and how."""
    suffixes = ", ".join(f"{one.name} ({', '.join(one.suffixes)})" for one in FORMATS)
    parser.add_argument("target", metavar="TARGET", type=Path, help="the file to write")
    parser.add_argument(
        "--format",
        choices=[one.name for one in FORMATS],
        metavar="FORMAT",
        help=f"by default what the suffix says: {suffixes}",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def rewrite(file: RecordingFile, args: argparse.Namespace) -> int:
    """Write it as `add_target_arguments` says; the exit code."""
    watched = Watched(file)
    write_recording(args.target, watched, format=args.format, force=args.force)
    watched.finish()
    return 0


class Watched(DerivedFile):
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
                    complain(f"\r\x1b[Kreading {self.path}: {rows:,} regions", end="")
                    shown = now
                yield part
        finally:
            if shown > began:
                complain("\r\x1b[K", end="")

    def finish(self) -> None:
        """Say what was left out."""
        if self.problem:
            complain(f"{self.path} is not complete: {self.problem}")
