"""`pydamon serve`: see it live, in a browser."""

from __future__ import annotations

from pydamon.cli.command import Args, command, eprint, option
from pydamon.cli.options import source_options
from pydamon.core.errors import UsageError

__all__ = ["serve"]


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
        from pydamon.web import Server
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UsageError(
            f"serving needs a package that is not installed: {missing}",
            hint="pip install 'pydamon[web]'",
        ) from None
    from pydamon.cli.record import ending
    from pydamon.cli.source import source_from

    with source_from(args) as source:
        server = Server(source, args.host, args.port)
        eprint(f"{server.url}\n  shows it in a browser; Ctrl-C ends it")
        with ending(server.stop):
            server.run()
        if source.error is not None:
            raise source.error
    return 0
