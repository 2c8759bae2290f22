"""`pydamon report`, and the decorator of its reports: commands with help on filters."""

from __future__ import annotations

from collections.abc import Callable

from pydamon._cli.command import Args, Command, Group, command
from pydamon._cli.reports import REPORTS
from pydamon._model.filter_fields import FIELDS

__all__ = ["report", "report_command"]

_FILTERS = (
    "Filters (--where) compare these fields, with `and`, `or`, `not` and brackets; names\n"
    'with = != and, for regular expressions, ~ !~, as in: mapping ~ "libc" and age > 2min\n'
) + "\n".join(f"  {name:13}{about}" for name, about in FIELDS.items())


def report_command(name: str) -> Callable[[Callable[[Args], int]], Command]:
    """Make a report of a function, in the way of `command`."""
    return command(name, epilog=_FILTERS)


report = Group(
    "report",
    members=REPORTS,
    subcommand_metavar="REPORT [ARGS]...",
    help=(
        "Analyse a recording: each report answers one question.\n\n"
        "Reports also read recordings that are still being written, or whose recorder was killed."
    ),
)
