"""Regions from hot to cold, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon.analysis import HOT_RATE, RankedRegion, Temperatures
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import age, mapping_label, percent, printable, size, target_cell

__all__ = ["temperature_table"]

_MOST = 30
_HOTTEST = 20

_REGION_COLUMNS = (
    Column("temp.", rank=4),
    Column("size"),
    Column("rate"),
    Column("for", rank=6),
    Column("in memory", rank=3),
    Column("not seen", rank=3),
    Column("address", rank=7),
    Column("perms", name=True, rank=2),
    Column("mapping", name=True),
)


def temperature_table(
    temperatures: Temperatures, limit: int | None = None, *, both_ends: bool = True
) -> RenderableType:
    """The first regions of a snapshot and, of both ends, also the last; *limit* of them, or 30."""
    regions = temperatures.regions
    several = len({region.target.key for region in regions}) > 1
    last: tuple[RankedRegion, ...] = ()
    first = regions[: limit or _MOST]
    if both_ends and limit is None and len(regions) > _MOST:
        first, last = regions[:_HOTTEST], regions[_HOTTEST - _MOST :]
    between = regions[len(first) : len(regions) - len(last)]
    rows, styles = [_cells(region) for region in first], [_style(region) for region in first]
    if between:
        amount = size(sum(region.size for region in between))
        what = "regions in between" if last else "more regions"
        rows.append(["...", amount, *[""] * 6, f"{len(between)} {what}", ""])
        styles.append("")
    rows += [_cells(region) for region in last]
    styles += [_style(region) for region in last]
    columns = (
        [*_REGION_COLUMNS, Column("target", name=True, rank=5)] if several else [*_REGION_COLUMNS]
    )
    # What nothing is said in takes no room.
    said = {
        "in memory": any(region.resident_bytes >= 0 for region in regions),
        "not seen": any(region.unseen_bytes > 0 for region in regions),
    }
    shown = [i for i, column in enumerate(columns) if said.get(column.heading, True)]
    columns, rows = [columns[i] for i in shown], [[row[i] for i in shown] for row in rows]
    title = "Regions of a snapshot, from hot to cold" if both_ends else "Regions of a snapshot"
    table = Group(Text(title, style="bold"), FittingTable(columns, rows, styles))
    if any(region.age_ns < 0 for region in regions):
        note = "Ages are not in the recording, and do not count in temperatures."
        return Group(table, Text(note, style="yellow"))
    return table


def _cells(region: RankedRegion) -> list[str]:
    return [
        f"{region.temperature:.0f}",
        size(region.size),
        percent(region.rate),
        age(region.age_ns),
        "?" if region.resident_bytes < 0 else size(region.resident_bytes),
        size(region.unseen_bytes),
        f"{region.start:x}",
        printable(region.perms),
        mapping_label(region.mapping),
        target_cell(region.target),
    ]


def _style(region: RankedRegion) -> str:
    if region.rate >= HOT_RATE:
        return "yellow"
    return "" if region.rate > 0 else "blue"
