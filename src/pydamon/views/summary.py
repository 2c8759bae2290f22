"""A recording's summary, for a person who has not read a manual."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydamon.analysis import MappingHeat, MonitorCost, Summary
from pydamon.core.units import format_duration
from pydamon.recording import RecordingInfo
from pydamon.views.text import bar, mapping_label, percent, printable, size, target_label

__all__ = ["mapping_table", "summary_view"]

_BAR = 12
_MAPPINGS = 3
_TARGETS = 3
_ROWS = 12
_NAME_WIDTH = 22


def summary_view(summary: Summary, info: RecordingInfo, problem: str = "") -> RenderableType:
    """The summary; *problem* says why the recording is not complete, where it is not."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column()
    for label, text in _rows(summary, info):
        rows.add_row(label, Text(text))
    parts: list[RenderableType] = [rows]
    if problem:
        parts.append(Text(f"This recording is not complete: {problem}.", style="yellow"))
    return Group(*parts)


def mapping_table(summary: Summary) -> RenderableType:
    """Where the hot, warm and cold bytes are: the mappings with the most of them, by name."""
    several = len(summary.targets) > 1
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("size", "hot", "warm", "cold", "idle", "rate"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("mapping", overflow="fold")
    for one in summary.mappings[:_ROWS]:
        parts = (one.size.total, one.size.hot, one.size.warm, one.size.cold, one.size.idle)
        name = mapping_label(one.name, _NAME_WIDTH)
        if several:
            name += f" of {target_label(one.target)}"
        cells = [*(size(part) if part >= 1 else "-" for part in parts), percent(one.rate), name]
        table.add_row(*map(Text, cells))
    rest = summary.mappings[_ROWS:]
    if rest:
        amount = size(sum(one.size.total for one in rest))
        table.add_row(amount, *[""] * 5, f"in {len(rest)} more")
    return Group(Text("Mappings, from the most hot bytes to the fewest", style="bold"), table)


def _rows(summary: Summary, info: RecordingInfo) -> list[tuple[str, str]]:
    began = datetime.fromtimestamp(info.started_ns / 1e9).astimezone()
    named = [target_label(target) for target in summary.targets[:_TARGETS]]
    more = len(summary.targets) - len(named)
    whole = summary.size
    marks = summary.working_set.total.size_bytes
    median, most = sorted(marks.tolist())[len(marks) // 2], int(marks.max())
    idle = format_duration(summary.idle_ns)
    rows = [
        ("Target", ", ".join(named) + (f" and {more} more" if more else "")),
        (
            "Recorded",
            f"{format_duration(summary.duration_ns)} from {began:%Y-%m-%d %H:%M:%S}, "
            f"{summary.snapshots} snapshots, probe {printable(info.probe)}, "
            f"Linux {printable(info.kernel)}",
        ),
        ("Monitored", f"{size(whole.total)}"),
        ("Working set", f"{size(median)} in the median, {size(most)} at most"),
        ("Hot", _share(whole.hot, whole.total, "accessed in most samples")),
        ("Warm", _share(whole.warm, whole.total, "accessed in some samples")),
        ("Cold", _share(whole.cold, whole.total, "not accessed")),
        ("  of it idle", _share(whole.idle, whole.total, f"not for {idle} or longer")),
    ]
    if whole.unobservable:
        why = "accessed or not: unknown"
        rows.append(("Not observable", _share(whole.unobservable, whole.total, why)))
    several = len(summary.targets) > 1
    rows.append(("Hot memory in", _mappings(summary, lambda one: one.size.hot, several)))
    rows.append(("Idle memory in", _mappings(summary, lambda one: one.size.idle, several)))
    rows.append(("Monitoring", _cost(summary.cost)))
    return rows


def _share(amount: float, total: float, meaning: str) -> str:
    share = amount / total if total else 0.0
    return f"{size(amount):>9} {percent(share):>6}  {bar(share, _BAR):<{_BAR}}  {meaning}"


def _mappings(summary: Summary, amount: Callable[[MappingHeat], float], several: bool) -> str:
    """The mappings with the most of something; those with hardly any of it are left out."""
    found = sorted(summary.mappings, key=amount, reverse=True)
    named = [
        f"{mapping_label(one.name, 40)}{f' of {target_label(one.target)}' if several else ''} "
        f"{size(amount(one))}"
        for one in found[:_MAPPINGS]
        if amount(one) >= max(1.0, summary.size.total / 1000)
    ]
    return ", ".join(named) or "none to speak of"


def _cost(cost: MonitorCost) -> str:
    used, named = format_duration(cost.sampling_ns), format_duration(cost.named_sampling_ns)
    pace = f"a sample every {used}" + (f" instead of {named}" if used != named else "")
    late = f", {cost.late_ticks} samples too late" if cost.late_ticks else ""
    return (
        f"{percent(cost.cpu_share)} of one CPU, at most {percent(cost.interruption_share)} of the "
        f"target's time; {pace}{late}"
    )
