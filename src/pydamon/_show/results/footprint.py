"""The footprint: bytes that are mapped (VSZ), in memory (RSS) and in use (WSS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import FootprintSeries
from pydamon._show.results.series import largest, rest_note, series_label, sparkline
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import percent, size

__all__ = ["FootprintSeriesView", "FootprintView"]


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
            yield from _lines(series, options)
        yield from rest_note(targets)
        if not any(series.known for series in shown):
            yield Text("VSZ and RSS are not in this recording.", style="yellow")


@dataclass(frozen=True)
class FootprintSeriesView(View):
    """The footprint of one target, or of all together."""

    series: FootprintSeries

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _lines(self.series, options)


def _lines(series: FootprintSeries, options: ConsoleOptions) -> RenderResult:
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
