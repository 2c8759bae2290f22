"""What the live commands watch: processes, a command that they start, or a recording."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydamon.cli.record import add_monitoring_arguments, monitor_from
from pydamon.core.errors import UsageError
from pydamon.engine import Child
from pydamon.live import Feed, Replay, Source
from pydamon.recording import read_recording

__all__ = ["add_source_arguments", "source_from"]


def add_source_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """What to watch, and how."""
    parser.usage = f"pydamon {command} [OPTIONS] (PID... | RECORDING | -- COMMAND...)"
    parser.add_argument(
        "what", nargs="*", metavar="PID | RECORDING", help="processes to watch, or a file to show"
    )
    add_monitoring_arguments(parser)


@contextmanager
def source_from(args: argparse.Namespace, *, silent: bool = False) -> Iterator[Source]:
    """What `add_source_arguments` has asked for; the command is ended, if it still runs then.

    With *silent* what the command prints is dropped.
    """
    if bool(args.what) == bool(args.command):
        raise UsageError("name processes by pid, a recording, or a command behind `--`")
    if args.command:
        with (
            Child(args.command, silent=silent) as child,
            monitor_from(args, [child.pid]) as mon,
            Feed(mon, args.duration) as feed,
        ):
            child.go()
            yield feed
    elif all(word.isdecimal() for word in args.what):
        with (
            monitor_from(args, [int(word) for word in args.what]) as mon,
            Feed(mon, args.duration) as feed,
        ):
            yield feed
    else:
        files = [word for word in args.what if not word.isdecimal() or Path(word).exists()]
        if len(args.what) > 1:
            raise UsageError(f"either processes or one recording can be shown, not {files[0]} too")
        yield Replay(read_recording(args.what[0]))
