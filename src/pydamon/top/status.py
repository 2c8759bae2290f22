"""What stands above the panels, a line each: what is watched, how, and where it is."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from pydamon.analysis import HeatMap
from pydamon.analysis.heat import Range
from pydamon.core.regions import PAGE_SIZE
from pydamon.core.snapshot import Target
from pydamon.core.units import format_cpu
from pydamon.live import Frame, FrameSource, joined
from pydamon.top.heat import row_bounds
from pydamon.views.text import duration, mapping_label, percent, size, target_label

__all__ = ["how_it_is_watched", "what_is_watched", "where_it_is"]

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
