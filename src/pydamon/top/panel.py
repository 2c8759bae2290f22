"""What the panels of the screen have in common: they draw lines, and only what has changed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

__all__ = ["BOLD", "DIM", "LEFT", "PLAIN", "Panel", "map_columns", "right_width"]

BOLD, DIM, PLAIN = Style(bold=True), Style(dim=True), Style()

LEFT = 14
"""What stands left of a map: an address and an upright."""
_RIGHT = 22
_MIN_WIDTH_WITH_NAMES = 64

Shown = TypeVar("Shown")


def right_width(width: int) -> int:
    """What stands right of a map in so many cells: an upright, and names if there is room."""
    return _RIGHT if width >= _MIN_WIDTH_WITH_NAMES else 1


def map_columns(width: int) -> int:
    """How many columns a map has in so many cells."""
    return max(1, width - LEFT - right_width(width))


class Panel(Widget, Generic[Shown]):
    """Draws what it was last given; nothing, before that."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._shown: Shown | None = None

    @property
    def shown(self) -> Shown | None:
        """What is drawn."""
        return self._shown

    def show(self, what: Shown) -> None:
        """Draw this from now on."""
        self._shown = what
        self.refresh()

    @abstractmethod
    def line(self, shown: Shown, y: int) -> list[Segment]:
        """Line *y* of it."""

    def render_line(self, y: int) -> Strip:
        """What Textual asks for."""
        segments = [] if self._shown is None else self.line(self._shown, y)
        return Strip(segments).adjust_cell_length(self.size.width)
