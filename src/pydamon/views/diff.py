"""Two recordings side by side."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon.analysis import Diff, MappingDiff, Summary
from pydamon.core.units import format_duration
from pydamon.views.table import Column, FittingTable
from pydamon.views.text import mapping_label, percent, printable, size

__all__ = ["DiffView"]

_ROWS = 20
_NEGLIGIBLE = 4096
"""Bytes: what changed by less than a page did not change."""


@dataclass(frozen=True)
class DiffView:
    """Totals, then the mappings that changed most."""

    diff: Diff

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        before, after = self.diff.before, self.diff.after
        old, new = before.working_set.total, after.working_set.total
        idle = format_duration(before.idle_ns)
        lines = (
            (_total(before, after), before.size.total, after.size.total),
            ("working set, median", old.median, new.median),
            ("working set, most", old.most, new.most),
            ("hot", before.size.hot, after.size.hot),
            ("warm", before.size.warm, after.size.warm),
            ("cold", before.size.cold, after.size.cold),
            (f"idle for {idle}", before.size.idle, after.size.idle),
            ("not looked at yet", before.size.unseen, after.size.unseen),
        )
        yield Text("Before and after", style="bold")
        yield FittingTable(
            (
                Column("", name=True),
                Column("before"),
                Column("after"),
                Column("change"),
                Column("", rank=1),
            ),
            [
                [what, size(then), size(now), _change(then, now), _relative(then, now)]
                for what, then, now in lines
                if what != "not looked at yet" or then or now
            ],
        )
        yield Text()
        yield from self._mappings()

    def _mappings(self) -> RenderResult:
        moved = [one for one in self.diff.mappings if _has_changed(one)]
        several = len({one.target_name for one in self.diff.mappings}) > 1
        if not moved:
            yield Text("No mapping changed by a page or more.")
            return
        columns = [
            Column("hot before", rank=4),
            Column("after", rank=4),
            Column("change"),
            Column("idle", rank=3),
            Column("size", rank=5),
            Column("rate", rank=2),
            Column("mapping", name=True),
        ]
        rows = [
            [
                size(one.before.hot),
                size(one.after.hot),
                _change(one.before.hot, one.after.hot),
                _change(one.before.idle, one.after.idle),
                _change(one.before.total, one.after.total),
                f"{percent(one.rate_before)} > {percent(one.rate_after)}",
                mapping_label(one.name),
                printable(one.target_name),
            ]
            for one in moved[:_ROWS]
        ]
        if several:
            columns.append(Column("target", name=True, rank=6))
        yield Text("Mappings, from the largest change of hot bytes to the smallest", style="bold")
        yield FittingTable(columns, rows, [_style(one) for one in moved[:_ROWS]])
        if len(moved) > _ROWS:
            yield Text(f"and {len(moved) - _ROWS} more; --json has them all")


def _total(before: Summary, after: Summary) -> str:
    """What totals stand for: where nobody knows what is in memory, they do not say so."""
    return "address space" if before.size.assumed or after.size.assumed else "in memory"


def _has_changed(one: MappingDiff) -> bool:
    pairs = (
        (one.before.hot, one.after.hot),
        (one.before.idle, one.after.idle),
        (one.before.total, one.after.total),
    )
    return any(abs(new - old) >= _NEGLIGIBLE for old, new in pairs)


def _change(old: float, new: float) -> str:
    if abs(new - old) < _NEGLIGIBLE:
        return "="
    return f"{'+' if new > old else '-'}{size(abs(new - old))}"


def _relative(old: float, new: float) -> str:
    if old < _NEGLIGIBLE or abs(new - old) < _NEGLIGIBLE:
        return ""
    return f"{(new - old) / old * 100:+.0f} %"


def _style(one: MappingDiff) -> str:
    change = one.after.hot - one.before.hot
    if abs(change) < _NEGLIGIBLE:
        return ""
    return "yellow" if change > 0 else "blue"
