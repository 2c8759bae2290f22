"""The heat map that scrolls: addresses downwards, time to the right."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.message import Message

from pydamon._data.analysis import HeatMap
from pydamon._show.text import PALETTE, UNSEEN, mapping_label, percent, rgb, top_rate
from pydamon._show.top.panels import BOLD, DIM, LEFT, PLAIN, Panel, right_width

__all__ = ["HeatPanel", "HeatShown", "hottest_row"]

_LEVELS = 32
_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_DIGITS = ".123456789"
_NOTHING = -1
"""The level of cells in which nothing was monitored."""
_UNSEEN = -2
"""The level of cells that no probe had looked at yet."""
_TICK = 10
_NS = 10**9


@dataclass(frozen=True)
class HeatShown:
    """A heat map, in colour or not, and the row that is picked, if any."""

    heatmap: HeatMap
    colour: bool
    picked: int | None = None

    @property
    def top(self) -> float:
        """The rate at the end of the scale: a round number, so that it seldom changes."""
        highest = top_rate(self.heatmap.rates)
        return next(top for top in _TOPS if highest <= top or top == _TOPS[-1])


class HeatPanel(Panel[HeatShown]):
    """Lines of the map, a time axis and a legend."""

    class Resized(Message):
        """There is room for another number of rows or columns."""

    def on_resize(self) -> None:
        """Ask for a heat map of the new size."""
        self.post_message(self.Resized())

    @property
    def map_lines(self) -> int:
        """How many lines of the panel are for the map."""
        return max(1, self.size.height - 2)

    def lines(self, shown: HeatShown, width: int, height: int) -> list[list[Segment]]:
        """The lines of the map, the time axis and the legend."""
        return [*_map_lines(shown, width), _time_axis(shown.heatmap), _legend(shown, width)]


def _map_lines(shown: HeatShown, width: int) -> list[list[Segment]]:
    heatmap, each, right = shown.heatmap, 2 if shown.colour else 1, right_width(width)
    names, levels = heatmap.row_names, _levels(shown).tolist()
    addresses = heatmap.row_addresses.tolist()
    segments = np.searchsorted(heatmap.axis.begins, heatmap.row_edges[:-1], side="right").tolist()
    lines = []
    for row in range(0, len(levels), each):
        before = row - each
        starts = row == 0 or names[before] != names[row] or segments[before] != segments[row]
        picked = shown.picked is not None and shown.picked // each == row // each
        address = f"{addresses[row]:x}" if starts or picked else ""
        label = mapping_label(names[row], right - 2) if right > 1 and (starts or picked) else ""
        style = Style(reverse=True) if picked else PLAIN
        pair = levels[row : row + each]
        cells = _blocks(*pair) if len(pair) > 1 else _cells(pair[0], shown)
        lines.append(
            [
                Segment(f"{address:>{LEFT - 1}}", style),
                Segment("│", DIM),
                *cells,
                Segment("│", DIM),
                Segment(f" {label}" if label else "", style),
            ]
        )
    return lines


def _levels(shown: HeatShown) -> NDArray[np.int64]:
    """Where each rate is on the scale, from 0 on; or `_NOTHING`, or `_UNSEEN`."""
    rates = shown.heatmap.rates
    steps = _LEVELS if shown.colour else len(_DIGITS) - 1
    with np.errstate(invalid="ignore"):
        # A rate just above 0 must not look like 0: it gets level 1.
        levels = np.ceil(np.clip(rates / shown.top, 0, 1) * steps - 1e-9)
        levels = np.where(rates > 0, np.maximum(1, levels), 0)
    levels = np.where(np.isnan(rates), _NOTHING, levels)
    return np.where(shown.heatmap.unseen, _UNSEEN, levels).astype(np.int64)


def _blocks(above: list[int], below: list[int]) -> list[Segment]:
    """Two rows in one line: a character's upper half is the first, its lower half the second."""
    return [
        Segment(("▄" if pair[0] == _NOTHING else "▀") * len(list(run)), _style(*pair))
        if pair != (_NOTHING, _NOTHING)
        else Segment(" " * len(list(run)), PLAIN)
        for pair, run in groupby(zip(above, below, strict=True))
    ]


def _cells(levels: list[int], shown: HeatShown) -> list[Segment]:
    if shown.colour:
        return _blocks(levels, [_NOTHING] * len(levels))
    marks = {_NOTHING: " ", _UNSEEN: "?"}
    return [Segment("".join(marks.get(i) or _DIGITS[i] for i in levels), PLAIN)]


@cache
def _colour(level: int) -> Color:
    index = UNSEEN if level == _UNSEEN else level * (len(PALETTE) - 1) // _LEVELS
    return Color.from_rgb(*rgb(index))


@cache
def _style(above: int, below: int) -> Style:
    if above == _NOTHING:
        return Style(color=_colour(below))
    return Style(color=_colour(above), bgcolor=None if below == _NOTHING else _colour(below))


def _time_axis(heatmap: HeatMap) -> list[Segment]:
    """How long ago each tick is, and the time of the day at the right."""
    columns = heatmap.rates.shape[1]
    edges = heatmap.time_edges
    column_ns = int(edges[1] - edges[0])
    now = time.strftime("%H:%M:%S", time.localtime(int(edges[-1]) // _NS))
    axis = ["─"] * columns
    for back in range(_TICK, columns + 1, _TICK):
        place, label = columns - back, f"┴-{_ago(back * column_ns)} "
        room = columns - len(now) - place
        axis[place : place + len(label)] = label if len(label) <= room else "┴"
    if columns > len(now):
        axis[-len(now) :] = now
    text = "".join(axis)
    return [Segment(f"{'└':>{LEFT}}", DIM), Segment(text, DIM), Segment("┘", DIM)]


def _ago(time_ns: int) -> str:
    """A time in a few characters, for a label."""
    seconds = time_ns / _NS
    return f"{seconds / 60:.3g}m" if seconds >= 600 or seconds % 60 == 0 else f"{seconds:.3g}s"


def _legend(shown: HeatShown, width: int) -> list[Segment]:
    top = percent(shown.top)
    indent = Segment(" " * LEFT)
    if not shown.colour:
        text = f"access rate: . none, 1 to 9 up to {top}, blank not monitored"
        text += ", ? not looked at yet" if shown.heatmap.unseen.any() else ""
        return [indent, Segment(text, DIM)] if width >= 75 else [Segment(text, DIM)]
    scale = [Segment("█", Style(color=_colour(level))) for level in range(0, _LEVELS + 1, 2)]
    return [
        indent,
        Segment("access rate 0 % ", DIM),
        *scale,
        Segment(f" {top}", BOLD),
        Segment("  blank: not monitored" if width >= 80 else "", DIM),
        *(_UNSEEN_LEGEND if shown.heatmap.unseen.any() else ()),
    ]


_UNSEEN_LEGEND = (Segment("  █", Style(color=_colour(_UNSEEN))), Segment(" not looked at yet", DIM))


def hottest_row(heatmap: HeatMap) -> int:
    """The row with the most accesses in the newest column that has any."""
    rates = np.nan_to_num(heatmap.rates)
    columns: Sequence[int] = np.flatnonzero(rates.any(axis=0)).tolist()
    return int(rates[:, columns[-1]].argmax()) if columns else 0
