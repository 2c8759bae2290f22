"""`pydamon report trace`."""

from __future__ import annotations

from dataclasses import asdict

from pydamon._cli.command import Args, argument, command, print_json
from pydamon._cli.options import json_option

__all__ = ["trace"]


@command("trace")
@argument("file", default="pydamon.damon", metavar="FILE", help="events, or a recording with them")
@json_option
def trace(args: Args) -> int:
    """Sum up what the kernel's DAMON did: events of its tracepoints.

    pydamon trace --duration 10s --out kdamond.events
    pydamon report trace kdamond.events

    FILE is what `pydamon trace --out` wrote, or a recording of `pydamon record --trace`. For each
    tracepoint, kdamond and scheme it shows how many events there were, and the first, least, mean,
    most and last value of each field.
    """
    from pydamon._cli.streams import show
    from pydamon._data import analysis

    events = analysis.trace(args.file)
    if args.json:
        print_json(asdict(events))
    else:
        show(events)
    return 0
