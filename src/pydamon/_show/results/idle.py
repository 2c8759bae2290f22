"""Idle memory by the time for which it has been idle."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Idle
from pydamon._model.units import format_duration
from pydamon._show.results.view import View
from pydamon._show.text import bar, percent, size

__all__ = ["IdleView"]

_WIDEST = 60
_NARROW = 44
"""Cells, below which there is no room for means and bars."""


@dataclass(frozen=True)
class IdleView(View):
    """A line for each idle time that some memory has reached."""

    idle: Idle

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        idle = self.idle
        title = "Idle memory: what reclaiming it would free"
        if idle.assumed_bytes:
            title = "Idle address space: how much of it is in memory is not known"
        yield Text(title, style="bold")
        yield from _lines(idle, options)
        longest = format_duration(idle.longest_ns) if idle.longest_ns else "0 s"
        note = f"nothing was idle longer than {longest}"
        if idle.undated_bytes:
            note = f"the recording does not say since when {size(idle.undated_bytes)} are"
        yield Text(f"of {size(idle.total_bytes)} at the end; {note}")
        if idle.unseen_bytes:
            yield Text(
                f"{size(idle.unseen_bytes)} not looked at yet: in use or not", style="yellow"
            )


def _lines(idle: Idle, options: ConsoleOptions) -> RenderResult:
    room = max(0, min(_WIDEST, options.max_width - 44))
    narrow = options.max_width < _NARROW
    heading = f"{'idle for':>12}  {'at the end':>10} {'':>6}"
    yield Text(heading if narrow else f"{heading}  {'mean':>9}", style="bold", no_wrap=True)
    columns = (idle.ages_ns, idle.last_bytes, idle.mean_bytes)
    for age_ns, last, mean in zip(*(column.tolist() for column in columns), strict=True):
        if age_ns > idle.longest_ns:
            continue
        label = format_duration(age_ns) if age_ns else "not accessed"
        share = last / idle.total_bytes if idle.total_bytes else 0.0
        drawn = bar(share, room, options.ascii_only)
        line = f"{label:>12}  {size(last):>10} {percent(share):>6}"
        line += "" if narrow else f"  {size(mean):>9}  {drawn}"
        yield Text(line.rstrip(), no_wrap=True)
