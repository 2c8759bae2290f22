"""`pydamon serve`: see it live, in a browser."""

from __future__ import annotations

import argparse

from pydamon.cli.command import complain
from pydamon.cli.record import ending
from pydamon.cli.source import add_source_arguments, source_from
from pydamon.core.errors import UsageError

__all__ = ["Serve"]


class Serve:
    """See live which memory is hot, in a browser: heat map, working set and mappings.

    pydamon serve 1234 5678
    pydamon serve -- ./my-program --its-option
    pydamon serve pydamon.damon

    Open the address that it prints, with the token in it: without, nobody gets to see anything.
    It can be reached from this machine only, unless --host says otherwise. Ctrl-C ends it.
    """

    name = "serve"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to watch, how, and where to serve it."""
        add_source_arguments(parser, self.name)
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="the address to listen on; 0.0.0.0 is all there are (default: %(default)s)",
        )
        parser.add_argument("--port", type=int, default=8725, help="default: %(default)s")

    def run(self, args: argparse.Namespace) -> int:
        """Serve it until somebody presses Ctrl-C."""
        try:
            # An extra, and slow to load.
            from pydamon.web import Server  # noqa: PLC0415
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            raise UsageError(
                f"serving needs a package that is not installed: {missing}",
                hint="pip install 'pydamon[web]'",
            ) from None
        with source_from(args) as source:
            server = Server(source, args.host, args.port)
            complain(f"{server.url}\n  shows it in a browser; Ctrl-C ends it")
            with ending(server.stop):
                server.run()
            if source.error is not None:
                raise source.error
        return 0
