"""What every report is: a command whose help ends with what filters can ask for."""

from __future__ import annotations

from collections.abc import Callable

from pydamon.cli.command import Args, Command, command
from pydamon.core.filter_fields import FIELDS

__all__ = ["report_command"]

_FILTERS = (
    "Filters (--where) compare these fields, with `and`, `or`, `not` and brackets; names\n"
    'with = != and, for regular expressions, ~ !~, as in: mapping ~ "libc" and age > 2min\n'
) + "\n".join(f"  {name:13}{about}" for name, about in FIELDS.items())


def report_command(name: str) -> Callable[[Callable[[Args], int]], Command]:
    """Make a report of a function, as `command` does."""
    return command(name, epilog=_FILTERS)
