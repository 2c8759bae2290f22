"""Results as picture files, and in Matplotlib axes.

A new kind of picture takes a module here with a function for each suffix, and a line in `PICTURES`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydamon._data.formats.output import replacing
from pydamon._model.display import Drawable
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PICTURES", "picture_of", "plot", "save"]

PICTURES = {
    "HeatMap": {
        ".html": "page:heatmap_page",
        ".png": "draw:heatmap_png",
        ".svg": "draw:heatmap_svg",
        "axes": "draw:plot",
    },
    "Needs": {
        ".html": "needs:needs_html",
        ".png": "needs:needs_png",
        ".svg": "needs:needs_svg",
        "axes": "needs:plot_needs",
    },
}
"""What draws each class of results, for each suffix and in Matplotlib's axes: module and function,
imported when it is needed."""


def picture_of(result: Drawable, suffix: str, **options: Any) -> bytes:
    """A result as a file with that suffix; raises `UsageError` for another one."""
    suffixes = [name for name in PICTURES[type(result).__name__] if name.startswith(".")]
    if suffix not in suffixes:
        raise UsageError(
            f"no picture has the suffix {suffix!r}", hint=f"name one of {', '.join(suffixes)}"
        )
    picture: bytes = _drawing(result, suffix)(result, **options)
    return picture


def save(result: Drawable, path: str | Path) -> None:
    """Write a picture, over a file of that name; it appears when it is complete."""
    path = Path(path)
    picture = picture_of(result, path.suffix.lower())
    with replacing(path, force=True) as file:
        file.write(picture)


def plot(result: Drawable, ax: Axes | None = None) -> Axes:
    """Draw into *ax*, or a new figure; raises `UsageError` without Matplotlib."""
    axes: Axes = _drawing(result, "axes")(result, ax)
    return axes


def _drawing(result: Drawable, kind: str) -> Any:
    module, _, name = PICTURES[type(result).__name__][kind].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), name)
