"""When memory was as a filter says, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon.analysis import Times
from pydamon.core.units import format_duration
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import duration, percent, size

__all__ = ["times_table"]

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
