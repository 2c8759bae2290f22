"""`pydamon report`: what a recording says."""

from __future__ import annotations

import argparse
import inspect

from pydamon.analysis.query import FIELDS
from pydamon.cli.reports import REPORTS

__all__ = ["Report"]


class Report:
    """Show what a recording says: one report a question.

    Recordings that are still being written, or whose recorder was killed, can be shown too.
    """

    name = "report"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the reports."""
        reports = parser.add_subparsers(dest="report", metavar="REPORT", required=True)
        for report in REPORTS:
            text = inspect.cleandoc(type(report).__doc__ or "")
            one = reports.add_parser(
                report.name,
                help=text.splitlines()[0].rstrip("."),
                description=text,
                epilog=_filters(),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            one.set_defaults(show=report)
            report.configure(one)

    def run(self, args: argparse.Namespace) -> int:
        """Show one report."""
        code: int = args.show.run(args)
        return code


def _filters() -> str:
    """What can stand behind --where."""
    fields = "\n".join(f"  {name:13}{about}" for name, about in FIELDS.items())
    return (
        "filters (--where) compare these fields, with `and`, `or`, `not` and brackets; names\n"
        'with = != and, for regular expressions, ~ !~, as in: mapping ~ "libc" and age > 2min\n'
        + fields
    )
