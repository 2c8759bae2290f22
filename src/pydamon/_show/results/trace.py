"""What the kernel's DAMON did, as tables: one for each tracepoint."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import EventSums, KernelTrace
from pydamon._model.units import format_duration
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import count, duration, printable, size

__all__ = ["KernelTraceView", "event_value"]

_COLUMNS = (
    Column("kdamond"),
    Column("scheme"),
    Column("events", rank=6),
    Column("field", name=True),
    Column("first", rank=5),
    Column("least", rank=4),
    Column("mean", rank=7),
    Column("most", rank=3),
    Column("last"),
)


def event_value(field: str, value: float) -> str:
    """A value of a field, with the unit that its name says."""
    if field.startswith("sz_") or field == "esz":
        return size(value)
    if field.endswith("_us"):
        return duration(value * 1000)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


@dataclass(frozen=True)
class KernelTraceView(View):
    """A table for each tracepoint, with a row for each field of each scheme."""

    trace: KernelTrace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        trace = self.trace
        events = sum(sums.count for sums in trace.sums)
        took = format_duration(trace.end_ns - trace.start_ns)
        yield Text(f"{count(events, 'event')} of the kernel's DAMON in {took}", style="bold")
        for name, group in groupby(trace.sums, lambda sums: sums.event):
            yield Text(f"\n{printable(name)}")
            yield FittingTable(_COLUMNS, [row for sums in group for row in _rows(sums)])


def _rows(sums: EventSums) -> list[list[str]]:
    head = [str(sums.kdamond), "-" if sums.scheme is None else str(sums.scheme), f"{sums.count:,}"]
    rows = []
    for name, field in sums.fields.items():
        values = (field.first, field.least, field.mean, field.most, field.last)
        rows.append([*head, printable(name), *(event_value(name, value) for value in values)])
        head = ["", "", ""]
    return rows
