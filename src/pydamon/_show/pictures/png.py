"""A heat map as a PNG file; needs Pillow, the extra `pydamon[png]`."""

from __future__ import annotations

import io

import numpy as np

from pydamon._data.analysis import HeatMap
from pydamon._model.errors import UsageError
from pydamon._show.pictures.picture import picture
from pydamon._show.terminal.colours import PALETTE, UNSEEN, rgb

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
    p = picture(heatmap)
    colours = np.vstack([PALETTE, np.array([rgb(UNSEEN), _PAPER], np.uint8)])
    field = Image.fromarray(colours[p.cells]).resize((p.width, p.height), Image.Resampling.NEAREST)
    image = Image.new("RGB", p.size, _PAPER)
    image.paste(field, (p.left, p.top))
    x, y, width, height = p.legend
    image.paste(Image.fromarray(PALETTE[None]).resize((width, height)), (x, y))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_FONT_PIXELS)
    bottom = p.top + p.height
    for tick in p.ticks:
        draw.line((tick, bottom, tick, bottom + 5), _INK)
    for one in p.labels:
        draw.text((one.x, one.y), one.text, _INK, font, anchor=_ANCHORS[one.anchor])
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
