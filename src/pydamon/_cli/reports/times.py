"""`pydamon report times`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydamon._cli.command import Args, option, options, print_json, size
from pydamon._cli.options import recording_options
from pydamon._cli.reports import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.recording import RecordingFile

__all__ = ["selected_times", "times", "times_options"]


times_options = options(
    recording_options,
    option(
        "--least",
        type=size,
        default=1,
        metavar="SIZE",
        help="only times at which at least SIZE matched --where (default: any size)",
    ),
)
"""The recording, and which of its times."""


@report_command("times")
@times_options
def times(args: Args) -> int:
    """List the times at which memory matched a filter.

    pydamon report times --where 'mapping = [heap] and rate > 50%' --least 64MiB
    """
    from pydamon._cli.reports.base import open_whole, show

    times = selected_times(args, open_whole(args))
    if not args.json:
        show(times)
        return 0
    columns = (times.start_ns, times.end_ns, times.mean_bytes)
    names = ("start_ns", "end_ns", "bytes")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    print_json({"times": [dict(zip(names, row, strict=True)) for row in rows]})
    return 0


def selected_times(args: Args, whole: RecordingFile) -> analysis.Times:
    """Return the times of a recording that `times_options` select."""
    from pydamon._cli.reports.base import filtered
    from pydamon._data import analysis

    return analysis.times(filtered(args, whole), args.least)
