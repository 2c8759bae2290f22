"""What schemes have done so far, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._model.schemes import Quota, SchemeStats
from pydamon._show.results.view import View
from pydamon._show.text import count, duration, printable, size

if TYPE_CHECKING:
    from pydamon._act.applied import Applied, AppliedScheme

__all__ = [
    "AppliedSchemeView",
    "AppliedView",
    "SchemeLine",
    "SchemeStatsView",
    "quota_text",
    "scheme_table",
]

_PLAIN_STATES = ("on", "in the kernel's hands")
"""States that need no more words than these."""


@dataclass(frozen=True, slots=True)
class SchemeLine:
    """A row of the table; `state` is a word or two, and then perhaps details behind : or ;."""

    name: str
    tried_bytes: int
    applied_bytes: int
    quota: str
    quota_exceeds: int
    time_ns: int
    state: str


@dataclass(frozen=True)
class SchemeStatsView(View):
    """DAMON's statistics of one scheme, a line each."""

    stats: SchemeStats

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        stats = self.stats
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        table.add_row("tried", f"{size(stats.sz_tried)} in {count(stats.nr_tried, 'region')}")
        table.add_row("applied", f"{size(stats.sz_applied)} in {count(stats.nr_applied, 'region')}")
        table.add_row("quota", f"used up {count(stats.qt_exceeds, 'time')}")
        table.add_row("snapshots", f"{stats.nr_snapshots}")
        table.add_row("took", duration(stats.time_ns))
        if stats.rests:
            table.add_row("backed off", count(stats.rests, "time"))
        yield table


@dataclass(frozen=True)
class AppliedSchemeView(View):
    """One scheme at work."""

    scheme: AppliedScheme

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from scheme_table([_line(self.scheme)])


@dataclass(frozen=True)
class AppliedView(View):
    """Schemes at work, in the order in which they are applied."""

    applied: Applied

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [_line(scheme) for scheme in self.applied.schemes]
        yield from scheme_table(lines, dry_run=self.applied.dry_run)


def _line(scheme: AppliedScheme) -> SchemeLine:
    stats, quota = scheme.stats, scheme.scheme.quota
    return SchemeLine(
        scheme.scheme.label,
        stats.sz_tried,
        stats.sz_applied,
        _quota(quota),
        stats.qt_exceeds,
        stats.time_ns,
        scheme.state,
    )


def _quota(quota: Quota) -> str:
    return quota_text(quota.size_bytes, quota.time_ns, bool(quota.goals), quota.reset_ns)


def quota_text(size_bytes: int, time_ns: int, by_goals: bool, reset_ns: int) -> str:
    """What may be spent, and how often."""
    limits = [size(size_bytes)] if size_bytes else []
    limits += [duration(time_ns)] if time_ns else []
    limits += ["by goals"] if by_goals else []
    return f"{', '.join(limits)} / {duration(reset_ns)}" if limits else "none"


def scheme_table(lines: Sequence[SchemeLine], *, dry_run: bool = False) -> Iterator[Table | Text]:
    """A row a scheme, then the details of states that do not fit into a column."""
    if not lines:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    tried, applied = ("fits", "would do") if dry_run else ("tried", "done")
    for heading in ("scheme", tried, applied, "quota", "quota full", "took", "state"):
        left = heading in ("scheme", "state")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "state")
    for line in lines:
        table.add_row(
            Text(printable(line.name)),
            size(line.tried_bytes),
            size(line.applied_bytes),
            line.quota,
            str(line.quota_exceeds),
            duration(line.time_ns),
            Text(line.state.partition(":")[0].partition(";")[0]),
        )
    yield table
    for line in lines:
        if line.state not in _PLAIN_STATES:
            yield Text(f"{printable(line.name)}: {line.state}")
