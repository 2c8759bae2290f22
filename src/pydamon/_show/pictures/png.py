"""A heat map as a PNG file; needs Pillow, the extra `pydamon[png]`."""

from __future__ import annotations

import io

import numpy as np

from pydamon._data.analysis import HeatMap
from pydamon._model.errors import UsageError
from pydamon._show.pictures.layout import picture
from pydamon._show.scales import PALETTE, UNSEEN, rgb

__all__ = ["heatmap_png"]

_PAPER, _INK = (255, 255, 255), (34, 34, 34)
_FONT_PIXELS = 12
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def heatmap_png(heatmap: HeatMap) -> bytes:
    """The picture on white paper; raises `UsageError` where Pillow is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UsageError(
            "a PNG picture needs Pillow, which is not installed",
            hint="pip install 'pydamon[png]', or name an .svg or .html file",
        ) from None
    layout = picture(heatmap)
    colours = np.vstack([PALETTE, np.array([rgb(UNSEEN), _PAPER], np.uint8)])
    field = Image.fromarray(colours[layout.cells])
    image = Image.new("RGB", layout.size, _PAPER)
    resized = field.resize((layout.width, layout.height), Image.Resampling.NEAREST)
    image.paste(resized, (layout.left, layout.top))
    x, y, width, height = layout.legend
    image.paste(Image.fromarray(PALETTE[None]).resize((width, height)), (x, y))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_FONT_PIXELS)
    bottom = layout.top + layout.height
    for tick in layout.ticks:
        draw.line((tick, bottom, tick, bottom + 5), _INK)
    for label in layout.labels:
        draw.text((label.x, label.y), label.text, _INK, font, anchor=_ANCHORS[label.anchor])
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
