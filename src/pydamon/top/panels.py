"""The other panels: what is watched, its working set over time, and its mappings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.segment import Segment
from rich.style import Style

from pydamon.core.snapshot import Target
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

    def lines(
        self, shown: tuple[tuple[str, Style], ...], width: int, height: int
    ) -> list[list[Segment]]:
        """All of them."""
        return [[Segment(text.ljust(width), style)] for text, style in shown]


@dataclass(frozen=True)
class WorkingSetShown:
    """The working set of each column in bytes, `None` where nothing is known."""

    sizes: tuple[float | None, ...]


class WorkingSetPanel(Panel[WorkingSetShown]):
    """Columns as high as the working set was, below those of the heat map."""

    def lines(self, shown: WorkingSetShown, width: int, height: int) -> list[list[Segment]]:
        """The columns, and what they are."""
        known = [one for one in shown.sizes if one is not None]
        top = max(known, default=0.0)
        unit = top / (8 * height) if top else 1.0
        eighths = [None if one is None else round(one / unit) for one in shown.sizes]
        now = f" now {size(known[-1])}" if known and right_width(width) > 1 else ""
        left = {0: size(top), height - 1: "0"}
        found = []
        for y in range(height):
            below = 8 * (height - 1 - y)
            text = "".join(
                " " if one is None else _EIGHTHS[min(8, max(0, one - below))] for one in eighths
            )
            label = left.get(y, "working set" if y == height // 2 else "")
            found.append(
                [
                    Segment(f"{label:>{LEFT - 1}}", DIM),
                    Segment("│", DIM),
                    Segment(text),
                    Segment("│", DIM),
                    Segment(now if y == 0 else "", BOLD),
                ]
            )
        return found


@dataclass(frozen=True)
class MappingsShown:
    """The mappings of one target in a frame, ranked: shape (rows, sums), the columns of `SUMS`."""

    names: tuple[str, ...]
    sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    sort: str

    @classmethod
    def of(cls, frame: Frame, target: Target, sort: str) -> MappingsShown:
        """Those of a frame, sorted by one of `SORTS`."""
        its = np.array([one.key == target.key for one in frame.targets], np.bool_)
        mine = np.flatnonzero(its[frame.sum_target])
        names = [frame.names[code] for code in frame.sum_name[mine].tolist()]
        sums = frame.sums[mine]
        if sort == "name":
            order: Sequence[int] = sorted(range(len(names)), key=names.__getitem__)
        else:
            keys = (sums[:, SUMS.index("total")], sums[:, SUMS.index("heat")])
            order = np.lexsort((*keys, sums[:, SUMS.index(sort)]))[::-1].tolist()
        return cls(tuple(names[i] for i in order), sums[order], sort)


class MappingPanel(Panel[MappingsShown]):
    """A table with as many mappings as there is room for, and mostly a line for the others."""

    def lines(self, shown: MappingsShown, width: int, height: int) -> list[list[Segment]]:
        """The header, the mappings, and how many more there are."""
        columns = next(columns for least, columns in _COLUMNS if width >= least)
        name_width = max(8, width - len(columns) * (_NUMBER + 1) - _BAR - 6)
        count = len(shown.names)
        fit = count if count < height else max(1, height - 2)
        found = [_header(shown.sort, columns, name_width)]
        found += [_row(shown, i, columns, name_width) for i in range(fit)]
        if fit < count:
            found.append([Segment(f"and {count - fit} more mappings", DIM)])
        return found


def _row(
    shown: MappingsShown, index: int, columns: Sequence[str], name_width: int
) -> list[Segment]:
    sums = shown.sums[index]
    total, heat = sums[SUMS.index("total")], sums[SUMS.index("heat")]
    rate = heat / total if total else 0.0
    label = mapping_label(shown.names[index], name_width)
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
