"""How much memory programs need: a headline, a table of idle times, and the curve."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import IDLE_AGES_NS, Needs, NeedsCurve, NeedsPeak, NeedsPoint
from pydamon._show.results.sizes import largest, rest_note, series_label
from pydamon._show.results.view import Column, FittingTable, View, html_of_parts
from pydamon._show.text import (
    RateScale,
    bar,
    duration,
    needs_headline,
    per_second,
    percent,
    size,
    target_cell,
)

__all__ = ["NeedsView"]

_ROWS = 6
_WIDEST = 100
_LEFT = 9
"""Cells beside the curve, for rates."""
_LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = "    ####"
_MOST_TIMES = 9
_LEAST_BAR = 6
_HALF_A_DAY_NS = 12 * 3600 * 10**9


@dataclass(frozen=True)
class NeedsView(View):
    """All targets together, then each in a line; *refaults_per_s* is the tolerated rate."""

    needs: Needs
    refaults_per_s: float | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._summary(options)
        if len(self._curve.idle_ns):
            yield Text()
            yield from _chart(self._curve, self._point, self._tolerated, options)

    @property
    def _curve(self) -> NeedsCurve:
        return self.needs.total

    @property
    def _tolerated(self) -> float:
        return self._curve.tolerated_per_s if self.refaults_per_s is None else self.refaults_per_s

    @property
    def _point(self) -> NeedsPoint | None:
        return self.needs.point(self._tolerated)

    def _summary(self, options: ConsoleOptions) -> RenderResult:
        """All but the curve."""
        needs, point = self.needs, self._point
        target = needs.targets[0].target if len(needs.targets) == 1 else None
        headline, reason = needs_headline(self._curve, point, self._tolerated, options.ascii_only)
        yield Text(f"{series_label(target)}: {headline}", style="bold")
        yield Text(reason)
        if point and (peak := needs.peak(point)):
            yield Text(_peak_line(peak, needs.watched_ns))
        if len(self._curve.idle_ns):
            yield _times_table(self._curve, options)
            yield Text(_known_line(needs, options.ascii_only))
        if len(needs.targets) > 1 and len(self._curve.idle_ns):
            yield Text()
            yield from _target_lines(needs, point)

    def html(self) -> str:
        """The same, with the curve as an image: its style sheet must not become the page's."""
        from pydamon._show.pictures.needs import needs_svg  # noqa: PLC0415  (not for terminals)

        console = Console(width=100)
        text = html_of_parts(self._summary(console.options))
        if not len(self._curve.idle_ns):
            return text
        data = base64.b64encode(needs_svg(self.needs, self.refaults_per_s)).decode()
        title = "Memory against pages that come back each second"
        return f'{text}<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'


def _peak_line(peak: NeedsPeak, watched_ns: int) -> str:
    clock = "%H:%M:%S" if watched_ns < _HALF_A_DAY_NS else "%Y-%m-%d %H:%M"
    kept_begin, worst_begin = (
        f"{datetime.fromtimestamp(begin_ns / 1e9):{clock}}"
        for begin_ns in (peak.kept_begin_ns, peak.refaults_begin_ns)
    )
    return (
        f"At most in any {duration(peak.period_ns)}: {size(peak.kept_bytes)} (from {kept_begin}), "
        f"{per_second(peak.refaults_per_s)} pages a second (from {worst_begin})."
    )


def _known_line(needs: Needs, ascii_only: bool) -> str:
    text = (
        f"Looks {duration(needs.look_distance_ns)} apart tell idle times from "
        f"{duration(needs.shortest_ns)} to {duration(needs.longest_ns)}."
    )
    if needs.followed_share < 1:
        sign = "+-" if ascii_only else "±"
        text += (
            f" Estimates: {percent(needs.followed_share)} of the memory was followed page by page"
            f" ({sign}: standard deviation)."
        )
    return text


