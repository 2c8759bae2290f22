"""A heat map in Matplotlib axes; needs Matplotlib, the extra `pydamon[plot]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pydamon._data.analysis import HeatMap
from pydamon._model.errors import UsageError
from pydamon._show.pictures.layout import labelled_rows
from pydamon._show.scales import PALETTE, UNSEEN, rgb, time_ticks, top_rate
from pydamon._show.text import duration, heatmap_title, mapping_label, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot"]

_TICK_PIXELS = 90
_NAME_CHARACTERS = 26


def plot(heatmap: HeatMap, ax: Axes | None = None) -> Axes:
    """Draw rates into *ax*, or a new figure; raises `UsageError` without Matplotlib."""
    try:
        from matplotlib import pyplot  # noqa: PLC0415  (an extra)
        from matplotlib.colors import ListedColormap  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "plotting needs Matplotlib, which is not installed",
            hint="pip install 'pydamon[plot]', or save the heat map as an .svg or .html file",
        ) from None
    axes: Axes = pyplot.subplots(layout="constrained")[1] if ax is None else ax
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
