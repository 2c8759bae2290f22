"""A recording: its heat map and its summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._data import analysis
from pydamon._data.analysis import Bytes, MappingHeat, MonitorCost, Summary, WorkingSetSeries
from pydamon._data.recording import Recording, RecordingFile, RecordingInfo
from pydamon._model.errors import RecordingError
from pydamon._model.units import format_cpu, format_duration
from pydamon._show.results.heatmap import HeatMapView, heatmap_cells
from pydamon._show.results.view import View, html_of_parts
from pydamon._show.text import bar, count, mapping_label, percent, printable, size, target_label

__all__ = ["RecordingFileView", "RecordingView", "SummaryView"]

_ROWS, _COLUMNS = 80, 200
"""Of the heat map in a notebook."""


@dataclass(frozen=True)
class RecordingView(View):
    """The heat map, then the summary; a sentence where nothing was recorded."""

    recording: Recording

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts(*heatmap_cells(console))

    def html(self) -> str:
        """As in a terminal, with more cells."""
        return html_of_parts(self._parts(_ROWS, _COLUMNS))

    def _parts(self, rows: int, columns: int) -> RenderResult:
        try:
            yield HeatMapView(analysis.heatmap(self.recording, rows, columns))
            yield SummaryView(analysis.summary(self.recording), self.recording.info)
        except RecordingError as error:
            yield Text(f"{error}")


@dataclass(frozen=True)
class RecordingFileView(View):
    """Where the file is and how it was made: it may be too large to be read for a look."""

    file: RecordingFile

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        info = self.file.info
        facts = [
            f"probe {printable(info.probe)}",
            f"sampled every {format_duration(info.attrs.sampling_ns)}",
            f"aggregated every {format_duration(info.attrs.aggregation_ns)}",
            *_kernel(info),
            *([f"host {printable(info.hostname)}"] if info.hostname else []),
        ]
        yield Text(f"Recording {printable(str(self.file.path))}", style="bold")
        yield Text(", ".join(facts))
        if self.file.problem:
            yield Text(printable(f"not complete: {self.file.problem}"), style="yellow")


_BAR = 12
_MAPPINGS = 3
_TARGETS = 3
_ROOMY, _WIDE = 60, 76
"""Cells, from which on there are explanations, and bars."""


@dataclass(frozen=True)
class SummaryView(View):
    """A row for each figure; *info* adds what the recording says about its making."""

    summary: Summary
    info: RecordingInfo | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for label, text in self._rows(options.max_width):
            table.add_row(label, Text(text))
        yield table

    def _rows(self, width: int) -> list[tuple[str, str]]:
        summary = self.summary
        several = len(summary.targets) > 1
        return [
            ("Target", _targets(summary)),
            ("Recorded", self._recorded()),
            ("Monitored", _monitored(summary.size)),
            ("Working set", _working_set(summary.working_set.total)),
            ("Regions", _regions(dict(summary.regions))),
            *_classes(summary.size, format_duration(summary.idle_ns), width),
            ("Hot memory in", _mappings(summary, lambda heat: heat.size.hot, several)),
            ("Idle memory in", _mappings(summary, lambda heat: heat.size.idle, several)),
            ("Monitoring", _cost(summary.cost, summary.duration_ns)),
        ]

    def _recorded(self) -> str:
        summary = self.summary
        began = datetime.fromtimestamp(summary.began_ns / 1e9).astimezone()
        parts = [
            f"{format_duration(summary.duration_ns)} from {began:%Y-%m-%d %H:%M:%S}",
            f"{summary.snapshots} snapshots",
        ]
        if self.info:
            parts.append(f"probe {printable(self.info.probe)}")
            parts += _kernel(self.info)
        return ", ".join(parts)


def _kernel(info: RecordingInfo) -> list[str]:
    """The kernel's release, if the recording names it: damo's files do not."""
    return [f"Linux {printable(info.kernel)}"] if info.kernel else []


def _targets(summary: Summary) -> str:
    labels = [target_label(target) for target in summary.targets[:_TARGETS]]
    more = len(summary.targets) - len(labels)
    return ", ".join(labels) + (f" and {more} more" if more else "")


def _classes(total: Bytes, idle: str, width: int) -> list[tuple[str, str]]:
    """A row for each class of bytes: hot, warm, cold, idle, not observable, not seen."""

    def share(amount: float, meaning: str) -> str:
        part = amount / total.total if total.total else 0.0
        drawn = f"{bar(part, _BAR):<{_BAR}}  " if width >= _WIDE else ""
        explained = f"  {drawn}{meaning}" if width >= _ROOMY else ""
        return f"{size(amount):>9} {percent(part):>6}{explained}"

    rows = [
        ("Hot", share(total.hot, "accessed in most samples")),
        ("Warm", share(total.warm, "accessed in some samples")),
        ("Cold", share(total.cold, "not accessed")),
    ]
    if total.undated < 1:
        rows.append(("  of it idle", share(total.idle, f"not for {idle} or longer")))
    elif total.undated < total.cold:
        rows.append(("  of it idle", share(total.idle, f"not for {idle} or longer, at least")))
    else:
        rows.append(("  of it idle", "ages are not in the recording"))
    if total.unobservable:
        rows.append(("Not observable", share(total.unobservable, "accessed or not: unknown")))
    if total.unseen >= 1:
        rows.append(("Not seen yet", share(total.unseen, "not looked at yet: accessed or not")))
    return rows


def _monitored(total: Bytes) -> str:
    """How much is monitored, and how much of it is in memory."""
    if total.assumed >= 1:
        return f"{size(total.monitored)} of address space; how much of it is in memory is not known"
    if round(total.monitored) == round(total.total):
        return f"{size(total.total)}, all of it in memory"
    return f"{size(total.total)} in memory, of {size(total.monitored)} of address space"


def _working_set(series: WorkingSetSeries) -> str:
    unseen = int(series.unseen_bytes.max(initial=0))
    text = f"{size(series.median)} in the median, {size(series.most)} at most"
    return f"{text}; up to {size(unseen)} more not looked at yet" if unseen else text


def _regions(percentiles: dict[float, int]) -> str:
    least, median, most = (percentiles[mark] for mark in (0.0, 50.0, 100.0))
    return f"{median} in the median, {least} to {most} in a snapshot"


def _mappings(summary: Summary, amount: Callable[[MappingHeat], float], several: bool) -> str:
    """The mappings with the largest amounts; amounts below a thousandth are left out."""
    largest = sorted(summary.mappings, key=amount, reverse=True)[:_MAPPINGS]
    texts = [
        f"{mapping_label(heat.name, 40)}{f' of {target_label(heat.target)}' if several else ''} "
        f"{size(amount(heat))}"
        for heat in largest
        if amount(heat) >= max(1.0, summary.size.total / 1000)
    ]
    return ", ".join(texts) or "none to speak of"


def _cost(cost: MonitorCost, duration_ns: int) -> str:
    real, asked = format_duration(cost.sampling_ns), format_duration(cost.named_sampling_ns)
    pace = f"a sample every {real}" + (f" instead of {asked}" if real != asked else "")
    late = f", {count(cost.late_ticks, 'sample')} too late" if cost.late_ticks else ""
    if not cost.cpu_ns:  # a trace, or a file of damo's: no monitor costs nothing
        return f"its cost is not in the recording; {pace}{late}"
    used = format_cpu(cost.cpu_ns, duration_ns)
    return f"{used}, at most {percent(cost.interruption_share)} of the target's time; {pace}{late}"
