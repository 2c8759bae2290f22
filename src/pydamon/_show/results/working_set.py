"""The working set: its distribution over the snapshots, and its size over time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._data.analysis import WorkingSet, WorkingSetSeries
from pydamon._show.results.series import largest, rest_note, series_label, sparkline
from pydamon._show.results.view import View
from pydamon._show.text import bar, size

__all__ = ["WorkingSetSeriesView", "WorkingSetView"]


@dataclass(frozen=True)
class WorkingSetView(View):
    """The working set of all targets together, then of each where there are several."""

    working_set: WorkingSet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        targets = self.working_set.targets
        if len(targets) == 1:
            yield from _lines(targets[0], options)
            return
        yield from _lines(self.working_set.total, options)
        for series in largest(targets, lambda series: series.most):
            yield Text()
            yield from _lines(series, options)
        yield from rest_note(targets)


@dataclass(frozen=True)
class WorkingSetSeriesView(View):
    """The working set of one target, or of all together."""

    series: WorkingSetSeries

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _lines(self.series, options)


def _lines(series: WorkingSetSeries, options: ConsoleOptions) -> RenderResult:
    label = series_label(series.target)
    yield Text(f"{label}: working set in {len(series.size_bytes)} snapshots", style="bold")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    width = max(10, min(60, options.max_width - 30))
    for mark, amount in series.percentiles:
        share = amount / series.most if series.most else 0.0
        table.add_row(f"{mark:g} %", size(amount), bar(share, width, options.ascii_only))
    yield table
    yield from sparkline("over time", series.end_ns, series.size_bytes, options)
    if unseen := int(series.unseen_bytes.max(initial=0)):
        last = int(series.unseen_bytes[-1])
        at_the_end = f", {size(last)} at the end" if last != unseen else ""
        text = f"not looked at yet: up to {size(unseen)} more{at_the_end}, in use or not"
        yield Text(text, style="yellow")
