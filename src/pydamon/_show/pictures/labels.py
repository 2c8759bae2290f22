"""What all pictures share: labels in SVG and PNG, white paper for PNG, axes of Matplotlib.

PNG needs Pillow (the extra `pydamon[png]`), and axes need Matplotlib (`pydamon[plot]`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias
from xml.sax.saxutils import escape

from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["INK", "PAPER", "Anchor", "Label", "Paper", "new_axes", "svg_labels"]

Anchor: TypeAlias = Literal["start", "middle", "end"]

PAPER, INK = (255, 255, 255), (34, 34, 34)
_FONT_PIXELS = 12
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


@dataclass(frozen=True, slots=True)
class Label:
    """Text whose baseline begins, is centred or ends at a point."""

    x: int
    y: int
    text: str
    anchor: Anchor = "start"


def svg_labels(labels: Iterable[Label]) -> Iterator[str]:
    """The labels as elements of an SVG picture."""
    for label in labels:
        anchored = f'<text x="{label.x}" y="{label.y}" text-anchor="{label.anchor}">'
        yield f"{anchored}{escape(label.text)}</text>"


class Paper:
    """A white image to draw on; raises `UsageError` where Pillow is not installed."""

    image: Image
    draw: ImageDraw

    def __init__(self, size: tuple[int, int]) -> None:
        try:
            from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (an extra)
        except ImportError:
            raise UsageError(
                "a PNG picture needs Pillow, which is not installed",
                hint="pip install 'pydamon[png]', or name an .svg or .html file",
            ) from None
        self.image = Image.new("RGB", size, PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default(_FONT_PIXELS)

    def label(self, labels: Iterable[Label]) -> None:
        """Write labels."""
        for label in labels:
            anchor = _ANCHORS[label.anchor]
            self.draw.text((label.x, label.y), label.text, INK, self._font, anchor=anchor)

    def png(self) -> bytes:
        """The image as a file."""
        out = io.BytesIO()
        self.image.save(out, "PNG", optimize=True)
        return out.getvalue()


def new_axes(ax: Axes | None) -> Axes:
    """*ax*, or those of a new figure; raises `UsageError` where Matplotlib is not installed."""
    try:
        from matplotlib import pyplot  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UsageError(
            "plotting needs Matplotlib, which is not installed",
            hint="pip install 'pydamon[plot]', or save the picture as an .svg or .html file",
        ) from None
    axes: Axes = pyplot.subplots(layout="constrained")[1] if ax is None else ax
    return axes
