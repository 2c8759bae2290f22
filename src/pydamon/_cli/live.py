"""`pydamon top` and `pydamon serve`: live views in a terminal and in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pydamon._cli.asking import announce_owners, live_owners_option
from pydamon._cli.command import Args, command, eprint, option
from pydamon._cli.options import join_from, source_options
from pydamon._cli.selecting import SELECTION_USAGE, selection_from
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._data.analysis import OwnerReport
    from pydamon._data.recording import Recording
    from pydamon._show.frames import FrameSource
    from pydamon._show.frames.frame import Key

__all__ = ["serve", "top"]

_FOR_RECORDINGS = ("sources", "host", "port")


@command("top", usage=f"[OPTIONS] ({SELECTION_USAGE} | RECORDING | --join)", starts_program=True)
@source_options
@live_owners_option
def top(args: Args) -> int:
    """Show memory use live in the terminal.

    pydamon top 1234
    pydamon top -- ./my-program --its-option
    pydamon top --container web
    pydamon top --owners postgresql 1234
    pydamon top pydamon.damon

    The screen has memory by the time since its last use, a heat map and the mappings. A recording
    plays as if it happened now. The output of a command is hidden, and the command ends when you
    quit. Keys: space pauses; left and right move through time; up and down select a row; + and -
    zoom; shift with up or down moves the visible addresses; f follows the hottest memory; a shows
    all memory; s changes the sort key of the mappings; o shows the owners of the memory in their
    place; t shows the next process; q quits.
    """
    import logging
    import sys
    from importlib import import_module
    from threading import Thread

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "top draws on a terminal, and standard input or output is none",
            hint="`pydamon record` writes a file, and `pydamon report` shows it",
        )
    from rich.console import Console

    from pydamon._show.results.heatmap import in_colour

    # Textual is slow to import, and a probe is slow to load into the kernel: do both at once.
    # Warnings would be printed over the picture.
    logging.getLogger("pydamon").handlers = [logging.NullHandler()]
    loading = Thread(target=import_module, args=("pydamon._show.top",))
    loading.start()
    colour = in_colour(Console())
    with _source_from(args, silent=True) as (source, note):
        loading.join()
        from pydamon._show.top import TopApp

        TopApp(source, colour=colour).run()
        if note:
            eprint(note)
        if source.error is not None:
            raise source.error
    return 0


@command("serve", usage=f"[OPTIONS] ({SELECTION_USAGE} | RECORDING | --join)", starts_program=True)
@source_options
@live_owners_option
@option(
    "--host",
    default="127.0.0.1",
    help="listen on this address; 0.0.0.0 means all addresses (default: 127.0.0.1)",
)
@option("--port", type=int, default=8725, help="listen on this port (default: 8725)")
def serve(args: Args) -> int:
    """Show memory use live in a browser.

    pydamon serve 1234 5678
    pydamon serve -- ./my-program --its-option
    pydamon serve --pod default/web
    pydamon serve pydamon.damon

    The page has memory by the time since its last use, how much of it is needed, a heat map, the
    mappings and the owners of idle memory. Open the printed address; the token in it is the
    password. Only this machine can connect, unless --host names another address. Ctrl-C ends the
    server.
    """
    try:
        from pydamon._show.web import Server
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UsageError(
            f"`pydamon serve` needs a package that is not installed: {missing}",
            hint="pip install 'pydamon[web]'",
        ) from None
    from pydamon._cli.record import stop_at_signals

    with _source_from(args) as (source, note):
        server = Server(source, args.host, args.port)
        eprint(f"{server.url}\n  open this address in a browser; Ctrl-C ends the server")
        if note:
            eprint(f"  {note}")
        with stop_at_signals(server.stop):
            server.run()
        if source.error is not None:
            raise source.error
    return 0


@contextmanager
def _source_from(args: Args, *, silent: bool = False) -> Iterator[tuple[FrameSource, str]]:
    """Open the source that `source_options` name; a started command ends with the context.

    Also yields what the source cannot see, where the probe is a fallback. With *silent*, the output
    of the command is dropped.
    """
    from pydamon._cli.record import monitor_from
    from pydamon._cli.streams import source_path
    from pydamon._data.formats.reader import read_recording
    from pydamon._observe.fallback import fallback_note
    from pydamon._observe.targets.command import Child
    from pydamon._show.frames import Feed, LiveOwners, Replay

    are_pids = all(word.isdecimal() for word in args.sources)
    args.pids = tuple(map(int, args.sources)) if are_pids else ()
    selection, joins = selection_from(args), join_from(args) is not False
    if args.command and joins:
        raise UsageError("--join looks on at what is monitored already, not at a new command")
    is_recording = bool(args.sources) and not args.pids
    if is_recording == bool(selection) and not (joins and not is_recording):
        raise UsageError(
            "name processes by pid, a recording, or a command behind `--`",
            hint="or select processes by --name, --user, --cgroup, --unit, --container or --pod",
        )
    if is_recording:
        _refuse_live_options()
    announce_owners(args.owners)
    if args.command:
        with (
            Child(args.command, silent=silent) as child,
            monitor_from(args, [child.pid]) as mon,
            LiveOwners(mon, args.owners, waits=True) as owners,
            Feed(mon, args.duration, owners) as feed,
        ):
            child.go()
            yield feed, fallback_note(mon)
    elif not is_recording:
        with (
            monitor_from(args, selection or []) as mon,
            LiveOwners(mon, args.owners) as owners,
            Feed(mon, args.duration, owners) as feed,
        ):
            yield feed, fallback_note(mon)
    else:
        files = [word for word in args.sources if not word.isdecimal() or Path(word).exists()]
        if len(args.sources) > 1:
            raise UsageError(f"name either processes or one recording, not {files[0]} as well")
        recording = read_recording(source_path(args.sources[0]))
        yield Replay(recording, *_owners_beside(recording, Path(args.sources[0]))), ""


def _refuse_live_options() -> None:
    """Raise `UsageError` for an option that says how to monitor: nobody monitors a recording."""
    context = click.get_current_context()
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        if source is ParameterSource.COMMANDLINE and param.name not in _FOR_RECORDINGS:
            raise UsageError(f"{param.opts[-1]} is for live processes: a recording plays as it is")


def _owners_beside(
    recording: Recording, path: Path
) -> tuple[OwnerReport | None, Mapping[Key, OwnerReport]]:
    """The owners that were kept beside a recording, as of its end: of all, and by target."""
    from pydamon._data import analysis
    from pydamon._model.owners import Owners
    from pydamon._owners.store import read_owners, saved_beside
    from pydamon._show.frames.owners import reports_by_target

    spaces = Owners.by_space(
        [owners for file in saved_beside(path) for owners in read_owners(file)]
    )
    if not spaces:
        return None, {}
    report = analysis.owners(recording, spaces)
    return report, reports_by_target(recording, spaces, report)
