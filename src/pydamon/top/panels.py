"""The other panels: what is watched, its working set over time, and its mappings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.segment import Segment
from rich.style import Style

from pydamon.live import IDLE_NS, SUMS, Frame
from pydamon.top.panel import BOLD, DIM, LEFT, PLAIN, Panel, right_width
from pydamon.views.text import bar, duration, mapping_label, percent, size

__all__ = [
    "SORTS",
    "MappingPanel",
    "MappingsShown",
    "StatusPanel",
    "WorkingSetPanel",
    "WorkingSetShown",
]

SORTS = ("hot", "cold", "idle", "total", "name")
"""What mappings can be ranked by."""

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_NUMBER = 9
_BAR = 10
_COLUMNS = (
    (100, ("total", "hot", "warm", "cold", "idle")),
    (64, ("total", "hot", "cold", "idle")),
    (0, ("hot", "idle")),
)
"""Which columns there are from which width on."""


class StatusPanel(Panel[tuple[tuple[str, Style], ...]]):
    """A few lines of text, each in a style."""

    def line(self, shown: tuple[tuple[str, Style], ...], y: int) -> list[Segment]:
        """One of them."""
        if y >= len(shown):
            return []
        text, style = shown[y]
        return [Segment(text.ljust(self.size.width), style)]


@dataclass(frozen=True)
class WorkingSetShown:
    """The working set of each column in bytes, `None` where nothing is known."""

    sizes: tuple[float | None, ...]


class WorkingSetPanel(Panel[WorkingSetShown]):
    """Columns as high as the working set was, below those of the heat map."""

    def line(self, shown: WorkingSetShown, y: int) -> list[Segment]:
        """One line of the columns, from the top."""
        height = self.size.height
        known = [one for one in shown.sizes if one is not None]
        top = max(known, default=0.0)
        left = {0: size(top), height - 1: "0"}.get(y, "working set" if y == height // 2 else "")
        unit = top / (8 * height) if top else 1.0
        below = 8 * (height - 1 - y)
        text = "".join(
            " " if one is None else _EIGHTHS[min(8, max(0, round(one / unit) - below))]
            for one in shown.sizes
        )
        right = f" now {size(known[-1])}" if y == 0 and known else ""
        right = right if right_width(self.size.width) > 1 else ""
        return [
            Segment(f"{left:>{LEFT - 1}}", DIM),
            Segment("│", DIM),
            Segment(text),
            Segment("│", DIM),
            Segment(right, BOLD),
        ]


@dataclass(frozen=True)
class MappingsShown:
    """The mappings of one target in a frame, ranked: shape (rows, 8), the columns of `SUMS`."""

    names: tuple[str, ...]
    sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    sort: str

    @classmethod
    def of(cls, frame: Frame, pid: int, sort: str) -> MappingsShown:
        """Those of a frame, sorted by one of `SORTS`."""
        pids = np.array([target.pid for target in frame.targets])
        mine = np.flatnonzero(pids[frame.sum_target] == pid)
        names = [frame.names[code] for code in frame.sum_name[mine].tolist()]
        sums = frame.sums[mine]
        if sort == "name":
            order: Sequence[int] = sorted(range(len(names)), key=names.__getitem__)
        else:
            keys = (sums[:, SUMS.index("total")], sums[:, SUMS.index("heat")])
            order = np.lexsort((*keys, sums[:, SUMS.index(sort)]))[::-1].tolist()
        return cls(tuple(names[i] for i in order), sums[order], sort)


class MappingPanel(Panel[MappingsShown]):
    """A table with as many mappings as there is room for, and a line for the others."""

    def line(self, shown: MappingsShown, y: int) -> list[Segment]:
        """The header, a mapping, or how many more there are."""
        width = self.size.width
        columns = next(columns for least, columns in _COLUMNS if width >= least)
        name_width = max(8, width - len(columns) * (_NUMBER + 1) - _BAR - 6)
        if y == 0:
            return _header(shown.sort, columns, name_width)
        room, count = self.size.height - 1, len(shown.names)
        if y == room < count:
            return [Segment(f"and {count - room + 1} more mappings", DIM)]
        if y > count:
            return []
        sums = shown.sums[y - 1]
        total, heat = sums[SUMS.index("total")], sums[SUMS.index("heat")]
        rate = heat / total if total else 0.0
        label = mapping_label(shown.names[y - 1], name_width)
        cells = [Segment(f"{label:<{name_width}}")]
        for name in columns:
            style = BOLD if name == shown.sort else PLAIN
            value = sums[SUMS.index(name)]
            # Half a page is nothing: means of windows in which hardly anything was so.
            text = size(value) if value >= 2048 else "-"
            cells.append(Segment(f" {text:>{_NUMBER}}", style))
        return [*cells, Segment(f" {percent(rate):>5}"), Segment(f" {bar(rate, _BAR)}")]


def _header(sort: str, columns: Sequence[str], name_width: int) -> list[Segment]:
    titles = {"total": "size", "idle": f"idle {duration(IDLE_NS).replace(' ', '')}"}

    def title(name: str) -> str:
        return titles.get(name, name) + ("▼" if name == sort else "")

    first = "mapping▲" if sort == "name" else "mapping"
    cells = "".join(f" {title(name):>{_NUMBER}}" for name in columns)
    return [Segment(f"{first:<{name_width}}{cells}  rate", Style(bold=True, underline=True))]
