"""Names, numbers and tables that fit into a terminal, however narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._model.names import printable
from pydamon._model.snapshot import Target
from pydamon._model.units import format_duration, format_size

__all__ = [
    "Column",
    "FittingTable",
    "age",
    "bar",
    "duration",
    "mapping_label",
    "percent",
    "printable",
    "shortened",
    "size",
    "target_cell",
    "target_label",
]

_EIGHTHS = " ▏▎▍▌▋▊▉"


def mapping_label(name: str, width: int = 0) -> str:
    """The name of a mapping: of a path that does not fit into *width* cells only the end."""
    label = printable(name) or "(not mapped)"
    return shortened(label, width) if width else label


def shortened(text: str, width: int) -> str:
    """*text* in at most *width* cells: of a path only its end, of anything else its beginning."""
    if cell_len(text) <= width:
        return text
    text = text.rsplit("/", 1)[-1] or text
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "~"


def target_label(target: Target) -> str:
    """A target's name and pid, and its host where there are several."""
    name = printable(target.name)
    at = f" on {printable(target.host)}" if target.host else ""
    if not target.pid:
        return (name or "memory") + at
    return f"{name} (pid {target.pid}{at})" if name else f"pid {target.pid}{at}"


def target_cell(target: Target) -> str:
    """A target in a table, where names may be cut: the pid first."""
    if not target.pid:
        return target_label(target)
    parts = (str(target.pid), printable(target.host), printable(target.name))
    return " ".join(part for part in parts if part)


def percent(share: float) -> str:
    """A share of 1 in percent: of small ones, two digits."""
    value = share * 100
    if value == 0:
        return "0 %"
    if value < 0.005:
        return "<0.01 %"
    return f"{value:.2g} %" if value < 9.95 else f"{value:.0f} %"


def size(size_bytes: float) -> str:
    """Bytes for people."""
    return format_size(round(size_bytes))


def age(age_ns: float) -> str:
    """For how long something has held; "?" where nobody knows."""
    return "?" if age_ns < 0 else duration(age_ns)


def duration(duration_ns: float) -> str:
    """A duration for people; none at all has no need of nanoseconds."""
    return format_duration(duration_ns) if duration_ns >= 1 else "0 s"


def bar(share: float, width: int, ascii_only: bool = False) -> str:
    """A bar of *share* (0 to 1) of *width* cells."""
    if ascii_only:
        return "#" * round(share * width)
    full, rest = divmod(round(max(0.0, min(1.0, share)) * width * 8), 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


_GAP = 2
_ALWAYS = 9
_NARROWEST = 10
"""Cells that a name keeps before columns are left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and what may happen to the column where there is no room for it.

    A *name* shrinks; of the others those with the lowest *rank* are left out first, but rank 9
    never.
    """

    heading: str
    name: bool = False
    rank: int = _ALWAYS


@dataclass(frozen=True)
class FittingTable:
    """Rows of plain text, one cell a column; `styles`, where given, has one entry a row."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str] = field(default=())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [
            max([cell_len(column.heading), *(cell_len(row[i]) for row in self.rows)])
            for i, column in enumerate(self.columns)
        ]
        shown = self._shown(widths, options.max_width)
        self._shrink(widths, shown, options.max_width)
        table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="bold", pad_edge=False)
        for i in shown:
            column = self.columns[i]
            table.add_column(
                column.heading,
                justify="left" if column.name else "right",
                width=widths[i],
                no_wrap=True,
            )
        for row, style in zip(self.rows, self.styles or [""] * len(self.rows), strict=True):
            cells = (
                Text(shortened(row[i], widths[i]) if self.columns[i].name else row[i])
                for i in shown
            )
            table.add_row(*cells, style=style)
        yield table

    def _shown(self, widths: list[int], room: int) -> list[int]:
        """Which columns there is room for."""
        least = [
            min(width, _NARROWEST) if column.name else width
            for width, column in zip(widths, self.columns, strict=True)
        ]
        shown = list(range(len(self.columns)))
        by_rank = sorted(shown, key=lambda i: (self.columns[i].rank, -i))
        while by_rank and sum(least[i] + _GAP for i in shown) - _GAP > room:
            last = by_rank.pop(0)
            if self.columns[last].rank == _ALWAYS:
                break
            shown.remove(last)
        return shown

    def _shrink(self, widths: list[int], shown: list[int], room: int) -> None:
        """Make the widest name narrower until all fits."""
        names = [i for i in shown if self.columns[i].name]
        excess = sum(widths[i] + _GAP for i in shown) - _GAP - room
        while names and excess > 0:
            widest = max(names, key=lambda i: widths[i])
            if widths[widest] <= 1:
                break
            widths[widest] -= 1
            excess -= 1