def _times_table(curve: NeedsCurve, options: ConsoleOptions) -> FittingTable:
    points = [point for time in IDLE_AGES_NS if time and (point := curve.at(time))]
    points = (points or list(curve.points))[-_MOST_TIMES:]
    ascii_only = options.ascii_only
    whole = max(curve.resident_bytes, 1)
    cells = [
        [
            duration(point.idle_ns),
            _with_deviation(point, ascii_only),
            percent(point.kept_bytes / whole),
            per_second(point.refaults_per_s, point.refaults_deviation_per_s, ascii_only),
        ]
        for point in points
    ]
    headings = ("idle for", "kept", "of all", "back/s")
    used = sum(
        max(len(heading), *(len(row[i]) for row in cells)) + 2 for i, heading in enumerate(headings)
    )
    room = min(60, options.max_width - used)
    columns = [Column(heading, rank=1 if heading == "of all" else 9) for heading in headings]
    if room >= _LEAST_BAR:
        columns.append(Column("", name=True))
        for row, point in zip(cells, points, strict=True):
            row.append(bar(point.kept_bytes / whole, room, ascii_only))
    return FittingTable(columns, cells)


def _with_deviation(point: NeedsPoint, ascii_only: bool) -> str:
    text = size(point.kept_bytes)
    if point.kept_deviation_bytes:
        text += f" {'+-' if ascii_only else '±'}{size(point.kept_deviation_bytes)}"
    return text


def _target_lines(needs: Needs, point: NeedsPoint | None) -> RenderResult:
    """A line for each target, at the idle time that all together need."""
    idle_ns = point.idle_ns if point else int(needs.total.idle_ns[-1])
    yield Text(f"Each with what was in use within {duration(idle_ns)}", style="bold")
    shown = largest(needs.targets, lambda curve: curve.resident_bytes)
    columns = (
        Column("kept"),
        Column("of"),
        Column("back/s"),
        Column("target", name=True),
    )
    yield FittingTable(columns, [list(_target_row(curve, idle_ns)) for curve in shown])
    yield from rest_note(needs.targets)


def _target_row(curve: NeedsCurve, idle_ns: int) -> Iterator[str]:
    point = curve.at(idle_ns)
    yield size(point.kept_bytes) if point else "?"
    yield size(curve.resident_bytes)
    yield per_second(point.refaults_per_s) if point else "?"
    yield target_cell(curve.target) if curve.target else ""


def _chart(
    curve: NeedsCurve, point: NeedsPoint | None, tolerated: float, options: ConsoleOptions
) -> RenderResult:
    """Pages that come back (upwards) against memory (to the right)."""
    ascii_only = options.ascii_only
    columns = min(_WIDEST, options.max_width - _LEFT - 2)
    if columns < 10:
        return
    scale = RateScale.of(curve, tolerated)
    whole = max(curve.resident_bytes, 1)
    memory = (np.arange(columns) + 0.5) / columns * whole
    heights = np.interp(memory, curve.kept_bytes, scale.heights(curve.refaults_per_s)) * _ROWS
    unknown = memory < curve.kept_bytes[0]
    levels = _ASCII_LEVELS if ascii_only else _LEVELS
    yield Text(
        "Pages a second that come back, by the memory that is kept (?: not known)", style="bold"
    )
    for row in range(_ROWS - 1, -1, -1):
        label = {_ROWS - 1: per_second(scale.top), 0: per_second(scale.low)}.get(row, "")
        steps = np.clip((heights - row) * (len(levels) - 1), 0, len(levels) - 1).astype(int)
        cells = [levels[step] for step in steps.tolist()]
        if row == 0:
            cells = ["?" if hidden else cell for cell, hidden in zip(cells, unknown, strict=True)]
        upright = "|" if ascii_only else "│"
        yield Text(f"{label:>{_LEFT - 1}} {upright}{''.join(cells)}".rstrip(), no_wrap=True)
    yield from _memory_axis(curve, point, columns, ascii_only)


def _memory_axis(
    curve: NeedsCurve, point: NeedsPoint | None, columns: int, ascii_only: bool
) -> RenderResult:
    whole = max(curve.resident_bytes, 1)
    line = ["-" if ascii_only else "─"] * columns
    labels = [" "] * columns
    end = size(curve.resident_bytes)
    labels[columns - len(end) :] = end
    labels[0] = "0"
    if point:
        place = min(columns - 1, int(point.kept_bytes / whole * columns))
        line[place] = "^" if ascii_only else "▲"
        text = size(point.kept_bytes)
        begin = min(max(2, place - len(text) // 2), columns - len(end) - 1 - len(text))
        if begin >= 2:
            labels[begin : begin + len(text)] = text
    corner = "+" if ascii_only else "└"
    yield Text(" " * _LEFT + corner + "".join(line), no_wrap=True)
    yield Text(" " * (_LEFT + 1) + "".join(labels), no_wrap=True)
