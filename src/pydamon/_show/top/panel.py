"""The base of the panels on the screen: they draw only the lines that have changed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

__all__ = ["BOLD", "DIM", "LEFT", "PLAIN", "WARN", "Panel", "map_columns", "right_width"]

BOLD, DIM, PLAIN = Style(bold=True), Style(dim=True), Style()
WARN = Style(bold=True, color="yellow")

LEFT = 14
"""Cells left of a map: an address and an upright."""

_RIGHT = 22

_MIN_WIDTH_WITH_NAMES = 64

Shown = TypeVar("Shown")


def right_width(width: int) -> int:
    """Cells right of a map that is *width* wide: an upright, and names if there is room."""
    return _RIGHT if width >= _MIN_WIDTH_WITH_NAMES else 1


def map_columns(width: int) -> int:
    """How many columns a map has in *width* cells."""
    return max(1, width - LEFT - right_width(width))


class Panel(Widget, Generic[Shown]):
    """Draws what `show` was last given; it is blank before that."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._shown: Shown | None = None
        self._drawn: list[list[Segment]] = []
        self._room = Size()

    def show(self, shown: Shown) -> None:
        """Draw this from now on: only the lines that differ from the screen."""
        before, size = self._drawn, self._room
        self._shown = shown
        self._draw()
        if self._room != size or len(before) != len(self._drawn):
            self.refresh()
            return
        pairs = enumerate(zip(before, self._drawn, strict=True))
        changed = [Region(0, y, size.width, 1) for y, (old, new) in pairs if old != new]
        if changed:
            self.refresh(*changed)

    @abstractmethod
    def lines(self, shown: Shown, width: int, height: int) -> list[list[Segment]]:
        """The lines from the top, in a panel of *width* cells and *height* lines."""

    def render_line(self, y: int) -> Strip:
        """A line, as Textual asks for it."""
        if self._room != self.size:
            self._draw()
        return Strip(self._drawn[y] if y < len(self._drawn) else []).adjust_cell_length(
            self._room.width
        )

    def _draw(self) -> None:
        self._room = size = self.size
        lines = [] if self._shown is None else self.lines(self._shown, size.width, size.height)
        self._drawn = lines[: size.height]
