"""A heat map: addresses downwards, time to the right; in notebooks as a picture."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from pydamon._data.analysis import HeatMap
from pydamon._show.results.view import View
from pydamon._show.text import (
    UNSEEN,
    colour_index,
    heatmap_title,
    labelled_ticks,
    mapping_label,
    percent,
    rgb,
    target_label,
    top_rate,
)

__all__ = ["HeatMapView", "heatmap_cells", "in_colour"]

_ADDRESS_WIDTH = 13
_NAME_WIDTH = 20
_MIN_WIDTH_WITH_NAMES = 60
_DIGITS = ".123456789"
_TICK_WIDTH = 12
_CLOCK_WIDTH = 15
_LINES_PER_ADDRESS = 4
_UNSEEN = " not looked at yet"


def in_colour(console: Console) -> bool:
    """Whether a console shows enough colours for a heat map; otherwise it is drawn with digits."""
    return not console.no_color and console.color_system in {"256", "truecolor"}


def heatmap_cells(
    console: Console, width: int | None = None, height: int | None = None
) -> tuple[int, int]:
    """How many rows and columns a heat map needs to fill a console.

    *width* and *height*, in characters, bound the map without its axes.
    """
    columns = width or max(10, console.width - _left() - _right(console.width))
    lines = height or max(8, min(40, console.height - 6))
    return (lines * 2 if in_colour(console) else lines), columns


@dataclass(frozen=True)
class HeatMapView(View):
    """A heat map with its axes and its legend; in colour each character has two rows.

    With *absolute* the axis of time shows the time of day, and every fourth line has its address.
    """

    heatmap: HeatMap
    absolute: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - _left() - _right(options.max_width)
        heatmap = _narrowed(self.heatmap, max(1, room))
        colour = in_colour(console)
        yield Text(heatmap_title(heatmap, self.absolute), style="bold")
        yield from self._lines(heatmap, colour, options)
        yield from self._time_axis(heatmap, options.ascii_only)
        yield _legend(top_rate(heatmap.rates), colour, bool(heatmap.unseen.any()))

    def _lines(self, heatmap: HeatMap, colour: bool, options: ConsoleOptions) -> RenderResult:
        """The map itself, with an address and a name where a mapping or a segment begins."""
        rates, unseen = heatmap.rates, heatmap.unseen
        top = top_rate(rates)
        right = _right(options.max_width)
        upright = "|" if options.ascii_only else "│"
        addresses = heatmap.row_addresses.tolist()
        segments = np.searchsorted(heatmap.axis.begins, heatmap.row_edges, side="right").tolist()
        rows_per_line = 2 if colour else 1
        rows_per_address = rows_per_line * _LINES_PER_ADDRESS
        before = None
        for row in range(0, rates.shape[0], rows_per_line):
            name = heatmap.row_names[row]
            starts = before != (name, segments[row])
            before = name, segments[row]
            has_address = starts or (self.absolute and row % rows_per_address == 0)
            address = f"{addresses[row]:x}" if has_address else ""
            line = Text(f"{address:>{_ADDRESS_WIDTH}} {upright}", no_wrap=True)
            if colour:
                _draw_blocks(line, colour_index(rates[row : row + 2], top, unseen[row : row + 2]))
            else:
                cells = zip(rates[row], unseen[row], strict=True)
                line.append("".join(_digit(rate, top, hidden) for rate, hidden in cells))
            line.append(upright)
            if right and starts:
                line.append(f" {mapping_label(name, _NAME_WIDTH)}")
            yield line

    def _time_axis(self, heatmap: HeatMap, ascii_only: bool) -> RenderResult:
        columns = heatmap.rates.shape[1]
        duration_ns = float(heatmap.time_edges[-1] - heatmap.time_edges[0])
        corner, flat, mark = ("+", "-", "+") if ascii_only else ("└", "─", "┴")
        width = _CLOCK_WIDTH if self.absolute else _TICK_WIDTH
        ticks = labelled_ticks(heatmap.time_edges, max(1, columns // width), self.absolute)
        places = {int(tick_ns / duration_ns * columns): label for tick_ns, label in ticks}
        axis = "".join(mark if column in places else flat for column in range(columns))
        labels = ""
        for place, label in places.items():
            if place + len(label) <= columns + 1:
                labels = f"{labels:<{place}}{label}"
        blank = " " * (_left() - 1)
        for text in (blank + corner + axis, f"{blank} {labels}"):
            yield Text(text, no_wrap=True)

    def html(self) -> str:
        """The picture, as an image: its style sheet must not become that of the whole page."""
        from pydamon._show.pictures.draw import heatmap_svg  # noqa: PLC0415  (not for terminals)

        data = base64.b64encode(heatmap_svg(self.heatmap)).decode()
        label = target_label(self.heatmap.target)
        title = f"Heat map of {label}: access rates by address and time"
        return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'


def _left() -> int:
    return _ADDRESS_WIDTH + 2


def _right(width: int) -> int:
    return _NAME_WIDTH + 2 if width >= _MIN_WIDTH_WITH_NAMES else 1


def _narrowed(heatmap: HeatMap, columns: int) -> HeatMap:
    """A heat map with at most *columns* columns: neighbours are replaced by their mean."""
    count = heatmap.rates.shape[1]
    if count <= columns:
        return heatmap
    bounds = np.linspace(0, count, columns + 1).round().astype(np.int64)
    known = ~np.isnan(heatmap.rates)
    sums = np.add.reduceat(np.where(known, heatmap.rates, 0.0), bounds[:-1], axis=1)
    counts, unseen = (
        np.add.reduceat(cells.astype(np.float64), bounds[:-1], axis=1)
        for cells in (known, heatmap.unseen)
    )
    rates = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=rates, where=counts > 0)
    hidden = unseen > counts
    rates[hidden] = np.nan
    return replace(heatmap, rates=rates, unseen=hidden, time_edges=heatmap.time_edges[bounds])


def _digit(rate: float, top: float, unseen: bool) -> str:
    if np.isnan(rate):
        return "?" if unseen else " "
    return _DIGITS[0 if rate <= 0 else min(9, max(1, int(np.ceil(rate / top * 9 - 1e-9))))]


def _colours(indices: NDArray[np.int64]) -> list[Color | None]:
    return [None if index < 0 else Color.from_rgb(*rgb(index)) for index in indices.tolist()]


def _draw_blocks(line: Text, pair: NDArray[np.int64]) -> None:
    """Append a character for each column, its upper half the first row, its lower the second."""
    lower = pair[1] if len(pair) > 1 else np.full(pair.shape[1], -1)
    for above, below in zip(_colours(pair[0]), _colours(lower), strict=True):
        if above is not None:
            line.append("▀", Style(color=above, bgcolor=below))
        elif below is not None:
            line.append("▄", Style(color=below))
        else:
            line.append(" ")


def _legend(top: float, colour: bool, unseen: bool) -> Text:
    legend = Text(" " * _left() + "access rate ")
    if not top:
        legend.append("0 wherever it is known" if unseen else "0 everywhere: nothing was accessed")
    elif colour:
        legend.append("0 % ")
        for shade in _colours(colour_index(np.linspace(0, 1, 16), 1.0)):
            legend.append("█", Style(color=shade))
        legend.append(f" {percent(top)}   blank: not monitored")
    else:
        legend.append(f". none, 1 to 9 up to {percent(top)}, blank not monitored")
    if not unseen:
        return legend
    legend.append("   " if colour else ", ")
    if colour:
        return legend.append("█", Style(color=Color.from_rgb(*rgb(UNSEEN)))).append(_UNSEEN)
    return legend.append(f"?{_UNSEEN}")
