"""The panels of `pydamon top` around the pictures: status and mappings."""

from __future__ import annotations

import textwrap
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from pydamon._data.analysis import HeatMap
from pydamon._data.analysis.heat import Range
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.snapshot import Target
from pydamon._model.units import format_cpu
from pydamon._show.frames import IDLE_NS, SUMS, Frame, FrameSource, joined
from pydamon._show.text import (
    bar,
    count,
    duration,
    frequency,
    mapping_label,
    percent,
    printable,
    size,
    target_label,
)

__all__ = [
    "BOLD",
    "DIM",
    "KEYS",
    "LEFT",
    "PLAIN",
    "SORTS",
    "WARN",
    "MappingsShown",
    "Panel",
    "StatusPanel",
    "addresses_line",
    "caveat_lines",
    "map_columns",
    "mapping_lines",
    "measuring_line",
    "right_width",
    "row_bounds",
    "target_line",
]

KEYS = "  ".join(
    (
        *("q quit", "space pause", "←→ time", "s sort", "↑↓ pick", "+- zoom", "f hot", "a all"),
        *("o owners", "t target"),
    )
)
"""What keys do; the last does not fit on 80 columns, and stands beside the target's name, too."""

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


_LATELY = 10
"""Frames to take a mean of: a single frame has the cost of all of a survey, or none of it."""
_MOST_CAVEAT_LINES = 3


class StatusPanel(Panel[tuple[tuple[str, Style], ...]]):
    """A few lines of text, each in a style."""

    def lines(
        self, shown: tuple[tuple[str, Style], ...], width: int, height: int
    ) -> list[list[Segment]]:
        """All lines, each filled up to the width."""
        return [[Segment(text.ljust(width), style)] for text, style in shown]


def target_line(frame: Frame, target: Target, paused: bool) -> str:
    """The target, its working set, and how many more targets there are."""
    others = len(frame.targets) - 1
    unseen = frame.unseen.get(target.key, 0.0)
    parts = (
        target_label(target),
        f"working set {size(frame.working_sets.get(target.key, 0.0))}",
        f"{size(unseen)} not looked at yet" if unseen >= SMALLEST_PAGE else "",
        f"{count(others, 'more target')}: t" if others else "",
        "paused" if paused else "",
        time.strftime("%H:%M:%S", time.localtime(frame.end_ns // 10**9)) if paused else "",
    )
    return " · ".join(part for part in parts if part)


def measuring_line(frames: Sequence[Frame], source: FrameSource) -> str:
    """What monitoring cost lately, how long windows are, and how often memory is sampled."""
    timing = joined([frame.timing for frame in frames[-_LATELY:]])
    parts = (
        f"{source.probe_name}: {format_cpu(timing.cpu_ns, timing.end_ns - timing.start_ns)}",
        f"window {duration(timing.window_ns)} ({duration(source.attrs.aggregation_ns)} asked)",
        f"sampled every {duration(timing.sampling_ns)}",
        f"{timing.late_ticks} late" if timing.late_ticks else "",
    )
    return ", ".join(part for part in parts if part)


def addresses_line(
    heatmap: HeatMap | None, picked: int | None, addresses: Range, sampling_ns: int
) -> str:
    """The addresses that are shown, or the row that is picked."""
    if heatmap is None:
        return "nothing is mapped at these addresses"
    if picked is not None:
        start, end = row_bounds(heatmap, picked, picked + 1)
        name = mapping_label(heatmap.row_names[picked], 30)
        return f"{start:x}-{end:x} {name}: {_rate_text(heatmap, picked, sampling_ns)}"
    total = heatmap.axis.length + heatmap.left_out_bytes
    which = addresses if isinstance(addresses, str) else "zoomed"
    return f"addresses: {which}, {size(heatmap.axis.length)} of {size(total)}"


def _rate_text(heatmap: HeatMap, row: int, sampling_ns: int) -> str:
    """The newest access rate of a row."""
    rate = heatmap.rates[row, -1]
    if np.isnan(rate):
        return "not looked at yet" if heatmap.unseen[row, -1] else "not monitored"
    per_second = frequency(rate * 1e9 / max(1, sampling_ns))
    return f"accessed in {percent(rate)} of samples, {per_second}"


def caveat_lines(caveat: str, width: int) -> list[str]:
    """Why figures may be wrong at the moment, in lines of *width* cells; none without a reason."""
    if not caveat:
        return []
    text = f"figures may be wrong: {printable(caveat)}"
    return textwrap.wrap(text, max(20, width), max_lines=_MOST_CAVEAT_LINES, placeholder=" ...")


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

    def __len__(self) -> int:
        return len(self.names)

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


def mapping_lines(shown: MappingsShown, width: int, height: int) -> list[list[Segment]]:
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


def row_bounds(heatmap: HeatMap, first: int, beyond: int) -> tuple[int, int]:
    """The addresses from one row to another, in whole pages."""
    low = int(heatmap.row_edges[first]) // SMALLEST_PAGE * SMALLEST_PAGE
    high = max(
        low + SMALLEST_PAGE, -(-int(heatmap.row_edges[beyond]) // SMALLEST_PAGE) * SMALLEST_PAGE
    )
    start, last = heatmap.axis.address(np.array([low, min(high, heatmap.axis.length) - 1])).tolist()
    return start, last + 1
