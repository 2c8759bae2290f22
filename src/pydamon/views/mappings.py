"""Where the hot and the cold bytes are: by name, and by kind of memory."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from pydamon.analysis import Bytes, MappingHeat
from pydamon.analysis.mappings import together
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import mapping_label, percent, size, target_cell

__all__ = ["kind_table", "mapping_table"]

_COLUMNS = (
    Column("size"),
    Column("hot"),
    Column("warm", rank=3),
    Column("cold", rank=5),
    Column("idle", rank=4),
    Column("rate", rank=2),
)


def mapping_table(found: Sequence[MappingHeat], most: int | None = None) -> RenderableType:
    """The mappings as they are sorted, the first *most* of them."""
    shown, rest = found[:most], found[len(found) if most is None else most :]
    rows = [
        [*_amounts(one.size, one.rate), mapping_label(one.name), target_cell(one.target)]
        for one in shown
    ]
    if rest:
        amount = size(sum(one.size.total for one in rest))
        rows.append([amount, *[""] * 5, f"in {len(rest)} more", ""])
    columns = [*_COLUMNS, Column("mapping", name=True)]
    if len({one.target.pid for one in found}) > 1:
        columns.append(Column("target", name=True, rank=6))
    title = Text("Mappings, from the most hot bytes to the fewest", style="bold")
    return Group(title, FittingTable(columns, rows))


def kind_table(found: Sequence[MappingHeat]) -> RenderableType:
    """The bytes of files, heaps, stacks... in all targets together."""
    kinds = {kind: [one for one in found if one.kind == kind] for kind in (m.kind for m in found)}
    rows = []
    for kind, mine in sorted(kinds.items(), key=lambda item: -together(item[1])[0].hot):
        rows.append([*_amounts(*together(mine)), f"{kind} ({len(mine)})"])
    title = Text("Kinds of memory (mappings), from the most hot bytes to the fewest", style="bold")
    return Group(title, FittingTable((*_COLUMNS, Column("kind", name=True)), rows))


def _amounts(one: Bytes, rate: float) -> list[str]:
    parts = (one.total, one.hot, one.warm, one.cold, one.idle)
    return [*(size(part) if part >= 1 else "-" for part in parts), percent(rate)]
