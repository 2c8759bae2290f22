"""Heat maps as picture files, and in Matplotlib axes.

A new kind of file takes a function in a module here, and a line in `PICTURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pydamon._data.analysis import HeatMap
from pydamon._data.formats.output import replacing
from pydamon._model.errors import UsageError
from pydamon._show.pictures.draw import plot

__all__ = ["PICTURES", "picture_of", "plot", "save"]

PICTURES = {
    ".html": "page:heatmap_page",
    ".png": "draw:heatmap_png",
    ".svg": "draw:heatmap_svg",
}
"""What draws a heat map for each suffix: module and function, imported when it is needed."""


def picture_of(heatmap: HeatMap, suffix: str) -> bytes:
    """A heat map as a file with that suffix; raises `UsageError` for another one."""
    if suffix not in PICTURES:
        raise UsageError(
            f"no picture has the suffix {suffix!r}", hint=f"name one of {', '.join(PICTURES)}"
        )
    module, _, name = PICTURES[suffix].partition(":")
    draw: Callable[[HeatMap], bytes] = getattr(import_module(f"{__name__}.{module}"), name)
    return draw(heatmap)


def save(heatmap: HeatMap, path: str | Path) -> None:
    """Write a picture, over a file of that name; it appears when it is complete."""
    path = Path(path)
    picture = picture_of(heatmap, path.suffix.lower())
    with replacing(path, force=True) as file:
        file.write(picture)
