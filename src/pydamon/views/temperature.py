"""Regions from hot to cold, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydamon.analysis import HOT_RATE, Temperatures, WarmRegion
from pydamon.views.text import duration, mapping_label, percent, printable, size, target_label

__all__ = ["temperature_table"]

_MOST = 30
_HOTTEST = 20
_NAME_WIDTH = 24


def temperature_table(temperatures: Temperatures) -> RenderableType:
    """The hottest and the coldest regions of a snapshot, or all where they are few."""
    regions = temperatures.regions
    several = len({region.target.pid for region in regions}) > 1
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("temp.", "size", "rate", "for", "address"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("mapping", overflow="fold")
    if several:
        table.add_column("target", overflow="fold")
    first, last = regions, regions[:0]
    if len(regions) > _MOST:
        first, last = regions[:_HOTTEST], regions[_HOTTEST - _MOST :]
    for region in first:
        table.add_row(*_cells(region, several), style=_style(region))
    if last:
        between = regions[_HOTTEST : _HOTTEST - _MOST]
        amount = size(sum(region.size for region in between))
        table.add_row("...", amount, "", "", "", f"{len(between)} regions in between")
    for region in last:
        table.add_row(*_cells(region, several), style=_style(region))
    title = Text("Regions of the last snapshot, from hot to cold", style="bold")
    return Group(title, table)


def _cells(region: WarmRegion, several: bool) -> list[Text]:
    cells = (
        f"{region.temperature:.0f}",
        size(region.size),
        percent(region.rate),
        duration(region.age_ns),
        f"{region.start:x}",
        f"{printable(region.perms):4} {mapping_label(region.mapping, _NAME_WIDTH)}",
        target_label(region.target),
    )
    return [Text(cell) for cell in cells[: 7 if several else 6]]


def _style(region: WarmRegion) -> str:
    if region.rate >= HOT_RATE:
        return "yellow"
    return "" if region.rate > 0 else "blue"
