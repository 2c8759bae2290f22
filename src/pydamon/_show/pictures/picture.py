"""A heat map as a picture: what stands where, and as an SVG file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import HeatMap
from pydamon._show.terminal.colours import colour_index, rgb, time_ticks
from pydamon._show.terminal.text import duration, mapping_label, percent, size, target_label

__all__ = ["Label", "Picture", "heatmap_svg", "picture"]

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
    """In pixels: a field of cells at `left`, `top`, of `width` by `height`, and what is around it.

    `cells` has the index of a colour for each cell, -1 for none: shape (rows, columns). `ticks` are
    points on the lower edge of the field. The legend's ramp is `legend`: x, y, width and height.
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
    """The layout of a heat map: addresses downwards, time to the right, as in the terminal."""
    rows, columns = heatmap.rates.shape
    width, height = max(_SMALLEST[0], columns * _CELL), max(_SMALLEST[1], rows * _CELL)
    bottom = _TOP + height
    duration_ns = float(heatmap.time_edges[-1] - heatmap.time_edges[0])
    top_rate = float(np.nanmax(heatmap.rates)) if np.isfinite(heatmap.rates).any() else 0.0
    whole = size(heatmap.axis.length + heatmap.left_out_bytes)
    title = (
        f"{target_label(heatmap.target)}: {size(heatmap.axis.length)} of {whole} "
        f"over {duration(duration_ns)}"
    )
    labels = [Label(_LEFT, _TOP - 14, title)]
    addresses = heatmap.row_addresses.tolist()
    for row in _labelled(heatmap, height):
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
    labels.append(Label(legend[0] + legend[2] + 8, bottom + 54, percent(top_rate)))
    if heatmap.unseen.any():
        labels.append(Label(_LEFT, bottom + 72, "grey: not looked at yet"))
    return Picture(
        (_LEFT + width + _RIGHT, bottom + _BOTTOM),
        _LEFT,
        _TOP,
        width,
        height,
        colour_index(heatmap.rates, top_rate, heatmap.unseen),
        tuple(labels),
        tuple(ticks),
        legend,
    )


def _labelled(heatmap: HeatMap, height: int) -> list[int]:
    """Rows in which a mapping or a segment begins: of those too close, the larger ones."""
    rows = len(heatmap.row_names)
    segments = np.searchsorted(heatmap.axis.begins, heatmap.row_edges[:-1], side="right").tolist()
    places = list(zip(heatmap.row_names, segments, strict=True))
    heads = [row for row in range(rows) if row == 0 or places[row] != places[row - 1]]
    lengths = np.diff([*heads, rows]).tolist()
    chosen: list[int] = []
    for _, row in sorted(zip(lengths, heads, strict=True), key=lambda one: (-one[0], one[1])):
        if all(abs(row - other) * height / rows >= _LINE for other in chosen):
            chosen.append(row)
    return sorted(chosen)


_STYLE = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#222}rect.b{fill:#fff}"
    "line{stroke:#222}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect.b{fill:#181818}line{stroke:#ddd}}"
)


def heatmap_svg(heatmap: HeatMap) -> bytes:
    """The picture: light or dark as the viewer is."""
    p = picture(heatmap)
    width, height = p.size
    rows, columns = p.cells.shape
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{_STYLE}</style>'
        f'<rect class="b" width="{width}" height="{height}"/>'
        f'<g shape-rendering="crispEdges" transform="translate({p.left} {p.top}) '
        f'scale({p.width / columns:.6g} {p.height / rows:.6g})">'
    ]
    parts += [f'<path fill="{_hex(i)}" d="{d}"/>' for i, d in _paths(p.cells)]
    parts.append("</g>")
    x, y, ramp, thick = p.legend
    step = ramp / 32
    parts += [
        f'<rect x="{x + i * step:g}" y="{y}" width="{step:g}" height="{thick}" '
        f'fill="{_hex(i * 255 // 31)}" shape-rendering="crispEdges"/>'
        for i in range(32)
    ]
    bottom = p.top + p.height
    parts += [f'<line x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 5}"/>' for x in p.ticks]
    parts += [
        f'<text x="{one.x}" y="{one.y}" text-anchor="{one.anchor}">{escape(one.text)}</text>'
        for one in p.labels
    ]
    return "".join([*parts, "</svg>\n"]).encode()


def _paths(cells: NDArray[np.int64]) -> list[tuple[int, str]]:
    """A path for each colour, of runs of cells of that colour in a row."""
    columns = cells.shape[1]
    flat = cells.ravel()
    new = np.ones(flat.size, np.bool_)
    new[1:] = flat[1:] != flat[:-1]
    new[::columns] = True
    heads = np.flatnonzero(new)
    lengths = np.diff(heads, append=flat.size)
    runs: dict[int, list[str]] = {}
    for colour, at, length in zip(
        flat[heads].tolist(), heads.tolist(), lengths.tolist(), strict=True
    ):
        if colour >= 0:
            runs.setdefault(colour, []).append(
                f"M{at % columns} {at // columns}h{length}v1h-{length}z"
            )
    return [(colour, "".join(d)) for colour, d in sorted(runs.items())]


def _hex(index: int) -> str:
    return "#" + bytes(rgb(index)).hex()
