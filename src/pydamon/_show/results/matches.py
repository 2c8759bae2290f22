"""When a filter matched memory, and which functions ran then, as tables."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pydamon._data.analysis import Profile, Times
from pydamon._model.units import format_duration
from pydamon._show.results.view import Column, FittingTable, View
from pydamon._show.text import duration, percent, printable, size

__all__ = ["ProfileView", "TimesView"]

_TIMES_COLUMNS = (Column("from"), Column("to"), Column("for"), Column("bytes"))


@dataclass(frozen=True)
class TimesView(View):
    """A row for each stretch of time, counted from the start of the recording."""

    times: Times

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        times = self.times
        recorded_ns = times.last_ns - times.begin_ns
        share = percent(times.total_ns / max(recorded_ns, 1))
        title = f"{duration(times.total_ns)} of {format_duration(recorded_ns)} ({share})"
        yield Text(title, style="bold")
        columns = (times.start_ns, times.end_ns, times.mean_bytes)
        rows = [
            [
                duration(start - times.begin_ns),
                duration(end - times.begin_ns),
                duration(end - start),
                size(mean),
            ]
            for start, end, mean in zip(*(column.tolist() for column in columns), strict=True)
        ]
        yield FittingTable(_TIMES_COLUMNS, rows)


_MOST_FUNCTIONS = 20
_PROFILE_COLUMNS = (
    Column("matched"),
    Column("otherwise", rank=5),
    Column("function", name=True),
    Column("file", name=True, rank=4),
)
_ALL_COLUMNS = (Column("samples"), *_PROFILE_COLUMNS[2:])


@dataclass(frozen=True)
class ProfileView(View):
    """The functions whose share differs most between the matched time and all other time.

    Without samples at other times, the functions that ran most.
    """

    profile: Profile
    most: int = _MOST_FUNCTIONS

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        profile = self.profile
        compares = bool(profile.samples_outside)
        beside = f" while the filter matched, {profile.samples_outside} otherwise"
        title = f"Functions: {profile.samples_inside} samples{beside if compares else ''}"
        yield Text(title, style="bold")
        rows = [
            [
                percent(function.inside),
                *([percent(function.outside)] if compares else []),
                printable(function.function),
                printable(function.file),
            ]
            for function in profile.functions[: self.most]
        ]
        rest = len(profile.functions) - len(rows)
        if rest:
            rows.append(["...", *([""] if compares else []), f"{rest} more functions", ""])
        yield FittingTable(_PROFILE_COLUMNS if compares else _ALL_COLUMNS, rows)
