"""`pydamon report times`."""

from __future__ import annotations

import argparse

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import add_recording_arguments, open_recording, show
from pydamon.core.errors import UsageError
from pydamon.core.units import parse_size
from pydamon.views import times_table

__all__ = ["TimesReport", "add_times_arguments", "times_asked_for"]


class TimesReport:
    """When memory was as a filter says.

    pydamon report times --where 'mapping = [heap] and rate > 50%' --least 64MiB
    """

    name = "times"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording, and how much memory must be so."""
        add_times_arguments(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Print each stretch of time, and how much memory was so in it."""
        found = times_asked_for(args)
        if not args.json:
            show(times_table(found))
            return 0
        columns = (found.start_ns, found.end_ns, found.mean_bytes)
        names = ("start_ns", "end_ns", "bytes")
        rows = zip(*(column.tolist() for column in columns), strict=True)
        print_json({"times": [dict(zip(names, row, strict=True)) for row in rows]})
        return 0


def add_times_arguments(parser: argparse.ArgumentParser) -> None:
    """Which recording, and which of its times."""
    add_recording_arguments(parser)
    parser.add_argument(
        "--least",
        type=_size,
        default=1,
        metavar="SIZE",
        help="only when --where holds for so much memory (default: for any)",
    )


def times_asked_for(args: argparse.Namespace) -> analysis.Times:
    """The times that `add_times_arguments` lets people ask for."""
    return analysis.times(open_recording(args), args.least)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
