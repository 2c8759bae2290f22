"""How much of huge pages would be used, as a table by rate."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import HugeUse
from pydamon._model.units import format_duration, format_size
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import percent, size

__all__ = ["HugeUseView"]

_COLUMNS = (
    Column("rate"),
    Column("huge pages"),
    Column("used"),
    Column("idle"),
    Column("added", rank=5),
    Column("wasted"),
)


@dataclass(frozen=True)
class HugeUseView(View):
    """A row for each rate: the memory that has that rate or a higher one."""

    use: HugeUse

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        use = self.use
        yield Text(
            f"Huge pages of {format_size(use.block_bytes)}, of {format_size(use.resident_bytes)}; "
            f"used within {format_duration(use.idle_ns)}",
            style="bold",
        )
        rows = [
            [
                f">= {percent(point.min_rate)}",
                f"{point.blocks:,}",
                size(point.used_bytes),
                size(point.idle_bytes),
                size(point.added_bytes),
                percent(point.wasted_bytes / max(1, use.resident_bytes)),
            ]
            for point in use.points
        ]
        yield FittingTable(_COLUMNS, rows)
