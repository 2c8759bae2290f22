"""Which functions ran while a filter matched memory, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Profile
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import percent, printable

__all__ = ["ProfileView"]

_MOST = 20
_COLUMNS = (
    Column("matched"),
    Column("otherwise", rank=5),
    Column("function", name=True),
    Column("file", name=True, rank=4),
)


@dataclass(frozen=True)
class ProfileView(View):
    """The functions whose share differs most between the matched time and all other time."""

    profile: Profile

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        profile = self.profile
        yield Text(
            f"Functions: {profile.samples_inside} samples while the filter matched, "
            f"{profile.samples_outside} otherwise",
            style="bold",
        )
        rows = [
            [
                percent(function.inside),
                percent(function.outside),
                printable(function.function),
                printable(function.file),
            ]
            for function in profile.functions[:_MOST]
        ]
        rest = len(profile.functions) - len(rows)
        if rest:
            rows.append(["...", "", f"{rest} more functions", ""])
        yield FittingTable(_COLUMNS, rows)
