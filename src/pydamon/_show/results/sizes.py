"""Sizes of memory, as they are or over time: the working set and the footprint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._data.analysis import (
    FootprintSeries,
    WorkingSet,
    WorkingSetSeries,
    WorkingSetsWithin,
)
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import bar, duration, percent, size, target_label

__all__ = [
    "FootprintSeriesView",
    "FootprintView",
    "WorkingSetSeriesView",
    "WorkingSetView",
    "WorkingSetsWithinView",
    "largest",
    "rest_note",
    "series_label",
    "sparkline",
]

_T = TypeVar("_T")

_MOST_TARGETS = 20
_LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " .:-=+*#@"
_WIDEST = 100


def largest(series: Sequence[_T], amount: Callable[[_T], int]) -> Sequence[_T]:
    """The series of all targets; of more than twenty, the twenty with the largest amounts."""
    if len(series) <= _MOST_TARGETS:
        return series
    return sorted(series, key=amount, reverse=True)[:_MOST_TARGETS]


def rest_note(series: Sequence[object]) -> RenderResult:
    """A line that says how many series `largest` left out, if any."""
    if len(series) > _MOST_TARGETS:
        yield Text(f"\nand {len(series) - _MOST_TARGETS} smaller targets: see --pid, or --json")


def series_label(target: Target | None) -> str:
    """The target of a series; `None` stands for all targets together."""
    return target_label(target) if target else "All targets"


def sparkline(
    label: str,
    end_ns: NDArray[np.int64],
    size_bytes: NDArray[np.int64],
    options: ConsoleOptions,
    *,
    axis: bool = True,
) -> RenderResult:
    """Bytes over time in one line, each character the mean of the snapshots that end in it.

    *end_ns* and *size_bytes* have one entry a snapshot. With *axis*, a second line has the time.
    """
    left = len(label) + 1
    columns = min(max(10, options.max_width - left - 2), _WIDEST, max(1, len(size_bytes)))
    if not size_bytes.any() or columns < 2:
        return
    levels = _ASCII_LEVELS if options.ascii_only else _LEVELS
    heights = _heights(end_ns, size_bytes, columns)
    steps = np.ceil(heights * (len(levels) - 1)).astype(int)
    steps = np.minimum(steps, len(levels) - 1)
    yield Text(f"{label} " + "".join(levels[step] for step in steps.tolist()), no_wrap=True)
    if axis:
        end = format_duration(int(np.ptp(end_ns)))
        yield Text(" " * left + "0 s" + f"{end:>{max(len(end) + 1, columns - 3)}}", no_wrap=True)


def _heights(
    end_ns: NDArray[np.int64], size_bytes: NDArray[np.int64], columns: int
) -> NDArray[np.float64]:
    """The mean of each column as a share of the largest snapshot: shape (columns,)."""
    time_ns = end_ns - end_ns.min()
    place = np.minimum(time_ns * (columns / max(1, int(time_ns.max()))), columns - 1)
    place = place.astype(np.int64)
    counts = np.bincount(place, minlength=columns)
    means = np.bincount(place, size_bytes, columns) / np.maximum(counts, 1)
    # A column in which no snapshot ends repeats the newest one before it.
    filled = np.maximum.accumulate(np.where(counts > 0, np.arange(columns), 0))
    heights: NDArray[np.float64] = means[filled] / int(size_bytes.max())
    return heights


@dataclass(frozen=True)
class WorkingSetView(View):
    """The working set of all targets together, then of each where there are several."""

    working_set: WorkingSet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        targets = self.working_set.targets
        if len(targets) == 1:
            yield from _working_set_lines(targets[0], options)
            return
        yield from _working_set_lines(self.working_set.total, options)
        for series in largest(targets, lambda series: series.most):
            yield Text()
            yield from _working_set_lines(series, options)
        yield from rest_note(targets)


@dataclass(frozen=True)
class WorkingSetSeriesView(View):
    """The working set of one target, or of all together."""

    series: WorkingSetSeries

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _working_set_lines(self.series, options)


def _working_set_lines(series: WorkingSetSeries, options: ConsoleOptions) -> RenderResult:
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


@dataclass(frozen=True)
class FootprintView(View):
    """All targets together, then each where there are several."""

    series: Sequence[FootprintSeries]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        total, *targets = self.series
        shown = [total, *largest(targets, lambda series: int(series.wss_bytes.max(initial=0)))]
        shown = shown[1:] if len(targets) == 1 else shown
        for index, series in enumerate(shown):
            if index:
                yield Text()
            yield from _footprint_lines(series, options)
        yield from rest_note(targets)
        if not any(series.known for series in shown):
            yield Text("VSZ and RSS are not in this recording.", style="yellow")


@dataclass(frozen=True)
class FootprintSeriesView(View):
    """The footprint of one target, or of all together."""

    series: FootprintSeries

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _footprint_lines(self.series, options)


def _footprint_lines(series: FootprintSeries, options: ConsoleOptions) -> RenderResult:
    label = series_label(series.target)
    yield Text(f"{label}: footprint in {len(series.end_ns)} snapshots", style="bold")
    yield _table(series)
    if series.known:
        yield from sparkline("RSS", series.end_ns, series.rss_bytes, options, axis=False)
    yield from sparkline("WSS", series.end_ns, series.wss_bytes, options)


def _table(series: FootprintSeries) -> FittingTable:
    amounts = [("WSS", series.wss_bytes, "accessed in a snapshot")]
    if series.known:
        amounts.insert(0, ("VSZ", series.vsz_bytes, "mapped"))
        amounts.insert(1, ("RSS", series.rss_bytes, "in memory"))
    if series.unseen_bytes.any():
        amounts.append(("?", series.unseen_bytes, "not looked at yet, in use or not"))
    whole = max(int(series.vsz_bytes.max(initial=0)), int(series.wss_bytes.max(initial=0)), 1)
    rows = [_row(name, values, whole, meaning) for name, values, meaning in amounts if len(values)]
    columns = (
        Column("", name=True),
        Column("least"),
        Column("median"),
        Column("most"),
        Column("of VSZ" if series.known else "of most", rank=2),
        Column("", name=True, rank=1),
    )
    return FittingTable(columns, rows)


def _row(name: str, values: NDArray[np.int64], whole: int, meaning: str) -> list[str]:
    least, median, most = np.percentile(values, (0, 50, 100), method="higher").tolist()
    return [name, size(least), size(median), size(most), percent(median / whole), meaning]


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
