"""The working set in a terminal: its distribution and course, beside VSZ and RSS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._data.analysis import FootprintSeries, WorkingSet, WorkingSetSeries
from pydamon._model.units import format_duration
from pydamon._show.terminal.text import Column, FittingTable, bar, percent, size, target_label

__all__ = ["FootprintView", "WorkingSetView", "and_more", "course_lines", "largest"]

_T = TypeVar("_T")

_MOST_TARGETS = 20
_LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " .:-=+*#@"


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
        for series in largest(targets, lambda one: one.most):
            yield Text()
            yield from _series(series, options)
        yield from and_more(targets)


def largest(series: Sequence[_T], amount: Callable[[_T], int]) -> Sequence[_T]:
    """All targets; of more than twenty those with the largest amounts."""
    if len(series) <= _MOST_TARGETS:
        return series
    return sorted(series, key=amount, reverse=True)[:_MOST_TARGETS]


def and_more(series: Sequence[object]) -> RenderResult:
    """How many `largest` has left out."""
    if len(series) > _MOST_TARGETS:
        yield Text(f"\nand {len(series) - _MOST_TARGETS} smaller targets: see --pid, or --json")


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
    yield from course_lines("over time", series.end_ns, series.size_bytes, options)
    if unseen := int(series.unseen_bytes.max(initial=0)):
        last = int(series.unseen_bytes[-1])
        at_the_end = f", {size(last)} at the end" if last != unseen else ""
        text = f"not looked at yet: up to {size(unseen)} more{at_the_end}, in use or not"
        yield Text(text, style="yellow")


def course_lines(
    label: str,
    end_ns: NDArray[np.int64],
    size_bytes: NDArray[np.int64],
    options: ConsoleOptions,
    *,
    axis: bool = True,
) -> RenderResult:
    """Bytes over time in one line: the mean of the snapshots behind each character.

    *end_ns* and *size_bytes* have one entry a snapshot. With *axis*, the time stands in a second
    line.
    """
    left = len(label) + 1
    columns = min(max(10, options.max_width - left - 2), 100, max(1, len(size_bytes)))
    largest = int(size_bytes.max(initial=0))
    if not largest or columns < 2:
        return
    levels = _ASCII_LEVELS if options.ascii_only else _LEVELS
    time_ns = end_ns - end_ns.min()
    duration_ns = int(time_ns.max())
    place = np.minimum(time_ns * (columns / max(1, duration_ns)), columns - 1).astype(np.int64)
    counts = np.bincount(place, minlength=columns)
    means = np.bincount(place, size_bytes, columns) / np.maximum(counts, 1)
    # Where no snapshot ends, the last one still is the newest.
    means = means[np.maximum.accumulate(np.where(counts > 0, np.arange(columns), 0))]
    steps = np.ceil(means / largest * (len(levels) - 1)).astype(int)
    steps = np.minimum(steps, len(levels) - 1)
    yield Text(f"{label} " + "".join(levels[step] for step in steps.tolist()), no_wrap=True)
    if axis:
        end = format_duration(duration_ns)
        yield Text(" " * left + "0 s" + f"{end:>{max(len(end) + 1, columns - 3)}}", no_wrap=True)


@dataclass(frozen=True)
class FootprintView:
    """All targets together, then each where there are several."""

    series: Sequence[FootprintSeries]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        total, *targets = self.series
        shown = [total, *largest(targets, lambda one: int(one.wss_bytes.max(initial=0)))]
        shown = shown[1:] if len(targets) == 1 else shown
        for number, one in enumerate(shown):
            if number:
                yield Text()
            who = target_label(one.target) if one.target else "All targets"
            yield Text(f"{who}: footprint in {len(one.end_ns)} snapshots", style="bold")
            yield _table(one)
            if one.known:
                yield from course_lines("RSS", one.end_ns, one.rss_bytes, options, axis=False)
            yield from course_lines("WSS", one.end_ns, one.wss_bytes, options)
        yield from and_more(targets)
        if not any(one.known for one in shown):
            yield Text("VSZ and RSS are not in this recording.", style="yellow")


def _table(one: FootprintSeries) -> FittingTable:
    rows = []
    largest = max(int(one.vsz_bytes.max(initial=0)), int(one.wss_bytes.max(initial=0)), 1)
    for name, values, about in (
        ("VSZ", one.vsz_bytes, "mapped"),
        ("RSS", one.rss_bytes, "in memory"),
        ("WSS", one.wss_bytes, "accessed in a snapshot"),
    ):
        if len(values) and (name == "WSS" or one.known):
            marks = _marks(values)
            rows.append([name, *map(size, marks), percent(marks[1] / largest), about])
    if one.unseen_bytes.any():
        marks = _marks(one.unseen_bytes)
        about = "not looked at yet, in use or not"
        rows.append(["?", *map(size, marks), percent(marks[1] / largest), about])
    columns = (
        Column("", name=True),
        Column("least"),
        Column("median"),
        Column("most"),
        Column("of VSZ" if one.known else "of most", rank=2),
        Column("", name=True, rank=1),
    )
    return FittingTable(columns, rows)


def _marks(values: NDArray[np.int64]) -> list[float]:
    marks: list[float] = np.percentile(values, (0, 50, 100), method="higher").tolist()
    return marks
