"""The owners of two reports side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import OwnerChange, OwnerDiff, OwnerReport
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._show.results.diff import change, changes, totals_table
from pydamon._show.results.owners import innermost, notes_of
from pydamon._show.results.view import Column, View
from pydamon._show.text import size

__all__ = ["OwnerDiffView"]

_OWNER_COLUMNS = (
    Column("idle before", rank=3),
    Column("after"),
    Column("change"),
    Column("in memory", rank=2),
    Column("owner", name=True),
)


@dataclass(frozen=True)
class OwnerDiffView(View):
    """Totals, then the owners whose idle bytes changed most."""

    diff: OwnerDiff

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before, after = self.diff.before, self.diff.after
        yield Text("Memory of owners, before and after", style="bold")
        yield totals_table(_totals(before, after))
        yield Text()
        changed = [each for each in self.diff.changes if _has_changed(each)]
        rows = [_row(each) for each in changed]
        yield from changes(
            "owner", "idle", _OWNER_COLUMNS, rows, [each.idle_bytes for each in changed]
        )
        yield Text()
        if before.is_by_page != after.is_by_page:
            which = "after" if before.is_by_page else "before"
            yield Text(
                f"only one of the recordings has a map of pages: figures {which} are spread evenly "
                "over regions, and changes may come from that alone",
                style="yellow",
            )
        yield from notes_of(after)


def _totals(before: OwnerReport, after: OwnerReport) -> Iterator[tuple[str, float, float]]:
    """The label of each total, and its bytes before and after."""
    old, new = before.total(), after.total()
    yield "in memory", old.resident_bytes, new.resident_bytes
    yield "in use", old.hot_bytes + old.warm_bytes, new.hot_bytes + new.warm_bytes
    yield "idle", old.idle_bytes, new.idle_bytes


def _row(each: OwnerChange) -> list[str]:
    before, after = each.before, each.after
    return [
        size(before.idle_bytes),
        size(after.idle_bytes),
        change(before.idle_bytes, after.idle_bytes),
        change(before.resident_bytes, after.resident_bytes),
        innermost(each.path),
    ]


def _has_changed(each: OwnerChange) -> bool:
    return max(abs(each.idle_bytes), abs(each.resident_bytes)) >= SMALLEST_PAGE
