"""What stands where in a picture of a heat map, whatever format it is written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import HeatMap
from pydamon._show.scales import colour_index, time_ticks, top_rate
from pydamon._show.text import duration, heatmap_title, mapping_label, percent

__all__ = ["Label", "Picture", "labelled_rows", "picture"]

Anchor: TypeAlias = Literal["start", "middle", "end"]

_LEFT, _TOP, _RIGHT, _BOTTOM = 122, 40, 190, 84
_NAME_CHARACTERS = 26
_LINE = 14
"""Pixels between two labels at least."""
_CELL = 2
_SMALLEST = (420, 160)
_TICK_PIXELS = 90


@dataclass(frozen=True, slots=True)
class Label:
    """Text whose baseline begins, is centred or ends at a point."""

    x: int
    y: int
    text: str
    anchor: Anchor = "start"


@dataclass(frozen=True)
class Picture:
    """A field of cells and its surroundings, in pixels.

    The field is at `left`, `top`, of `width` by `height`. `cells` has the index of a colour for
    each cell, -1 for none: shape (rows, columns). `ticks` are points on the lower edge of the
    field. `legend` is the ramp of colours: x, y, width and height.
    """

    size: tuple[int, int]
    left: int
    top: int
    width: int
    height: int
    cells: NDArray[np.int64]
    labels: tuple[Label, ...]
    ticks: tuple[int, ...]
    legend: tuple[int, int, int, int]


def picture(heatmap: HeatMap) -> Picture:
    """Lay out a heat map: addresses downwards, time to the right, as in the terminal."""
    rows, columns = heatmap.rates.shape
    width, height = max(_SMALLEST[0], columns * _CELL), max(_SMALLEST[1], rows * _CELL)
    bottom = _TOP + height
    duration_ns = float(heatmap.time_edges[-1] - heatmap.time_edges[0])
    top = top_rate(heatmap.rates)
    labels = [Label(_LEFT, _TOP - 14, heatmap_title(heatmap))]
    addresses = heatmap.row_addresses.tolist()
    for row in labelled_rows(heatmap, height):
        y = _TOP + round(row * height / rows)
        labels.append(Label(_LEFT - 8, y + 9, f"{addresses[row]:x}", "end"))
        name = mapping_label(heatmap.row_names[row], _NAME_CHARACTERS)
        labels.append(Label(_LEFT + width + 8, y + 9, name))
    ticks = []
    for tick_ns in time_ticks(duration_ns, max(1, width // _TICK_PIXELS)):
        x = _LEFT + round(tick_ns / max(duration_ns, 1) * width)
        ticks.append(x)
        labels.append(Label(x, bottom + 20, duration(tick_ns), "middle"))
    legend = (_LEFT + 110, bottom + 44, 160, 12)
    labels.append(Label(_LEFT, bottom + 54, "access rate   0 %"))
    labels.append(Label(legend[0] + legend[2] + 8, bottom + 54, percent(top)))
    if heatmap.unseen.any():
        labels.append(Label(_LEFT, bottom + 72, "grey: not looked at yet"))
    return Picture(
        (_LEFT + width + _RIGHT, bottom + _BOTTOM),
        _LEFT,
        _TOP,
        width,
        height,
        colour_index(heatmap.rates, top, heatmap.unseen),
        tuple(labels),
        tuple(ticks),
        legend,
    )


def labelled_rows(heatmap: HeatMap, height: float) -> list[int]:
    """Rows in which a mapping or a segment begins, in a field of *height* pixels.

    Where labels would overlap, the larger mapping keeps its label.
    """
    rows = len(heatmap.row_names)
    segments = np.searchsorted(heatmap.axis.begins, heatmap.row_edges[:-1], side="right").tolist()
    places = list(zip(heatmap.row_names, segments, strict=True))
    heads = [row for row in range(rows) if row == 0 or places[row] != places[row - 1]]
    lengths = np.diff([*heads, rows]).tolist()
    chosen: list[int] = []
    for _, row in sorted(zip(lengths, heads, strict=True), key=lambda head: (-head[0], head[1])):
        if all(abs(row - other) * height / rows >= _LINE for other in chosen):
            chosen.append(row)
    return sorted(chosen)
