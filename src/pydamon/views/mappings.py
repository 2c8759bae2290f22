"""Where the hot and the cold bytes are: by name, and by kind of memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon.analysis import Bytes, MappingHeat
from pydamon.analysis.mappings import together
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import mapping_label, percent, size, target_cell

__all__ = ["kind_table", "mapping_table"]

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
