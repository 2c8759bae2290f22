"""The working set in a terminal: its distribution, and its course."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon.analysis import WorkingSet, WorkingSetSeries
from pydamon.core.units import format_duration
from pydamon.views.text import bar, size, target_label

__all__ = ["WorkingSetView"]

_LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " .:-=+*#@"
_MARGIN = 12


@dataclass(frozen=True)
class WorkingSetView:
    """The working set of all targets together, then of each where there are several."""

    working_set: WorkingSet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        targets = self.working_set.targets
        if len(targets) == 1:
            yield from _series(targets[0], options)
            return
        yield from _series(self.working_set.total, options)
        for series in targets:
            yield Text()
            yield from _series(series, options)


def _series(series: WorkingSetSeries, options: ConsoleOptions) -> RenderResult:
    who = target_label(series.target) if series.target else "All targets"
    count = len(series.size_bytes)
    yield Text(f"{who}: working set in {count} snapshots", style="bold")
    largest = int(series.size_bytes.max(initial=0))
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    width = max(10, min(60, options.max_width - 30))
    for mark, amount in series.percentiles:
        share = amount / largest if largest else 0.0
        table.add_row(f"{mark:g} %", size(amount), bar(share, width, options.ascii_only))
    yield table
    yield from _course(series, largest, options)


def _course(series: WorkingSetSeries, largest: int, options: ConsoleOptions) -> RenderResult:
    """The working set over time in one line: the mean of the snapshots behind each character."""
    columns = min(max(10, options.max_width - _MARGIN), 100, max(1, len(series.size_bytes)))
    if not largest or columns < 2:
        return
    levels = _ASCII_LEVELS if options.ascii_only else _LEVELS
    time_ns = series.end_ns - series.end_ns.min()
    duration_ns = int(time_ns.max())
    place = np.minimum(time_ns * (columns / max(1, duration_ns)), columns - 1).astype(np.int64)
    counts = np.bincount(place, minlength=columns)
    means = np.bincount(place, series.size_bytes, columns) / np.maximum(counts, 1)
    steps = np.ceil(means / largest * (len(levels) - 1)).astype(int)
    steps = np.minimum(steps, len(levels) - 1)
    yield Text(
        "over time " + "".join(levels[step] for step in steps.tolist()),
        no_wrap=True,
    )
    end = format_duration(duration_ns)
    yield Text(" " * 10 + "0 s" + f"{end:>{max(len(end) + 1, columns - 3)}}", no_wrap=True)
