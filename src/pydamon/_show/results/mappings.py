"""Mappings, or kinds of memory, from the most hot bytes to the fewest, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Bytes, MappingHeat
from pydamon._data.analysis.mappings import together
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import mapping_label, percent, size, target_cell

__all__ = ["KindsView", "MappingsView"]

_COLUMNS = {
    "total": Column("size"),
    "hot": Column("hot"),
    "warm": Column("warm", rank=3),
    "cold": Column("cold", rank=5),
    "idle": Column("idle", rank=4),
    "unseen": Column("not seen", rank=4),
    "rate": Column("rate", rank=2),
}


@dataclass(frozen=True)
class MappingsView(View):
    """A row for each mapping, of the first *most*; one more row sums up the rest."""

    mappings: Sequence[MappingHeat]
    most: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sizes = [heat.size for heat in self.mappings]
        amounts = _columns(sizes)
        shown = self.mappings[: self.most]
        rest = self.mappings[len(shown) :]
        rows = [
            [
                *_amounts(heat.size, heat.rate, amounts),
                mapping_label(heat.name),
                target_cell(heat.target),
            ]
            for heat in shown
        ]
        if rest:
            total = size(sum(heat.size.total for heat in rest))
            rows.append([total, *[""] * (len(amounts) - 1), f"in {len(rest)} more", ""])
        columns = [*amounts.values(), Column("mapping", name=True)]
        if len({heat.target.key for heat in self.mappings}) > 1:
            columns.append(Column("target", name=True, rank=6))
        yield Text("Mappings, from the most hot bytes to the fewest", style="bold")
        yield FittingTable(columns, [row[: len(columns)] for row in rows])
        yield from _notes(sizes)


@dataclass(frozen=True)
class KindsView(View):
    """A row for each kind of memory (files, heaps, stacks...), over all targets."""

    mappings: Sequence[MappingHeat]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sizes = [heat.size for heat in self.mappings]
        amounts = _columns(sizes)
        kinds: dict[str, list[MappingHeat]] = {}
        for heat in self.mappings:
            kinds.setdefault(heat.kind, []).append(heat)
        rows = [
            [*_amounts(*together(members), amounts), f"{kind} ({len(members)})"]
            for kind, members in sorted(kinds.items(), key=lambda item: -together(item[1])[0].hot)
        ]
        yield Text("Kinds of memory (mappings), from the most hot bytes to the fewest", "bold")
        yield FittingTable((*amounts.values(), Column("kind", name=True)), rows)
        yield from _notes(sizes)


def _columns(sizes: Sequence[Bytes]) -> dict[str, Column]:
    """The columns by the amounts that they show; "unseen" only where there is such memory."""
    unseen = any(amounts.unseen >= 1 for amounts in sizes)
    return {name: column for name, column in _COLUMNS.items() if unseen or name != "unseen"}


def _amounts(amounts: Bytes, rate: float, columns: Iterable[str]) -> list[str]:
    values = [getattr(amounts, name) for name in columns if name != "rate"]
    return [*(size(value) if value >= 1 else "-" for value in values), percent(rate)]


def _notes(sizes: Sequence[Bytes]) -> Iterator[Text]:
    """What the sizes leave open."""
    assumed = sum(amounts.assumed for amounts in sizes)
    undated = sum(amounts.undated for amounts in sizes)
    if assumed >= 1:
        note = f"{size(assumed)} are address space: how much of it is in memory is not known"
        yield Text(note, style="yellow")
    if undated >= 1:
        note = f"{size(undated)} are cold for a time that is not in the recording"
        yield Text(note, style="yellow")
