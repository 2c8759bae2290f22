"""`pydamon top`: see it live, in a terminal."""

from __future__ import annotations

from pydamon.cli.command import Args, command
from pydamon.cli.options import source_options
from pydamon.core.errors import UsageError

__all__ = ["top"]


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

    from pydamon.cli.source import source_from
    from pydamon.views import in_colour

    # Textual takes its time to load, and so does a probe, in the kernel: both at once.
    # What is said on the way would be printed over the picture.
    logging.getLogger("pydamon").handlers = [logging.NullHandler()]
    loading = Thread(target=import_module, args=("pydamon.top",))
    loading.start()
    colour = in_colour(Console())
    with source_from(args, silent=True) as source:
        loading.join()
        from pydamon.top import TopApp

        TopApp(source, colour=colour).run()
        if source.error is not None:
            raise source.error
    return 0
