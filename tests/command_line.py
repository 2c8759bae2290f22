"""`pydamon` within the process of a test.

A process of its own takes most of a second to start, and a test cannot see which exception it
raised. There is no public name for this, so this module imports private names for all tests.
"""

from __future__ import annotations

from pydamon._cli.command import Group
from pydamon._cli.main import PROGRAM, main
from pydamon._cli.reports import REPORTS

__all__ = ["PROGRAM", "REPORTS", "Group", "main", "run_report"]


def run_report(*argv: str) -> int:
    """Run a report and return its exit code; errors are raised instead of printed."""
    code: int = PROGRAM.main(["report", *argv], "pydamon", standalone_mode=False)
    return code
