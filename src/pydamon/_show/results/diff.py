"""Two recordings side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Diff, MappingDiff, Summary
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.units import format_duration
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import mapping_label, percent, printable, size

__all__ = ["DiffView", "change", "changes", "totals_table"]

_MOST = 20
_NEGLIGIBLE = SMALLEST_PAGE
"""Bytes: a change of less than a page counts as no change."""

_TOTAL_COLUMNS = (
    Column("", name=True),
    Column("before"),
    Column("after"),
    Column("change"),
    Column("", rank=1),
)
_MAPPING_COLUMNS = (
    Column("hot before", rank=4),
    Column("after", rank=4),
    Column("change"),
    Column("idle", rank=3),
    Column("size", rank=5),
    Column("rate", rank=2),
    Column("mapping", name=True),
    Column("target", name=True, rank=6),
)


@dataclass(frozen=True)
class DiffView(View):
    """Totals, then the mappings that changed most."""

    diff: Diff

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("Before and after", style="bold")
        yield totals_table(_totals(self.diff.before, self.diff.after))
        yield Text()
        yield from _mappings(self.diff.mappings)


def _totals(before: Summary, after: Summary) -> Iterator[tuple[str, float, float]]:
    """The label of each total, and its bytes before and after."""
    old, new = before.size, after.size
    old_set, new_set = before.working_set.total, after.working_set.total
    # A recording may not know how much of the address space is in memory.
    yield "address space" if old.assumed or new.assumed else "in memory", old.total, new.total
    yield "working set, median", old_set.median, new_set.median
    yield "working set, most", old_set.most, new_set.most
    yield "hot", old.hot, new.hot
    yield "warm", old.warm, new.warm
    yield "cold", old.cold, new.cold
    yield f"idle for {format_duration(before.idle_ns)}", old.idle, new.idle
    if old.unseen or new.unseen:
        yield "not looked at yet", old.unseen, new.unseen


def _mappings(mappings: Sequence[MappingDiff]) -> RenderResult:
    changed = [mapping for mapping in mappings if _has_changed(mapping)]
    several = len({mapping.target_name for mapping in mappings}) > 1
    columns = _MAPPING_COLUMNS if several else _MAPPING_COLUMNS[:-1]
    yield from changes(
        "mapping",
        "hot",
        columns,
        [_row(mapping)[: len(columns)] for mapping in changed],
        [mapping.after.hot - mapping.before.hot for mapping in changed],
    )


def _row(mapping: MappingDiff) -> list[str]:
    before, after = mapping.before, mapping.after
    return [
        size(before.hot),
        size(after.hot),
        change(before.hot, after.hot),
        change(before.idle, after.idle),
        change(before.total, after.total),
        f"{percent(mapping.rate_before)} > {percent(mapping.rate_after)}",
        mapping_label(mapping.name),
        printable(mapping.target_name),
    ]


def _has_changed(mapping: MappingDiff) -> bool:
    before, after = mapping.before, mapping.after
    pairs = ((before.hot, after.hot), (before.idle, after.idle), (before.total, after.total))
    return any(abs(new - old) >= _NEGLIGIBLE for old, new in pairs)


def totals_table(totals: Iterable[tuple[str, float, float]]) -> FittingTable:
    """A row for each label with its bytes before and after."""
    rows = [
        [label, size(old), size(new), change(old, new), _relative(old, new)]
        for label, old, new in totals
    ]
    return FittingTable(_TOTAL_COLUMNS, rows)


def changes(
    noun: str,
    amount: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    grown_bytes: Sequence[float],
) -> RenderResult:
    """The first rows; each is coloured by how much its *amount* of bytes grew."""
    if not rows:
        yield Text(f"No {noun} changed by a page or more.")
        return
    title = f"{noun.capitalize()}s, from the largest change of {amount} bytes to the smallest"
    yield Text(title, style="bold")
    yield FittingTable(columns, rows[:_MOST], [_style(grown) for grown in grown_bytes[:_MOST]])
    if len(rows) > _MOST:
        yield Text(f"and {len(rows) - _MOST} more; --json has them all")


def change(old: float, new: float) -> str:
    """By how much bytes grew or shrank."""
    if abs(new - old) < _NEGLIGIBLE:
        return "="
    return f"{'+' if new > old else '-'}{size(abs(new - old))}"


def _relative(old: float, new: float) -> str:
    """The same in percent; empty where that says nothing."""
    if old < _NEGLIGIBLE or abs(new - old) < _NEGLIGIBLE:
        return ""
    return f"{(new - old) / old * 100:+.0f} %"


def _style(grown_bytes: float) -> str:
    if abs(grown_bytes) < _NEGLIGIBLE:
        return ""
    return "yellow" if grown_bytes > 0 else "blue"
