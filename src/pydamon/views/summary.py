"""A recording's summary, for a person who has not read a manual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon.analysis import Bytes, MappingHeat, MonitorCost, Summary, WorkingSetSeries
from pydamon.core.units import format_cpu, format_duration
from pydamon.recording import RecordingInfo
from pydamon.views.text import bar, mapping_label, percent, printable, size, target_label

__all__ = ["summary_view"]

_BAR = 12
_MAPPINGS = 3
_TARGETS = 3
_ROOMY, _WIDE = 60, 76
"""Cells, from which on there are explanations, and bars."""


def summary_view(summary: Summary, info: RecordingInfo) -> RenderableType:
    """The summary, in a row each."""
    return _SummaryView(summary, info)


@dataclass(frozen=True)
class _SummaryView:
    summary: Summary
    info: RecordingInfo

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="bold", no_wrap=True)
        rows.add_column()
        for label, text in _rows(self.summary, self.info, options.max_width):
            rows.add_row(label, Text(text))
        yield rows


def _rows(summary: Summary, info: RecordingInfo, width: int) -> list[tuple[str, str]]:
    began = datetime.fromtimestamp(summary.began_ns / 1e9).astimezone()
    named = [target_label(target) for target in summary.targets[:_TARGETS]]
    more = len(summary.targets) - len(named)
    whole = summary.size
    used = summary.working_set.total
    idle = format_duration(summary.idle_ns)

    def share(amount: float, meaning: str) -> str:
        part = amount / whole.total if whole.total else 0.0
        drawn = f"{bar(part, _BAR):<{_BAR}}  " if width >= _WIDE else ""
        said = f"  {drawn}{meaning}" if width >= _ROOMY else ""
        return f"{size(amount):>9} {percent(part):>6}{said}"

    rows = [
        ("Target", ", ".join(named) + (f" and {more} more" if more else "")),
        (
            "Recorded",
            f"{format_duration(summary.duration_ns)} from {began:%Y-%m-%d %H:%M:%S}, "
            f"{summary.snapshots} snapshots, probe {printable(info.probe)}, "
            f"Linux {printable(info.kernel)}",
        ),
        ("Monitored", _monitored(whole)),
        ("Working set", _working_set(used)),
        ("Hot", share(whole.hot, "accessed in most samples")),
        ("Warm", share(whole.warm, "accessed in some samples")),
        ("Cold", share(whole.cold, "not accessed")),
        ("  of it idle", share(whole.idle, f"not for {idle} or longer")),
    ]
    if whole.undated >= 1:
        rows[-1] = ("  of it idle", "ages are not in the recording")
        if whole.undated < whole.cold:
            rows[-1] = ("  of it idle", share(whole.idle, f"not for {idle} or longer, at least"))
    if whole.unobservable:
        rows.append(("Not observable", share(whole.unobservable, "accessed or not: unknown")))
    if whole.unseen >= 1:
        rows.append(("Not seen yet", share(whole.unseen, "not looked at yet: accessed or not")))
    several = len(summary.targets) > 1
    rows.append(("Hot memory in", _mappings(summary, lambda one: one.size.hot, several)))
    rows.append(("Idle memory in", _mappings(summary, lambda one: one.size.idle, several)))
    rows.append(("Monitoring", _cost(summary.cost, summary.duration_ns)))
    return rows


def _monitored(whole: Bytes) -> str:
    """How much is monitored, and how much of it is in memory."""
    if whole.assumed >= 1:
        return f"{size(whole.monitored)} of address space; how much of it is in memory is not known"
    if round(whole.monitored) == round(whole.total):
        return f"{size(whole.total)}, all of it in memory"
    return f"{size(whole.total)} in memory, of {size(whole.monitored)} of address space"


def _working_set(used: WorkingSetSeries) -> str:
    unseen = int(used.unseen_bytes.max(initial=0))
    text = f"{size(used.median)} in the median, {size(used.most)} at most"
    return f"{text}; up to {size(unseen)} more not looked at yet" if unseen else text


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


def _cost(cost: MonitorCost, duration_ns: int) -> str:
    real, named = format_duration(cost.sampling_ns), format_duration(cost.named_sampling_ns)
    pace = f"a sample every {real}" + (f" instead of {named}" if real != named else "")
    late = f", {cost.late_ticks} samples too late" if cost.late_ticks else ""
    used = format_cpu(cost.cpu_ns, duration_ns)
    return f"{used}, at most {percent(cost.interruption_share)} of the target's time; {pace}{late}"
