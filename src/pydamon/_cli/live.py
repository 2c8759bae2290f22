"""`pydamon top` and `pydamon serve`: see memory live, in a terminal or in a browser."""

from __future__ import annotations

from pydamon._cli.command import Args, command, eprint, option
from pydamon._cli.options import source_options
from pydamon._model.errors import UsageError

__all__ = ["serve", "top"]


@command("top", usage="[OPTIONS] (PID... | RECORDING | -- COMMAND...)", starts_program=True)
@source_options
def top(args: Args) -> int:
    """See live which memory is hot: heat map, working set and mappings, in the terminal.

    pydamon top 1234
    pydamon top -- ./my-program --its-option
    pydamon top pydamon.damon

    A recording plays as if it happened now. What a command prints is not shown; it is ended when
    you quit. Keys: space pauses, the arrows left and right go through time, up and down pick a
    row, + and - zoom, with shift up and down move what is shown, f follows the hottest memory, a
    shows all of it, s sorts the mappings by something else, t shows the next process, q quits.
    """
    import logging
    import sys
    from importlib import import_module
    from threading import Thread

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "top draws on a terminal, and this is none",
            hint="pydamon record writes a file, which pydamon report reads",
        )
    from rich.console import Console

    from pydamon._cli.source import source_from
    from pydamon._show.results.heatmap import in_colour

    # Textual takes its time to load, and so does a probe, in the kernel: both at once.
    # What is said on the way would be printed over the picture.
    logging.getLogger("pydamon").handlers = [logging.NullHandler()]
    loading = Thread(target=import_module, args=("pydamon._show.top",))
    loading.start()
    colour = in_colour(Console())
    with source_from(args, silent=True) as source:
        loading.join()
        from pydamon._show.top import TopApp

        TopApp(source, colour=colour).run()
        if source.error is not None:
            raise source.error
    return 0


@command("serve", usage="[OPTIONS] (PID... | RECORDING | -- COMMAND...)", starts_program=True)
@source_options
@option(
    "--host",
    default="127.0.0.1",
    help="the address to listen on; 0.0.0.0 is all there are (default: 127.0.0.1)",
)
@option("--port", type=int, default=8725, help="default: 8725")
def serve(args: Args) -> int:
    """See live which memory is hot, in a browser: heat map, working set and mappings.

    pydamon serve 1234 5678
    pydamon serve -- ./my-program --its-option
    pydamon serve pydamon.damon

    Open the address that it prints, with the token in it: without, nobody gets to see anything.
    It can be reached from this machine only, unless --host says otherwise. Ctrl-C ends it.
    """
    try:
        from pydamon._show.web import Server
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UsageError(
            f"serving needs a package that is not installed: {missing}",
            hint="pip install 'pydamon[web]'",
        ) from None
    from pydamon._cli.record import ending
    from pydamon._cli.source import source_from

    with source_from(args) as source:
        server = Server(source, args.host, args.port)
        eprint(f"{server.url}\n  shows it in a browser; Ctrl-C ends it")
        with ending(server.stop):
            server.run()
        if source.error is not None:
            raise source.error
    return 0
