"""A heat map as a picture: SVG, PNG, or drawn in Matplotlib axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import HeatMap
from pydamon._model.runs import Runs
from pydamon._show.pictures.labels import INK, PAPER, Label, Paper, new_axes, svg_labels
from pydamon._show.text import (
    PALETTE,
    UNSEEN,
    colour_index,
    duration,
    heatmap_title,
    labelled_ticks,
    mapping_label,
    percent,
    rgb,
    time_ticks,
    top_rate,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Picture",
    "heatmap_png",
    "heatmap_svg",
    "labelled_rows",
    "picture",
    "plot",
]

_LEFT, _TOP, _RIGHT, _BOTTOM = 122, 40, 190, 84
_NAME_CHARACTERS = 26
_LINE = 14
"""Pixels between two labels at least."""
_CELL = 2
_SMALLEST = (420, 160)
_TICK_PIXELS = 90
_CLOCK_PIXELS = 110
_ADDRESS_PIXELS = 40


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


def picture(heatmap: HeatMap, absolute: bool = False) -> Picture:
    """Lay out a heat map: addresses downwards, time to the right, as in the terminal.

    With *absolute* the axis of time shows the time of day, and addresses stand in even distances.
    """
    rows, columns = heatmap.rates.shape
    width, height = max(_SMALLEST[0], columns * _CELL), max(_SMALLEST[1], rows * _CELL)
    bottom = _TOP + height
    duration_ns = float(heatmap.time_edges[-1] - heatmap.time_edges[0])
    top = top_rate(heatmap.rates)
    labels = [Label(_LEFT, _TOP - 14, heatmap_title(heatmap, absolute))]
    addresses = heatmap.row_addresses.tolist()
    named_rows = labelled_rows(heatmap, height)
    step = max(1, round(_ADDRESS_PIXELS * rows / height))
    for row in range(0, rows, step) if absolute else named_rows:
        y = _TOP + round(row * height / rows)
        labels.append(Label(_LEFT - 8, y + 9, f"{addresses[row]:x}", "end"))
    for row in named_rows:
        y = _TOP + round(row * height / rows)
        name = mapping_label(heatmap.row_names[row], _NAME_CHARACTERS)
        labels.append(Label(_LEFT + width + 8, y + 9, name))
    ticks = []
    tick_count = max(1, width // (_CLOCK_PIXELS if absolute else _TICK_PIXELS))
    for tick_ns, label in labelled_ticks(heatmap.time_edges, tick_count, absolute):
        x = _LEFT + round(tick_ns / max(duration_ns, 1) * width)
        ticks.append(x)
        labels.append(Label(x, bottom + 20, label, "middle"))
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


_STYLE = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#222}rect.b{fill:#fff}"
    "line{stroke:#222}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect.b{fill:#181818}line{stroke:#ddd}}"
)
_RAMP_STEPS = 32


def heatmap_svg(heatmap: HeatMap, absolute: bool = False) -> bytes:
    """The picture: light or dark as the viewer is."""
    layout = picture(heatmap, absolute)
    width, height = layout.size
    rows, columns = layout.cells.shape
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{_STYLE}</style>'
        f'<rect class="b" width="{width}" height="{height}"/>'
        f'<g shape-rendering="crispEdges" transform="translate({layout.left} {layout.top}) '
        f'scale({layout.width / columns:.6g} {layout.height / rows:.6g})">'
    ]
    parts += [f'<path fill="{_hex(colour)}" d="{path}"/>' for colour, path in _paths(layout.cells)]
    parts.append("</g>")
    parts += _surroundings(layout)
    return "".join([*parts, "</svg>\n"]).encode()


def _surroundings(layout: Picture) -> Iterator[str]:
    """The legend's ramp, the ticks and the labels."""
    x, y, length, thick = layout.legend
    step = length / _RAMP_STEPS
    for i in range(_RAMP_STEPS):
        yield (
            f'<rect x="{x + i * step:g}" y="{y}" width="{step:g}" height="{thick}" '
            f'fill="{_hex(i * 255 // (_RAMP_STEPS - 1))}" shape-rendering="crispEdges"/>'
        )
    bottom = layout.top + layout.height
    for tick in layout.ticks:
        yield f'<line x1="{tick}" x2="{tick}" y1="{bottom}" y2="{bottom + 5}"/>'
    yield from svg_labels(layout.labels)


