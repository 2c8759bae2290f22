"""VSZ, RSS and working set, side by side and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon.analysis import FootprintSeries
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import percent, size, target_label
from pydamon.views.workingset import and_more, course_lines, largest

__all__ = ["FootprintView"]


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
