"""A heat map as an SVG file, which needs nothing else to be looked at."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis import HeatMap
from pydamon.views.colours import rgb
from pydamon.views.picture import picture

__all__ = ["heatmap_svg"]

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
