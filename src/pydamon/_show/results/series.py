"""Bytes over time as a line of text, and what reports of many targets share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration
from pydamon._show.text import target_label

__all__ = ["largest", "rest_note", "series_label", "sparkline"]

_T = TypeVar("_T")

_MOST_TARGETS = 20
_LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " .:-=+*#@"
_WIDEST = 100


def largest(series: Sequence[_T], amount: Callable[[_T], int]) -> Sequence[_T]:
    """The series of all targets; of more than twenty, the twenty with the largest amounts."""
    if len(series) <= _MOST_TARGETS:
        return series
    return sorted(series, key=amount, reverse=True)[:_MOST_TARGETS]


def rest_note(series: Sequence[object]) -> RenderResult:
    """A line that says how many series `largest` left out, if any."""
    if len(series) > _MOST_TARGETS:
        yield Text(f"\nand {len(series) - _MOST_TARGETS} smaller targets: see --pid, or --json")


def series_label(target: Target | None) -> str:
    """The target of a series; `None` stands for all targets together."""
    return target_label(target) if target else "All targets"


def sparkline(
    label: str,
    end_ns: NDArray[np.int64],
    size_bytes: NDArray[np.int64],
    options: ConsoleOptions,
    *,
    axis: bool = True,
) -> RenderResult:
    """Bytes over time in one line, each character the mean of the snapshots that end in it.

    *end_ns* and *size_bytes* have one entry a snapshot. With *axis*, a second line has the time.
    """
    left = len(label) + 1
    columns = min(max(10, options.max_width - left - 2), _WIDEST, max(1, len(size_bytes)))
    if not size_bytes.any() or columns < 2:
        return
    levels = _ASCII_LEVELS if options.ascii_only else _LEVELS
    heights = _heights(end_ns, size_bytes, columns)
    steps = np.ceil(heights * (len(levels) - 1)).astype(int)
    steps = np.minimum(steps, len(levels) - 1)
    yield Text(f"{label} " + "".join(levels[step] for step in steps.tolist()), no_wrap=True)
    if axis:
        end = format_duration(int(np.ptp(end_ns)))
        yield Text(" " * left + "0 s" + f"{end:>{max(len(end) + 1, columns - 3)}}", no_wrap=True)


def _heights(
    end_ns: NDArray[np.int64], size_bytes: NDArray[np.int64], columns: int
) -> NDArray[np.float64]:
    """The mean of each column as a share of the largest snapshot: shape (columns,)."""
    time_ns = end_ns - end_ns.min()
    place = np.minimum(time_ns * (columns / max(1, int(time_ns.max()))), columns - 1)
    place = place.astype(np.int64)
    counts = np.bincount(place, minlength=columns)
    means = np.bincount(place, size_bytes, columns) / np.maximum(counts, 1)
    # A column in which no snapshot ends repeats the newest one before it.
    filled = np.maximum.accumulate(np.where(counts > 0, np.arange(columns), 0))
    heights: NDArray[np.float64] = means[filled] / int(size_bytes.max())
    return heights
