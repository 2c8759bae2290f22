"""Bytes by access rate, age, idle time, temperature or size, as bars."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Distribution
from pydamon._model.units import format_duration, format_size
from pydamon._show.results.view import View
from pydamon._show.text import bar, duration, percent, size

__all__ = ["DistributionView"]

_WIDEST = 60
_TITLES = {
    "rate": "access rate",
    "age": "age: for how long the access rate has held",
    "idle": "idle time",
    "temperature": "temperature",
    "size": "size of the region",
}


@dataclass(frozen=True)
class DistributionView(View):
    """A bar for each class: mean bytes over the recorded time."""

    distribution: Distribution

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self.distribution
        yield Text(f"Bytes by {_TITLES[shown.by]}", style="bold", overflow="fold")
        yield from _bars(shown, options)
        marks = [f"{p:g} % {_value(shown.by, value)}" for p, value in shown.percentiles]
        yield Text(f"of the bytes at most: {', '.join(marks)}")
        for amount, meaning in (
            (shown.unseen_bytes, "not looked at yet"),
            (shown.unobservable_bytes, "not observable"),
            (shown.undated_bytes, "not accessed, for a time that is not in the recording"),
        ):
            if amount >= 1:
                yield Text(f"besides {size(amount)}: {meaning}", style="yellow")


def _bars(shown: Distribution, options: ConsoleOptions) -> RenderResult:
    labels = [
        _class(shown.by, low, high)
        for low, high in zip(shown.low.tolist(), shown.high.tolist(), strict=True)
    ]
    total = float(shown.size_bytes.sum())
    largest = float(shown.size_bytes.max(initial=0))
    left = max(map(len, labels))
    room = max(4, min(_WIDEST, options.max_width - left - 21))
    for label, amount in zip(labels, shown.size_bytes.tolist(), strict=True):
        share = percent(amount / total) if total else "0 %"
        drawn = bar(amount / largest if largest else 0.0, room, options.ascii_only)
        yield Text(f"{label:>{left}}  {size(amount):>9} {share:>6}  {drawn}", no_wrap=True)


def _value(by: str, value: float) -> str:
    """A percentile, in the unit of its distribution."""
    if by == "rate":
        return percent(value)
    if by == "temperature":
        return f"{value:.0f}"
    return format_size(value) if by == "size" else duration(value)


def _class(by: str, low: float, high: float) -> str:
    """The label of the class from *low* to *high*."""
    if by == "rate":
        return "0 %" if low == high else f"to {high * 100:.0f} %"
    if by == "temperature":
        return f"{low:.0f} to {high:.0f}"
    if by == "size":
        return f"below {format_size(high)}" if not low else f"from {format_size(low)}"
    if low == high:
        return "accessed"
    return f"from {format_duration(low)}" if low else f"below {format_duration(high)}"
