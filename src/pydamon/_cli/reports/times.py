"""`pydamon report times`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydamon._cli.command import Args, option, options, print_json, size
from pydamon._cli.options import recording_options
from pydamon._cli.reports.command import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["times", "times_asked_for", "times_options"]


times_options = options(
    recording_options,
    option(
        "--least",
        type=size,
        default=1,
        metavar="SIZE",
        help="only when --where holds for so much memory (default: for any)",
    ),
)
"""Which recording, and which of its times."""


@report_command("times")
@times_options
def times(args: Args) -> int:
    """When memory was as a filter says.

    pydamon report times --where 'mapping = [heap] and rate > 50%' --least 64MiB
    """
    from pydamon._cli.reports.base import show

    found = times_asked_for(args)
    if not args.json:
        show(found)
        return 0
    columns = (found.start_ns, found.end_ns, found.mean_bytes)
    names = ("start_ns", "end_ns", "bytes")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    print_json({"times": [dict(zip(names, row, strict=True)) for row in rows]})
    return 0


def times_asked_for(args: Args) -> analysis.Times:
    """The times that `times_options` let people ask for."""
    from pydamon._cli.reports.base import open_recording
    from pydamon._data import analysis

    return analysis.times(open_recording(args), args.least)
