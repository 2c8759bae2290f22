"""The working set over time: a column below each column of the heat map."""

from __future__ import annotations

from dataclasses import dataclass

from rich.segment import Segment

from pydamon._show.text import size
from pydamon._show.top.panel import BOLD, DIM, LEFT, Panel, right_width

__all__ = ["WorkingSetPanel", "WorkingSetShown"]

_EIGHTHS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class WorkingSetShown:
    """The working set of each column in bytes, `None` where it is not known."""

    sizes: tuple[float | None, ...]


class WorkingSetPanel(Panel[WorkingSetShown]):
    """Columns as high as the working set was."""

    def lines(self, shown: WorkingSetShown, width: int, height: int) -> list[list[Segment]]:
        """The columns with their scale, and the newest size on the right."""
        known = [size_bytes for size_bytes in shown.sizes if size_bytes is not None]
        top = max(known, default=0.0)
        unit = top / (8 * height) if top else 1.0
        eighths = [None if amount is None else round(amount / unit) for amount in shown.sizes]
        now = f" now {size(known[-1])}" if known and right_width(width) > 1 else ""
        labels = {0: size(top), height - 1: "0"}
        lines = []
        for y in range(height):
            below = 8 * (height - 1 - y)
            text = "".join(
                " " if tall is None else _EIGHTHS[min(8, max(0, tall - below))] for tall in eighths
            )
            label = labels.get(y, "working set" if y == height // 2 else "")
            lines.append(
                [
                    Segment(f"{label:>{LEFT - 1}}", DIM),
                    Segment("│", DIM),
                    Segment(text),
                    Segment("│", DIM),
                    Segment(now if y == 0 else "", BOLD),
                ]
            )
        return lines
