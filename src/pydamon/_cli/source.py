"""Sources of the live commands: processes, a command that they start, or a recording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydamon._cli.command import Args
from pydamon._cli.record import monitor_from
from pydamon._cli.rewriting import source_path
from pydamon._data.formats.reader import read_recording
from pydamon._model.errors import UsageError
from pydamon._observe.targets.command import Child
from pydamon._show.frames import Feed, FrameSource, Replay

__all__ = ["source_from"]


@contextmanager
def source_from(args: Args, *, silent: bool = False) -> Iterator[FrameSource]:
    """Open the source that `source_options` name; a started command ends with the context.

    With *silent*, the output of the command is dropped.
    """
    if bool(args.sources) == bool(args.command):
        raise UsageError("name processes by pid, a recording, or a command behind `--`")
    if args.command:
        with (
            Child(args.command, silent=silent) as child,
            monitor_from(args, [child.pid]) as mon,
            Feed(mon, args.duration) as feed,
        ):
            child.go()
            yield feed
    elif all(word.isdecimal() for word in args.sources):
        with (
            monitor_from(args, [int(word) for word in args.sources]) as mon,
            Feed(mon, args.duration) as feed,
        ):
            yield feed
    else:
        files = [word for word in args.sources if not word.isdecimal() or Path(word).exists()]
        if len(args.sources) > 1:
            raise UsageError(f"name either processes or one recording, not {files[0]} as well")
        yield Replay(read_recording(source_path(args.sources[0])))
