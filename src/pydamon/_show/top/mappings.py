"""The mappings of a target, ranked, in as many rows as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.segment import Segment
from rich.style import Style

from pydamon._model.snapshot import Target
from pydamon._show.frames import IDLE_NS, SUMS, Frame
from pydamon._show.text import bar, duration, mapping_label, percent, size
from pydamon._show.top.panel import BOLD, DIM, PLAIN, Panel

__all__ = ["SORTS", "MappingPanel", "MappingsShown"]

SORTS = ("hot", "cold", "idle", "total", "name")
"""What mappings can be ranked by."""

_NUMBER = 9
_BAR = 10
_COLUMNS = (
    (100, ("total", "hot", "warm", "cold", "idle")),
    (64, ("total", "hot", "cold", "idle")),
    (0, ("hot", "idle")),
)
"""The columns from each width on."""


@dataclass(frozen=True)
class MappingsShown:
    """The mappings of one target in a frame, ranked: shape (rows, sums), the columns of `SUMS`."""

    names: tuple[str, ...]
    sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    sort: str

    @classmethod
    def of(cls, frame: Frame, target: Target, sort: str) -> MappingsShown:
        """The mappings of a target in a frame, sorted by one of `SORTS`."""
        is_target = np.array([known.key == target.key for known in frame.targets], np.bool_)
        mine = np.flatnonzero(is_target[frame.sum_target])
        names = [frame.names[code] for code in frame.sum_name[mine].tolist()]
        sums = frame.sums[mine]
        if sort == "name":
            order: Sequence[int] = sorted(range(len(names)), key=names.__getitem__)
        else:
            keys = (sums[:, SUMS.index("total")], sums[:, SUMS.index("heat")])
            order = np.lexsort((*keys, sums[:, SUMS.index(sort)]))[::-1].tolist()
        return cls(tuple(names[i] for i in order), sums[order], sort)


class MappingPanel(Panel[MappingsShown]):
    """A table, and a line that counts the mappings that do not fit."""

    def lines(self, shown: MappingsShown, width: int, height: int) -> list[list[Segment]]:
        """The header, the mappings, and how many more there are."""
        columns = next(columns for least, columns in _COLUMNS if width >= least)
        name_width = max(8, width - len(columns) * (_NUMBER + 1) - _BAR - 6)
        count = len(shown.names)
        fit = count if count < height else max(1, height - 2)
        lines = [_header(shown.sort, columns, name_width)]
        lines += [_row(shown, i, columns, name_width) for i in range(fit)]
        if fit < count:
            lines.append([Segment(f"and {count - fit} more mappings", DIM)])
        return lines


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
        # Less than half a page is what the mean makes of windows with hardly any.
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
