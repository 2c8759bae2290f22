"""Which objects are hot, cold or untouched, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon._objects import ObjectReport, ObjectUse
from pydamon._show.terminal.text import Column, FittingTable, duration, percent, printable, size

__all__ = ["object_rows", "object_table", "object_title"]

_MOST_NAMES = 3
HEADINGS = ("size", "state", "rate", "idle for", "kind", "object")


def object_title(report: ObjectReport) -> str:
    """How much of what was found is hot, cold, untouched, and in no object."""
    parts = [
        f"{state} {size(report.bytes_of(state))}"
        for state in ("hot", "cold", "untouched", "unknown")
        if report.bytes_of(state)
    ]
    time = f"{duration(report.duration_ns)} in windows of {duration(report.window_ns)}"
    other = f"elsewhere {size(report.other_bytes)}"
    return f"{len(report)} objects: {', '.join([*parts, other])}, in {time} ({report.probe})"


def object_rows(report: ObjectReport, most: int | None = None) -> list[list[str]]:
    """A row an object, of the first *most*, under `HEADINGS`."""
    return [_row(one) for one in report.objects[:most]]


def object_table(report: ObjectReport, most: int | None = None) -> RenderableType:
    """The title, and a row an object: hot ones first."""
    rank = {"rate": 3, "kind": 4}
    columns = [Column(h, name=h == "object", rank=rank.get(h, 0)) for h in HEADINGS]
    return Group(
        Text(object_title(report), style="bold"), FittingTable(columns, object_rows(report, most))
    )


def _row(one: ObjectUse) -> list[str]:
    names = [printable(name) for name in one.buffer.names[:_MOST_NAMES]] or [one.name]
    seen = one.state != "unknown"
    return [
        size(one.size),
        one.state,
        percent(one.rate) if seen else "",
        duration(one.idle_ns) if one.idle_ns is not None else "",
        one.buffer.kind,
        " = ".join(names),
    ]
