"""Which functions ran in some times and which in the others, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon.analysis import Profile
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import percent, printable

__all__ = ["profile_table"]

_MOST = 20
_PROFILE_COLUMNS = (
    Column("then"),
    Column("otherwise", rank=5),
    Column("function", name=True),
    Column("file", name=True, rank=4),
)


def profile_table(profile: Profile) -> RenderableType:
    """The first functions."""
    shown = profile.functions[:_MOST]
    rows = [
        [percent(one.inside), percent(one.outside), printable(one.function), printable(one.file)]
        for one in shown
    ]
    more = len(profile.functions) - len(shown)
    if more:
        rows.append(["...", "", f"{more} more functions", ""])
    title = f"Functions: {profile.samples_inside} samples then, {profile.samples_outside} otherwise"
    return Group(Text(title, style="bold"), FittingTable(_PROFILE_COLUMNS, rows))
