"""The owners of memory, as a table and as a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import OwnerReport, OwnerTree, OwnerUse
from pydamon._data.analysis.owners import added
from pydamon._model.units import format_duration
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import count, mapping_label, percent, printable, size

__all__ = ["OwnerTreeView", "OwnersView", "innermost", "notes_of"]

_MOST, _MOST_OTHERS = 20, 8
_FRAMES = 2
"""The innermost labels of a path, in a table."""
_LEAST_SHARE = 0.01
_COLUMNS = {
    "idle": Column("idle"),
    "in use": Column("in use"),
    "hot": Column("hot"),
    "warm": Column("warm"),
    "resident": Column("resident"),
    "allocated": Column("allocated"),
    "not told": Column("not told"),
}
_OWNER = Column("owner", name=True)
_NARROW = ("idle", "in use", "allocated")
_WIDE = ("idle", "hot", "warm", "resident", "allocated", "not told")
_WIDE_CELLS = 110
_DIRECTORY = re.compile(r"\(\S*/")


@dataclass(frozen=True)
class OwnersView(View):
    """A row for each owner of the first *most*, then memory without an owner, unless *brief*."""

    report: OwnerReport
    key: str = "idle"
    most: int = _MOST
    brief: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        names = _WIDE if options.max_width >= _WIDE_CELLS else _NARROW
        columns = [*(_COLUMNS[name] for name in names), _OWNER]
        shown = report.by(self.key)[: self.most]
        rows = [_row(use, innermost(use.path), names) for use in shown]
        yield Text(f"Owners, from the most {self.key} bytes to the fewest", style="bold")
        yield FittingTable(columns, [*rows, *_rest(report.owners, shown, names)])
        if report.others and not self.brief:
            shown = list(report.others[:_MOST_OTHERS])
            rows = [_row(use, mapping_label(use.name), names) for use in shown]
            yield Text()
            yield Text("Memory without an owner: free space, libraries, stacks", style="bold")
            yield FittingTable(columns, [*rows, *_rest(report.others, shown, names)])
        yield Text()
        yield from notes_of(report)


@dataclass(frozen=True)
class OwnerTreeView(View):
    """The owners as a tree; branches of less than 1 % of the bytes are left out."""

    report: OwnerReport
    key: str = "idle"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tree = self.report.tree()
        name = f"{self.key}_bytes"
        total = max(1, getattr(tree.use, name))
        yield Text(f"Owners by {self.key} bytes", style="bold")
        for depth, node in _branches(tree, name, _LEAST_SHARE * total):
            amount = getattr(node.use, name)
            label = printable(node.label) or "all owners"
            line = f"{size(amount):>9} {percent(amount / total):>6}  {'  ' * depth}{label}"
            yield Text(line, no_wrap=True, overflow="ellipsis")
        yield Text()
        yield from notes_of(self.report)


def _branches(tree: OwnerTree, name: str, least: float) -> Iterator[tuple[int, OwnerTree]]:
    """The nodes of at least some bytes with their depths, each before those below it."""
    pending = [(0, tree)]
    while pending:
        depth, node = pending.pop()
        yield depth, node
        children = [child for child in node.children if getattr(child.use, name) >= least]
        children.sort(key=lambda child: -int(getattr(child.use, name)))
        pending += [(depth + 1, child) for child in reversed(children)]


def _row(use: OwnerUse, label: str, names: Sequence[str]) -> list[str]:
    amounts = {
        "idle": use.idle_bytes,
        "in use": use.hot_bytes + use.warm_bytes,
        "hot": use.hot_bytes,
        "warm": use.warm_bytes,
        "resident": use.resident_bytes,
        "allocated": use.allocated_bytes,
        "not told": use.shared_bytes + use.unknown_bytes,
    }
    return [*(size(amounts[name]) if amounts[name] else "-" for name in names), label]


def _rest(
    uses: Sequence[OwnerUse], shown: Sequence[OwnerUse], names: Sequence[str]
) -> Iterator[list[str]]:
    """A row for all owners that are not shown, if there are any."""
    left = uses[len(shown) :]
    if left:
        sums = added((), [use for use in uses if use not in shown])
        yield _row(sums, f"{len(left)} more", names)


def innermost(path: Sequence[str]) -> str:
    """The innermost labels of a path, the innermost first, without directories."""
    labels = (_DIRECTORY.sub("(", printable(label)) for label in path[: -_FRAMES - 1 : -1])
    return " < ".join(labels)


def notes_of(report: OwnerReport) -> Iterator[Text]:
    """What the figures mean, and what they leave open."""
    when = datetime.fromtimestamp(report.time_ns / 1e9).astimezone()
    total = report.total()
    yield Text(
        f"idle: not accessed for {format_duration(report.idle_ns)}, as of {when:%H:%M:%S}; "
        f"{count(len(report.owners), 'owner')}, {size(total.idle_bytes)} idle of "
        f"{size(total.resident_bytes)} in memory"
    )
    if total.shared_bytes:
        yield Text(
            f"{size(total.shared_bytes)} in use lie on pages of several owners: which of them "
            "accessed the page cannot be told",
            style="yellow",
        )
    if not report.is_by_page:
        yield Text(
            "the recording has no map of pages (record --page-map): bytes of regions are spread "
            "evenly over their owners",
            style="yellow",
        )
    if report.followed_share < 1:
        yield Text(
            f"{percent(report.followed_share)} of the memory was looked at page by page, and "
            "stands for the rest",
            style="yellow",
        )
    for note in report.notes:
        yield Text(note)
