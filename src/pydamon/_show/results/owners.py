"""The owners of memory, as a table and as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import OwnerReport, OwnerTree, OwnerUse
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.units import format_duration
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import count, mapping_label, percent, printable, size

__all__ = ["OwnerChangesView", "OwnerTreeView", "OwnersView", "notes_of"]

_MOST = 20
_FRAMES = 2
"""The innermost labels of a path, in a table."""
_LEAST_SHARE = 0.01
_COLUMNS = (
    Column("idle"),
    Column("hot"),
    Column("warm", rank=3),
    Column("resident", rank=4),
    Column("allocated", rank=2),
    Column("not told", rank=5),
    Column("owner", name=True),
)

_CHANGE_COLUMNS = (
    Column("before", rank=3),
    Column("after"),
    Column("change"),
    Column("owner", name=True),
)


@dataclass(frozen=True)
class OwnersView(View):
    """A row for each owner of the first *most*, then memory without an owner."""

    report: OwnerReport
    key: str = "idle"
    most: int = _MOST

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        shown = report.by(self.key)[: self.most]
        rows = [_row(use, _path(use.path)) for use in shown]
        rest = len(report.owners) - len(shown)
        if rest > 0:
            others = _difference(report.total(), shown)
            rows.append(_row(others, f"{rest} more"))
        yield Text(f"Owners, from the most {self.key} bytes to the fewest", style="bold")
        yield FittingTable(_COLUMNS, rows)
        if report.others:
            yield Text()
            yield Text("Memory without an owner: free space, libraries, stacks", style="bold")
            told = report.others[: self.most]
            yield FittingTable(
                _COLUMNS, [_row(use, mapping_label(use.name), owned=False) for use in told]
            )
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


def _branches(
    node: OwnerTree, name: str, least: float, depth: int = 0
) -> Iterator[tuple[int, OwnerTree]]:
    yield depth, node
    for child in sorted(node.children, key=lambda child: -int(getattr(child.use, name))):
        if getattr(child.use, name) >= least:
            yield from _branches(child, name, least, depth + 1)


def _row(use: OwnerUse, label: str, *, owned: bool = True) -> list[str]:
    not_told = use.shared_bytes + use.unknown_bytes
    amounts = (use.idle_bytes, use.hot_bytes, use.warm_bytes, use.resident_bytes)
    cells = [size(amount) if amount else "-" for amount in amounts]
    allocated = size(use.allocated_bytes) if owned else ""
    return [*cells, allocated, size(not_told) if not_told else "-", label]


def _path(path: Sequence[str]) -> str:
    """The innermost labels of a path, the innermost first."""
    return " < ".join(printable(label) for label in path[: -_FRAMES - 1 : -1])


def _difference(total: OwnerUse, shown: Sequence[OwnerUse]) -> OwnerUse:
    names = (name for name in OwnerUse.__slots__ if name != "path")
    left = {name: getattr(total, name) - sum(getattr(use, name) for use in shown) for name in names}
    return OwnerUse((), **left)


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


@dataclass(frozen=True)
class OwnerChangesView(View):
    """The owners whose idle bytes changed most against an earlier report."""

    report: OwnerReport
    before: Mapping[tuple[str, ...], int]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = {use.path: use.idle_bytes for use in self.report.owners}
        paths = sorted(
            now.keys() | self.before.keys(),
            key=lambda path: (-abs(now.get(path, 0) - self.before.get(path, 0)), path),
        )
        rows = []
        for path in paths[:_MOST]:
            old, new = self.before.get(path, 0), now.get(path, 0)
            if abs(new - old) >= PAGE_SIZE:
                sign = "+" if new > old else "-"
                change = f"{sign}{size(abs(new - old))}"
                rows.append([size(old), size(new), change, _path(path)])
        yield Text("Idle bytes before and after, from the largest change", style="bold")
        yield FittingTable(_CHANGE_COLUMNS, rows)
        if not rows:
            yield Text("no owner has a page more or less")
        yield Text()
        yield from notes_of(self.report)
