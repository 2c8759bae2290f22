"""`pydamon report`: a module for each report, and a line in `REPORTS`."""

from __future__ import annotations

from collections.abc import Callable

from pydamon._cli.command import Args, Command, Group, command
from pydamon._model.filter_fields import FIELDS

__all__ = ["REPORTS", "report", "report_command"]

REPORTS = {
    "summary": "pydamon._cli.reports.summary:summary",
    "access": "pydamon._cli.reports.access:access",
    "heatmap": "pydamon._cli.reports.heatmap:heatmap",
    "wss": "pydamon._cli.reports.wss:wss",
    "footprint": "pydamon._cli.reports.footprint:footprint",
    "idle": "pydamon._cli.reports.idle:idle",
    "needs": "pydamon._cli.reports.needs:needs",
    "mappings": "pydamon._cli.reports.mappings:mappings",
    "diff": "pydamon._cli.reports.diff:diff",
    "times": "pydamon._cli.reports.times:times",
    "profile": "pydamon._cli.reports.profile:profile",
    "regions": "pydamon._cli.reports.regions:regions",
    "trace": "pydamon._cli.reports.trace:trace",
}
"""The place of each report, in the order of the help text."""

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
