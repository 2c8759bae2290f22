"""Working sets within several times: a row for each time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import WorkingSetSeries, WorkingSetsWithin
from pydamon._show.results.series import largest, rest_note, series_label, sparkline
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import duration, size

__all__ = ["WorkingSetsWithinView"]


@dataclass(frozen=True)
class WorkingSetsWithinView(View):
    """The working sets of all targets together, then of each where there are several."""

    within: WorkingSetsWithin

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = self.within.working_sets[-1]
        if len(longest.targets) == 1:
            yield from self._lines([each.targets[0] for each in self.within.working_sets], options)
            return
        yield from self._lines([each.total for each in self.within.working_sets], options)
        shown = largest(range(len(longest.targets)), lambda index: longest.targets[index].most)
        for index in shown:
            yield Text()
            of_target = [each.targets[index] for each in self.within.working_sets]
            yield from self._lines(of_target, options)
        yield from rest_note(longest.targets)

    def _lines(self, series: list[WorkingSetSeries], options: ConsoleOptions) -> RenderResult:
        label, count = series_label(series[0].target), len(series[0].size_bytes)
        yield Text(
            f"{label}: accessed within a time, at the end of {count} snapshots", style="bold"
        )
        marks = [mark for mark, _ in series[0].percentiles]
        columns = [Column("within"), *(Column(f"{mark:g} %") for mark in marks)]
        rows = [
            [duration(time_ns), *(size(amount) for _, amount in each.percentiles)]
            for time_ns, each in zip(self.within.times_ns, series, strict=True)
        ]
        yield FittingTable(columns, rows)
        longest = duration(self.within.times_ns[-1])
        yield from sparkline(f"within {longest}", series[-1].end_ns, series[-1].size_bytes, options)
