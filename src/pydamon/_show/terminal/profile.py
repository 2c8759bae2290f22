"""When memory was as a filter says, and which functions ran then, as tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon._data.analysis import Profile, Times
from pydamon._model.units import format_duration
from pydamon._show.terminal.text import Column, FittingTable, duration, percent, printable, size

__all__ = ["profile_table", "times_table"]

_TIME_COLUMNS = (Column("from"), Column("to"), Column("for"), Column("bytes"))


def times_table(times: Times) -> RenderableType:
    """A line a stretch of time, since the start of the recording."""
    recorded_ns = times.last_ns - times.begin_ns
    share = times.total_ns / max(recorded_ns, 1)
    title = f"{duration(times.total_ns)} of {format_duration(recorded_ns)} ({percent(share)})"
    rows = [
        [
            duration(start - times.begin_ns),
            duration(end - times.begin_ns),
            duration(end - start),
            size(mean),
        ]
        for start, end, mean in zip(
            times.start_ns.tolist(), times.end_ns.tolist(), times.mean_bytes.tolist(), strict=True
        )
    ]
    return Group(Text(title, style="bold"), FittingTable(_TIME_COLUMNS, rows))


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
