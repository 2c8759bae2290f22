"""Mappings, idle memory and Python objects, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Bytes, Idle, MappingHeat
from pydamon._data.analysis.mappings import together
from pydamon._data.recording import Recording
from pydamon._model.display import Displayable
from pydamon._model.units import format_duration
from pydamon._objects import ObjectReport, ObjectUse
from pydamon._objects.report import State
from pydamon._show.results.recording import RecordingView
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import (
    bar,
    count,
    duration,
    mapping_label,
    percent,
    printable,
    size,
    target_cell,
)

__all__ = ["CellUse", "CellUseView", "IdleView", "KindsView", "MappingsView", "ObjectsView"]

_COLUMNS = {
    "total": Column("size"),
    "hot": Column("hot"),
    "warm": Column("warm", rank=3),
    "cold": Column("cold", rank=5),
    "idle": Column("idle", rank=4),
    "unseen": Column("not seen", rank=4),
    "rate": Column("rate", rank=2),
}


@dataclass(frozen=True)
class MappingsView(View):
    """A row for each mapping, of the first *most*; one more row sums up the rest."""

    mappings: Sequence[MappingHeat]
    most: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sizes = [heat.size for heat in self.mappings]
        amounts = _columns(sizes)
        shown = self.mappings[: self.most]
        rest = self.mappings[len(shown) :]
        rows = [
            [
                *_amounts(heat.size, heat.rate, amounts),
                mapping_label(heat.name),
                target_cell(heat.target),
            ]
            for heat in shown
        ]
        if rest:
            total = size(sum(heat.size.total for heat in rest))
            rows.append([total, *[""] * (len(amounts) - 1), f"in {len(rest)} more", ""])
        columns = [*amounts.values(), Column("mapping", name=True)]
        if len({heat.target.key for heat in self.mappings}) > 1:
            columns.append(Column("target", name=True, rank=6))
        yield Text("Mappings, from the most hot bytes to the fewest", style="bold")
        yield FittingTable(columns, [row[: len(columns)] for row in rows])
        yield from _notes(sizes)


@dataclass(frozen=True)
class KindsView(View):
    """A row for each kind of memory (files, heaps, stacks...), over all targets."""

    mappings: Sequence[MappingHeat]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sizes = [heat.size for heat in self.mappings]
        amounts = _columns(sizes)
        kinds: dict[str, list[MappingHeat]] = {}
        for heat in self.mappings:
            kinds.setdefault(heat.kind, []).append(heat)
        rows = [
            [*_amounts(*together(members), amounts), f"{kind} ({len(members)})"]
            for kind, members in sorted(kinds.items(), key=lambda item: -together(item[1])[0].hot)
        ]
        yield Text("Kinds of memory (mappings), from the most hot bytes to the fewest", "bold")
        yield FittingTable((*amounts.values(), Column("kind", name=True)), rows)
        yield from _notes(sizes)


def _columns(sizes: Sequence[Bytes]) -> dict[str, Column]:
    """The columns by the amounts that they show; "unseen" only where there is such memory."""
    unseen = any(amounts.unseen >= 1 for amounts in sizes)
    return {name: column for name, column in _COLUMNS.items() if unseen or name != "unseen"}


def _amounts(amounts: Bytes, rate: float, columns: Iterable[str]) -> list[str]:
    values = [getattr(amounts, name) for name in columns if name != "rate"]
    return [*(size(value) if value >= 1 else "-" for value in values), percent(rate)]


def _notes(sizes: Sequence[Bytes]) -> Iterator[Text]:
    """What the sizes leave open."""
    assumed = sum(amounts.assumed for amounts in sizes)
    undated = sum(amounts.undated for amounts in sizes)
    if assumed >= 1:
        note = f"{size(assumed)} are address space: how much of it is in memory is not known"
        yield Text(note, style="yellow")
    if undated >= 1:
        note = f"{size(undated)} are cold for a time that is not in the recording"
        yield Text(note, style="yellow")


_WIDEST = 60
_NARROW = 44
"""Cells, below which there is no room for means and bars."""


@dataclass(frozen=True)
class IdleView(View):
    """A line for each idle time that some memory has reached."""

    idle: Idle

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        idle = self.idle
        title = "Idle memory: what reclaiming it would free"
        if idle.assumed_bytes:
            title = "Idle address space: how much of it is in memory is not known"
        yield Text(title, style="bold")
        yield from _lines(idle, options)
        longest = format_duration(idle.longest_ns) if idle.longest_ns else "0 s"
        note = f"nothing was idle longer than {longest}"
        if idle.undated_bytes:
            note = f"the recording does not say since when {size(idle.undated_bytes)} are"
        yield Text(f"of {size(idle.total_bytes)} at the end; {note}")
        if idle.unseen_bytes:
            yield Text(
                f"{size(idle.unseen_bytes)} not looked at yet: in use or not", style="yellow"
            )


def _lines(idle: Idle, options: ConsoleOptions) -> RenderResult:
    room = max(0, min(_WIDEST, options.max_width - 44))
    narrow = options.max_width < _NARROW
    heading = f"{'idle for':>12}  {'at the end':>10} {'':>6}"
    yield Text(heading if narrow else f"{heading}  {'mean':>9}", style="bold", no_wrap=True)
    columns = (idle.ages_ns, idle.last_bytes, idle.mean_bytes)
    for age_ns, last, mean in zip(*(column.tolist() for column in columns), strict=True):
        if age_ns > idle.longest_ns:
            continue
        label = format_duration(age_ns) if age_ns else "not accessed"
        share = last / idle.total_bytes if idle.total_bytes else 0.0
        drawn = bar(share, room, options.ascii_only)
        line = f"{label:>12}  {size(last):>10} {percent(share):>6}"
        line += "" if narrow else f"  {size(mean):>9}  {drawn}"
        yield Text(line.rstrip(), no_wrap=True)


_MOST = 50
_MOST_NAMES = 3
_STATES: tuple[State, ...] = ("hot", "cold", "untouched", "unknown")
_OBJECT_COLUMNS = (
    Column("size"),
    Column("state"),
    Column("rate", rank=3),
    Column("idle for"),
    Column("kind", rank=4),
    Column("object", name=True),
)


@dataclass(frozen=True)
class ObjectsView(View):
    """The bytes of each state, and a row an object, hot objects first."""

    report: ObjectReport

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        title = _title(report)
        if len(report) > _MOST:
            title += f"; the first {_MOST}"
        yield Text(title, style="bold")
        yield FittingTable(_OBJECT_COLUMNS, [_row(use) for use in report.objects[:_MOST]])


@dataclass(frozen=True, repr=False)
class CellUse(Displayable):
    """What a notebook's cell did with memory, as `%%pydamon` shows it.

    Parameters
    ----------
    recording
        The accesses while the cell ran.
    objects
        How its objects were used.

    Examples
    --------
    >>> def hot_names(use: CellUse) -> list[str]:
    ...     return use.objects.named("hot")
    """

    recording: Recording
    objects: ObjectReport


@dataclass(frozen=True)
class CellUseView(View):
    """The recording of a cell, then its objects."""

    use: CellUse

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield RecordingView(self.use.recording)
        yield ObjectsView(self.use.objects)


def _title(report: ObjectReport) -> str:
    parts = [
        f"{state} {size(report.bytes_of(state))}" for state in _STATES if report.bytes_of(state)
    ]
    parts.append(f"elsewhere {size(report.other_bytes)}")
    time = f"{duration(report.duration_ns)} in windows of {duration(report.window_ns)}"
    return f"{count(len(report), 'object')}: {', '.join(parts)}, in {time} ({report.probe})"


def _row(use: ObjectUse) -> list[str]:
    names = [printable(name) for name in use.buffer.names[:_MOST_NAMES]] or [use.name]
    return [
        size(use.size),
        use.state,
        percent(use.rate) if use.state != "unknown" else "",
        duration(use.idle_ns) if use.idle_ns is not None else "",
        use.buffer.kind,
        " = ".join(names),
    ]
