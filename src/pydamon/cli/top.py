"""`pydamon top`: see it live, in a terminal."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from threading import Thread

from rich.console import Console

from pydamon.cli.source import add_source_arguments, source_from
from pydamon.core.errors import UsageError
from pydamon.views import in_colour

__all__ = ["Top"]


class Top:
    """See live which memory is hot: heat map, working set and mappings, in the terminal.

    pydamon top 1234
    pydamon top -- ./my-program --its-option
    pydamon top pydamon.damon

    A recording plays as if it happened now. What a command prints is not shown; it is ended when
    you quit. Keys: space pauses, the arrows left and right go through time, up and down pick a
    row, + and - zoom, with shift up and down move what is shown, f follows the hottest memory, a
    shows all of it, s sorts the mappings by something else, t shows the next process, q quits.
    """

    name = "top"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to watch, and how."""
        add_source_arguments(parser, self.name)

    def run(self, args: argparse.Namespace) -> int:
        """Show it until somebody quits."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError(
                "top draws on a terminal, and this is none",
                hint="pydamon record writes a file, which pydamon report reads",
            )
        # Textual takes its time to load, and so does a probe, in the kernel: both at once.
        loading = Thread(target=import_module, args=("pydamon.top",))
        loading.start()
        colour = in_colour(Console())
        with source_from(args, silent=True) as source:
            loading.join()
            from pydamon.top import TopApp  # noqa: PLC0415

            TopApp(source, colour=colour).run()
            if source.error is not None:
                raise source.error
        return 0
