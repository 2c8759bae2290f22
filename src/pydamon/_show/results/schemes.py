"""What schemes have done so far, as a table, and the status of a service that runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    "StatusView",
    "quota_text",
    "scheme_table",
    "status_line",
]

_PLAIN_STATES = ("on", "in the kernel's hands")
"""States that need no more words than these."""


@dataclass(frozen=True, slots=True)
class SchemeLine:
    """A row of the table; `state` is a word or two, and then perhaps details behind : or ;."""

    name: str
    grain: str
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
        scheme.grain,
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
        by_pages = ["by the ages of pages"] if line.grain == "page" else []
        if by_pages or line.state not in _PLAIN_STATES:
            yield Text(f"{printable(line.name)}: {'; '.join([line.state, *by_pages])}")


@dataclass(frozen=True)
class StatusView(View):
    """A status as `Service.status` gives it: a headline, the figures, and a row a scheme."""

    status: dict[str, Any]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status = self.status
        yield Text(f"{_service(status)}, {_targets(status)}", style="bold")
        for name, value in _figures(status):
            yield Text(f"{name.replace('_', ' ')}: {value}")
        lines = [_status_row(scheme) for scheme in status["schemes"]]
        yield from scheme_table(lines, dry_run=status["dry_run"])


def _status_row(scheme: dict[str, Any]) -> SchemeLine:
    quota = scheme["quota"]
    limits = (quota["bytes"], quota["time_ns"], bool(quota["goals"]), quota["reset_ns"])
    return SchemeLine(
        scheme["name"],
        scheme.get("grain", "region"),
        scheme["sz_tried"],
        scheme["sz_applied"],
        quota_text(*limits),
        scheme["qt_exceeds"],
        scheme["time_ns"],
        scheme["state"],
    )


def status_line(status: dict[str, Any]) -> str:
    """The status in one line, of which the end may be cut off."""
    done = "; ".join(
        f"{printable(scheme['name'])} {size(scheme['sz_applied'])}"
        + ("" if scheme["state"] == "on" else f" ({scheme['state']})")
        for scheme in status["schemes"]
    )
    short = [f"{name} {value}" for name, value in _figures(status) if ", " not in value]
    figures = ", ".join(short[:2])
    return f"{_service(status)}: {done or figures or 'nothing yet'}; {_targets(status)}"


def _service(status: dict[str, Any]) -> str:
    """The name of the service, and for how long it has been running."""
    dry = ", dry run" if status["dry_run"] else ""
    return f"{printable(status['name'])}{dry}, {duration(status['running_ns'])}"


def _targets(status: dict[str, Any]) -> str:
    """What it costs, and the first processes that it acts on."""
    targets = status["targets"]
    names = ", ".join(f"{printable(t['name'])} ({t['pid']})" for t in targets[:3])
    more = f" and {len(targets) - 3} more" if len(targets) > 3 else ""
    cpu = "" if status["cpu_percent"] is None else f"{status['cpu_percent']:.1f} % of a CPU, "
    return f"{cpu}{names or 'no process'}{more}"


def _figures(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the figures, with units by the ends of their names."""
    figures = []
    for name, value in status["figures"].items():
        if name.endswith("_bytes_per_s"):
            figures.append((name.removesuffix("_bytes_per_s"), f"{size(value)}/s"))
        elif name.endswith("_bytes"):
            figures.append((name.removesuffix("_bytes"), size(value)))
        elif name.endswith("_us"):
            figures.append((name.removesuffix("_us"), duration(1000 * value)))
        else:
            percentiles = ", ".join(f"{p} {duration(1e6 * ms)}" for p, ms in value.items())
            figures.append((name.removesuffix("_ms"), percentiles))
    return figures
