"""A heat map as an SVG file."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis import HeatMap
from pydamon._show.pictures.layout import Picture, picture
from pydamon._show.scales import rgb

__all__ = ["heatmap_svg"]

_STYLE = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#222}rect.b{fill:#fff}"
    "line{stroke:#222}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect.b{fill:#181818}line{stroke:#ddd}}"
)
_RAMP_STEPS = 32


def heatmap_svg(heatmap: HeatMap) -> bytes:
    """The picture: light or dark as the viewer is."""
    layout = picture(heatmap)
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
    for label in layout.labels:
        anchored = f'<text x="{label.x}" y="{label.y}" text-anchor="{label.anchor}">'
        yield f"{anchored}{escape(label.text)}</text>"


def _paths(cells: NDArray[np.int64]) -> list[tuple[int, str]]:
    """A path for each colour, made of the runs of cells that have it."""
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
    return [(colour, "".join(run)) for colour, run in sorted(runs.items())]


def _hex(index: int) -> str:
    return "#" + bytes(rgb(index)).hex()
