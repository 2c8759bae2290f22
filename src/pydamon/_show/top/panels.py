"""The panels of the screen: targets, working set, mappings, and the lines above them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.segment import Segment
from rich.style import Style

from pydamon._data.analysis import HeatMap
from pydamon._data.analysis.heat import Range
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._model.units import format_cpu
from pydamon._show.frames import IDLE_NS, SUMS, Frame, FrameSource, joined
from pydamon._show.terminal.text import bar, duration, mapping_label, percent, size, target_label
from pydamon._show.top.heat import row_bounds
from pydamon._show.top.panel import BOLD, DIM, LEFT, PLAIN, Panel, right_width

__all__ = [
    "SORTS",
    "MappingPanel",
    "MappingsShown",
    "StatusPanel",
    "WorkingSetPanel",
    "WorkingSetShown",
    "how_it_is_watched",
    "what_is_watched",
    "where_it_is",
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


_LATELY = 10
"""Frames: the cost of a single one is that of the surveys in it, or lacks them."""


def what_is_watched(frame: Frame, target: Target, paused: bool) -> str:
    """Which target, its working set, and how many more there are."""
    others = len(frame.targets) - 1
    unseen = frame.unseen.get(target.key, 0.0)
    parts = (
        target_label(target),
        f"working set {size(frame.working_sets.get(target.key, 0.0))}",
        f"{size(unseen)} not looked at yet" if unseen >= PAGE_SIZE else "",
        f"{others} more targets: t" if others > 1 else "1 more target: t" if others else "",
        "paused" if paused else "",
        time.strftime("%H:%M:%S", time.localtime(frame.end_ns // 10**9)) if paused else "",
    )
    return " · ".join(part for part in parts if part)


def how_it_is_watched(frames: Sequence[Frame], source: FrameSource) -> str:
    """What the last of some frames cost, and how they were measured."""
    timing = joined([frame.timing for frame in frames[-_LATELY:]])
    parts = (
        f"{source.probe_name}: {format_cpu(timing.cpu_ns, timing.end_ns - timing.start_ns)}",
        f"window {duration(timing.window_ns)} ({duration(source.attrs.aggregation_ns)} asked)",
        f"sampled every {duration(timing.sampling_ns)}",
        f"{timing.late_ticks} late" if timing.late_ticks else "",
    )
    return ", ".join(part for part in parts if part)


def where_it_is(heatmap: HeatMap | None, picked: int | None, addresses: Range) -> str:
    """Which addresses are shown, or what is in the row that is picked."""
    if heatmap is None:
        return "nothing is mapped at these addresses"
    if picked is not None:
        start, end = row_bounds(heatmap, picked, picked + 1)
        rate = heatmap.rates[picked, -1]
        name = mapping_label(heatmap.row_names[picked], 30)
        now = f"accessed in {percent(rate)} of samples"
        if np.isnan(rate):
            now = "not looked at yet" if heatmap.unseen[picked, -1] else "not monitored"
        return f"{start:x}-{end:x} {name}: {now}"
    total = heatmap.axis.length + heatmap.left_out_bytes
    which = addresses if isinstance(addresses, str) else "zoomed"
    return f"addresses: {which}, {size(heatmap.axis.length)} of {size(total)}"
