"""Regions and mappings from hot to cold, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon._data.analysis import HOT_RATE, Bytes, MappingHeat, RankedRegion, Temperatures
from pydamon._data.analysis.mappings import together
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_duration
from pydamon._show.terminal.text import (
    Column,
    FittingTable,
    age,
    mapping_label,
    percent,
    printable,
    size,
    target_cell,
    target_label,
)

__all__ = ["kind_table", "mapping_table", "region_lines", "temperature_table"]

_MAPPING_COLUMNS = {
    "total": Column("size"),
    "hot": Column("hot"),
    "warm": Column("warm", rank=3),
    "cold": Column("cold", rank=5),
    "idle": Column("idle", rank=4),
    "unseen": Column("not seen", rank=4),
    "rate": Column("rate", rank=2),
}


def mapping_table(found: Sequence[MappingHeat], most: int | None = None) -> RenderableType:
    """The mappings as they are sorted, the first *most* of them."""
    shown, rest = found[:most], found[len(found) if most is None else most :]
    amounts = _columns([one.size for one in found])
    rows = [
        [*_amounts(one.size, one.rate, amounts), mapping_label(one.name), target_cell(one.target)]
        for one in shown
    ]
    if rest:
        amount = size(sum(one.size.total for one in rest))
        rows.append([amount, *[""] * (len(amounts) - 1), f"in {len(rest)} more", ""])
    columns = [*amounts.values(), Column("mapping", name=True)]
    if len({one.target.key for one in found}) > 1:
        columns.append(Column("target", name=True, rank=6))
    title = Text("Mappings, from the most hot bytes to the fewest", style="bold")
    return Group(title, FittingTable(columns, rows), *_notes([one.size for one in found]))


def kind_table(found: Sequence[MappingHeat]) -> RenderableType:
    """The bytes of files, heaps, stacks... in all targets together."""
    kinds = {kind: [one for one in found if one.kind == kind] for kind in (m.kind for m in found)}
    sizes = [one.size for one in found]
    amounts, rows = _columns(sizes), []
    for kind, mine in sorted(kinds.items(), key=lambda item: -together(item[1])[0].hot):
        rows.append([*_amounts(*together(mine), amounts), f"{kind} ({len(mine)})"])
    title = Text("Kinds of memory (mappings), from the most hot bytes to the fewest", style="bold")
    table = FittingTable((*amounts.values(), Column("kind", name=True)), rows)
    return Group(title, table, *_notes(sizes))


def _columns(sizes: Sequence[Bytes]) -> dict[str, Column]:
    """The columns by what they show; what nobody has looked at yet only where there is some."""
    unseen = any(one.unseen >= 1 for one in sizes)
    return {name: column for name, column in _MAPPING_COLUMNS.items() if unseen or name != "unseen"}


def _amounts(one: Bytes, rate: float, columns: Iterable[str]) -> list[str]:
    amounts = (getattr(one, name) for name in columns if name != "rate")
    return [*(size(amount) if amount >= 1 else "-" for amount in amounts), percent(rate)]


def _notes(sizes: Sequence[Bytes]) -> list[Text]:
    """What sizes stand for, where that is not plain."""
    assumed = sum(one.assumed for one in sizes)
    undated = sum(one.undated for one in sizes)
    notes = []
    if assumed >= 1:
        notes.append(f"{size(assumed)} are address space: how much of it is in memory is not known")
    if undated >= 1:
        notes.append(f"{size(undated)} are cold for a time that is not in the recording")
    return [Text(note, style="yellow") for note in notes]


def region_lines(snapshot: Snapshot, started_ns: int) -> Iterator[str]:
    """A heading for each target of a snapshot, with the time since *started_ns*, and its regions.

    Plain text, since there can be a hundred thousand of them.
    """
    most = snapshot.max_nr_accesses
    since = format_duration(max(0, snapshot.start_ns - started_ns))
    mapping = snapshot.mapping
    for index, target in enumerate(snapshot.targets):
        rows = (snapshot.target == index).nonzero()[0].tolist()
        yield (
            f"{target_label(target)}: after {since}, in {format_duration(snapshot.window_ns)}, "
            f"{len(rows)} regions"
        )
        yield f"  {'address':>25} {'size':>9} {'accesses':>9} {'age':>8} {'touched':>9}  mapping"
        for i in rows:
            start, end = int(snapshot.start[i]), int(snapshot.end[i])
            accesses = f"{snapshot.nr_accesses[i]}/{most}"
            line = (
                f"  {f'{start:x}-{end:x}':>25} {size(end - start):>9} {accesses:>9} "
                f"{age(int(snapshot.age_ns[i])):>8} {size(int(snapshot.touched_bytes[i])):>9}  "
            )
            if mapping[i] < 0:
                yield line + mapping_label("")
            else:
                one = target.mappings.mappings[int(mapping[i])]
                yield f"{line}{mapping_label(one.name)} {printable(one.perms)}"


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