def _paths(cells: NDArray[np.int64]) -> list[tuple[int, str]]:
    """A path for each colour, made of the runs of cells that have it."""
    columns = cells.shape[1]
    flat = cells.ravel()
    apart = flat[1:] != flat[:-1]
    apart[columns - 1 :: columns] = True
    runs = Runs.split(apart, flat.size)
    paths: dict[int, list[str]] = {}
    for colour, (first, beyond) in zip(flat[runs.heads].tolist(), runs, strict=True):
        if colour >= 0:
            length = beyond - first
            path = f"M{first % columns} {first // columns}h{length}v1h-{length}z"
            paths.setdefault(colour, []).append(path)
    return [(colour, "".join(parts)) for colour, parts in sorted(paths.items())]


def _hex(index: int) -> str:
    return "#" + bytes(rgb(index)).hex()


def heatmap_png(heatmap: HeatMap, absolute: bool = False) -> bytes:
    """The picture on white paper; raises `UsageError` where Pillow is not installed."""
    layout = picture(heatmap, absolute)
    paper = Paper(layout.size)
    from PIL import Image  # noqa: PLC0415  (an extra)

    colours = np.vstack([PALETTE, np.array([rgb(UNSEEN), PAPER], np.uint8)])
    field = Image.fromarray(colours[layout.cells])
    resized = field.resize((layout.width, layout.height), Image.Resampling.NEAREST)
    paper.image.paste(resized, (layout.left, layout.top))
    x, y, width, height = layout.legend
    paper.image.paste(Image.fromarray(PALETTE[None]).resize((width, height)), (x, y))
    bottom = layout.top + layout.height
    for tick in layout.ticks:
        paper.draw.line((tick, bottom, tick, bottom + 5), INK)
    paper.label(layout.labels)
    return paper.png()


def plot(heatmap: HeatMap, ax: Axes | None = None) -> Axes:
    """Draw rates into *ax*, or a new figure; raises `UsageError` without Matplotlib."""
    axes = new_axes(ax)
    from matplotlib.colors import ListedColormap  # noqa: PLC0415  (an extra)

    duration_s = float(heatmap.time_edges[-1] - heatmap.time_edges[0]) / 1e9
    length = float(heatmap.row_edges[-1])
    red, green, blue = (channel / 255 for channel in rgb(UNSEEN))
    colours = ListedColormap(PALETTE / 255).with_extremes(under=(red, green, blue))
    image = axes.imshow(
        # Below the scale, and so grey: no probe had looked at these cells yet.
        np.where(heatmap.unseen, -1.0, heatmap.rates),
        cmap=colours,
        vmin=0.0,
        vmax=top_rate(heatmap.rates) or 1.0,
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, duration_s, length, 0.0),  # addresses grow downwards
    )
    legend = "access rate"
    if heatmap.unseen.any():
        legend += " (grey: not looked at yet)"
    axes.set_title(heatmap_title(heatmap))
    axes.figure.colorbar(image, ax=axes, label=legend, orientation="horizontal", format=_percent)
    _label(heatmap, axes, duration_s)
    return axes


def _percent(rate: float, _: int) -> str:
    return percent(rate)


def _label(heatmap: HeatMap, axes: Axes, duration_s: float) -> None:
    """Addresses on the left and names on the right of rows, durations below."""
    box = axes.get_window_extent()
    rows = labelled_rows(heatmap, box.height)
    places = heatmap.row_edges[rows].tolist()
    addresses = heatmap.row_addresses[rows].tolist()
    axes.set_yticks(places, [f"{address:x}" for address in addresses])
    names = axes.secondary_yaxis("right")
    names.set_yticks(
        places, [mapping_label(heatmap.row_names[row], _NAME_CHARACTERS) for row in rows]
    )
    ticks_ns = time_ticks(duration_s * 1e9, max(1, int(box.width) // _TICK_PIXELS))
    axes.set_xticks([tick_ns / 1e9 for tick_ns in ticks_ns], [duration(t) for t in ticks_ns])
