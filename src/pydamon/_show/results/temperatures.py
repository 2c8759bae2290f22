"""The regions of a snapshot from hot to cold, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import RankedRegion, Temperatures
from pydamon._model.classify import heat_class
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import age, frequency, mapping_label, percent, printable, size, target_cell

__all__ = ["TemperaturesView"]

_MOST = 30
_HOTTEST = 20
_COLUMNS = (
    Column("temp.", rank=4),
    Column("size"),
    Column("rate"),
    Column("per second", rank=8),
    Column("for", rank=6),
    Column("in memory", rank=3),
    Column("not seen", rank=3),
    Column("address", rank=7),
    Column("perms", name=True, rank=2),
    Column("mapping", name=True),
    Column("target", name=True, rank=5),
)
_STYLES = {"hot": "yellow", "warm": "", "cold": "blue"}


@dataclass(frozen=True)
class TemperaturesView(View):
    """The first *limit* regions, or 30; with *both_ends* the last ones of many regions, too."""

    temperatures: Temperatures
    limit: int | None = None
    both_ends: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        regions = self.temperatures.regions
        title = "Regions of a snapshot, from hot to cold"
        yield Text(title if self.both_ends else "Regions of a snapshot", style="bold")
        yield self._table(options.ascii_only)
        if any(region.age_ns < 0 for region in regions):
            note = "Ages are not in the recording, and do not count in temperatures."
            yield Text(note, style="yellow")

    def _table(self, ascii_only: bool) -> FittingTable:
        regions = self.temperatures.regions
        first, last = regions[: self.limit or _MOST], regions[:0]
        if self.both_ends and self.limit is None and len(regions) > _MOST:
            first, last = regions[:_HOTTEST], regions[_HOTTEST - _MOST :]
        between = regions[len(first) : len(regions) - len(last)]
        rows = [_row(region, ascii_only) for region in first]
        styles = [_STYLES[heat_class(region.rate)] for region in first]
        if between:
            amount = size(sum(region.size for region in between))
            label = "regions in between" if last else "more regions"
            rows.append(["...", amount, *[""] * 7, f"{len(between)} {label}", ""])
            styles.append("")
        rows += [_row(region, ascii_only) for region in last]
        styles += [_STYLES[heat_class(region.rate)] for region in last]
        # A column with the same to say of every region is left out.
        telling = {
            "in memory": any(region.resident_bytes >= 0 for region in regions),
            "not seen": any(region.unseen_bytes > 0 for region in regions),
            "target": len({region.target.key for region in regions}) > 1,
        }
        shown = [i for i, column in enumerate(_COLUMNS) if telling.get(column.heading, True)]
        columns = [_COLUMNS[i] for i in shown]
        return FittingTable(columns, [[row[i] for i in shown] for row in rows], styles)


def _row(region: RankedRegion, ascii_only: bool) -> list[str]:
    return [
        f"{region.temperature:.0f}",
        size(region.size),
        percent(region.rate),
        frequency(region.access_hz, region.access_hz_error, ascii_only),
        age(region.age_ns),
        "?" if region.resident_bytes < 0 else size(region.resident_bytes),
        size(region.unseen_bytes),
        f"{region.start:x}",
        printable(region.perms),
        mapping_label(region.mapping),
        target_cell(region.target),
    ]
