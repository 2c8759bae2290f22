"""The lines of text on the screen: the target, how it is measured, the addresses, a caveat."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

import numpy as np
from rich.segment import Segment
from rich.style import Style

from pydamon._data.analysis import HeatMap
from pydamon._data.analysis.heat import Range
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Target
from pydamon._model.units import format_cpu
from pydamon._show.frames import Frame, FrameSource, joined
from pydamon._show.text import (
    count,
    duration,
    frequency,
    mapping_label,
    percent,
    printable,
    size,
    target_label,
)
from pydamon._show.top.heat import row_bounds
from pydamon._show.top.panel import Panel

__all__ = [
    "StatusPanel",
    "addresses_line",
    "caveat_lines",
    "measuring_line",
    "target_line",
]

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
        f"{size(unseen)} not looked at yet" if unseen >= PAGE_SIZE else "",
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
