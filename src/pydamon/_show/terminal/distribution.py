"""Bytes by access rate, age, idle time, temperature or size, as bars; and what is idle."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Distribution, Idle
from pydamon._model.units import format_duration, format_size
from pydamon._show.terminal.text import bar, duration, percent, size

__all__ = ["DistributionView", "IdleView"]

_WIDEST = 60
_NARROW = 44
_TITLES = {
    "rate": "access rate",
    "age": "age: for how long the access rate has held",
    "idle": "idle time",
    "temperature": "temperature",
    "size": "size of the region",
}


@dataclass(frozen=True)
class DistributionView:
    """A bar for each class: mean bytes over the time that was recorded."""

    distribution: Distribution

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.distribution
        yield Text(f"Bytes by {_TITLES[found.by]}", style="bold", overflow="fold")
        labels = [
            _class(found.by, low, high)
            for low, high in zip(found.low.tolist(), found.high.tolist(), strict=True)
        ]
        whole = float(found.size_bytes.sum())
        most = float(found.size_bytes.max(initial=0))
        left = max(map(len, labels))
        room = max(4, min(_WIDEST, options.max_width - left - 21))
        for label, amount in zip(labels, found.size_bytes.tolist(), strict=True):
            share = percent(amount / whole) if whole else "0 %"
            drawn = bar(amount / most if most else 0.0, room, options.ascii_only)
            line = f"{label:>{left}}  {size(amount):>9} {share:>6}  {drawn}"
            yield Text(line, no_wrap=True)
        marks = [f"{p:g} % {_value(found.by, value)}" for p, value in found.percentiles]
        yield Text(f"of the bytes at most: {', '.join(marks)}")
        for amount, what in (
            (found.unseen_bytes, "not looked at yet"),
            (found.unobservable_bytes, "not observable"),
            (found.undated_bytes, "not accessed, for a time that is not in the recording"),
        ):
            if amount >= 1:
                yield Text(f"besides {size(amount)}: {what}", style="yellow")


@dataclass(frozen=True)
class IdleView:
    """A line for each age that something has reached."""

    idle: Idle

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = self.idle
        title = "Idle memory: what reclaiming it would free"
        if found.assumed_bytes:
            title = "Idle address space: how much of it is in memory is not known"
        yield Text(title, style="bold")
        room = max(0, min(_WIDEST, options.max_width - 44))
        narrow = options.max_width < _NARROW
        heading = f"{'idle for':>12}  {'at the end':>10} {'':>6}"
        yield Text(heading if narrow else f"{heading}  {'mean':>9}", style="bold", no_wrap=True)
        rows = zip(
            found.ages_ns.tolist(),
            found.last_bytes.tolist(),
            found.mean_bytes.tolist(),
            strict=True,
        )
        for age_ns, last, mean in rows:
            if age_ns > found.longest_ns:
                continue
            label = format_duration(age_ns) if age_ns else "not accessed"
            share = last / found.total_bytes if found.total_bytes else 0.0
            drawn = bar(share, room, options.ascii_only)
            line = f"{label:>12}  {size(last):>10} {percent(share):>6}"
            line += "" if narrow else f"  {size(mean):>9}  {drawn}"
            yield Text(line.rstrip(), no_wrap=True)
        longest = format_duration(found.longest_ns) if found.longest_ns else "0 s"
        ages = f"nothing was idle longer than {longest}"
        if found.undated_bytes:
            ages = f"the recording does not say since when {size(found.undated_bytes)} are"
        yield Text(f"of {size(found.total_bytes)} at the end; {ages}")
        if found.unseen_bytes:
            yield Text(
                f"{size(found.unseen_bytes)} not looked at yet: in use or not", style="yellow"
            )


def _value(by: str, value: float) -> str:
    if by == "rate":
        return percent(value)
    if by == "temperature":
        return f"{value:.0f}"
    return format_size(value) if by == "size" else duration(value)


def _class(by: str, low: float, high: float) -> str:
    if by == "rate":
        return "0 %" if low == high else f"to {high * 100:.0f} %"
    if by == "temperature":
        return f"{low:.0f} to {high:.0f}"
    if by == "size":
        return f"below {format_size(high)}" if not low else f"from {format_size(low)}"
    if low == high:
        return "accessed"
    return f"from {format_duration(low)}" if low else f"below {format_duration(high)}"
