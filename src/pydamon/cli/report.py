"""`pydamon report`: what a recording says."""

from __future__ import annotations

from pydamon.cli.command import Group
from pydamon.cli.reports import REPORTS

__all__ = ["report"]

report = Group(
    "report",
    members=REPORTS,
    subcommand_metavar="REPORT [ARGS]...",
    help=(
        "Show what a recording says: one report a question.\n\n"
        "Recordings that are still being written, or whose recorder was killed, can be shown too."
    ),
)
