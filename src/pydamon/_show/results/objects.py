"""Which objects are hot, cold or untouched, as a table; and what a notebook's cell used."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.recording import Recording
from pydamon._model.display import Displayable
from pydamon._objects import ObjectReport, ObjectUse
from pydamon._objects.report import State
from pydamon._show.results.recording import RecordingView
from pydamon._show.results.table import Column, FittingTable
from pydamon._show.results.view import View
from pydamon._show.text import count, duration, percent, printable, size

__all__ = ["CellUse", "CellUseView", "ObjectsView"]

_MOST = 50
_MOST_NAMES = 3
_STATES: tuple[State, ...] = ("hot", "cold", "untouched", "unknown")
_COLUMNS = (
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
        yield FittingTable(_COLUMNS, [_row(use) for use in report.objects[:_MOST]])


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
