"""When a filter matched memory, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Times
from pydamon._model.units import format_duration
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import duration, percent, size

__all__ = ["TimesView"]

_COLUMNS = (Column("from"), Column("to"), Column("for"), Column("bytes"))


@dataclass(frozen=True)
class TimesView(View):
    """A row for each stretch of time, counted from the start of the recording."""

    times: Times

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        times = self.times
        recorded_ns = times.last_ns - times.begin_ns
        share = percent(times.total_ns / max(recorded_ns, 1))
        title = f"{duration(times.total_ns)} of {format_duration(recorded_ns)} ({share})"
        yield Text(title, style="bold")
        columns = (times.start_ns, times.end_ns, times.mean_bytes)
        rows = [
            [
                duration(start - times.begin_ns),
                duration(end - times.begin_ns),
                duration(end - start),
                size(mean),
            ]
            for start, end, mean in zip(*(column.tolist() for column in columns), strict=True)
        ]
        yield FittingTable(_COLUMNS, rows)
