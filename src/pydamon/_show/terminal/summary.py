"""A recording's summary, and two recordings side by side, for people without a manual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._data.analysis import (
    Bytes,
    Diff,
    MappingDiff,
    MappingHeat,
    MonitorCost,
    Summary,
    WorkingSetSeries,
)
from pydamon._data.recording import RecordingInfo
from pydamon._model.units import format_cpu, format_duration
from pydamon._show.terminal.text import (
    Column,
    FittingTable,
    bar,
    mapping_label,
    percent,
    printable,
    size,
    target_label,
)

__all__ = ["DiffView", "summary_view"]

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
