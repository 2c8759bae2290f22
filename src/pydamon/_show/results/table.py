"""Tables that fit into a terminal, however narrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._show.results.view import View
from pydamon._show.text import shortened

__all__ = ["Column", "FittingTable"]

_GAP = 2
_ALWAYS = 9
_NARROWEST = 10
"""Cells that a name keeps: before it gets narrower, columns are left out."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and what happens to the column where the table is too wide.

    A *name* gets narrower. Other columns are left out, the lowest *rank* first; rank 9 always
    stays.
    """

    heading: str
    name: bool = False
    rank: int = _ALWAYS


@dataclass(frozen=True)
class FittingTable(View):
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

    def html(self) -> str:
        """A table with all columns: a page is as wide as it needs to be."""
        head = "".join(self._cells("th", [column.heading for column in self.columns]))
        body = "".join(f"<tr>{''.join(self._cells('td', row))}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self, tag: str, texts: Sequence[str]) -> Iterator[str]:
        for column, text in zip(self.columns, texts, strict=True):
            side = "left" if column.name else "right"
            yield f'<{tag} style="text-align:{side}">{escape(text)}</{tag}>'

    def _shown(self, widths: list[int], room: int) -> list[int]:
        """The columns that fit into *room*."""
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
        """Make the widest name narrower until the table fits."""
        names = [i for i in shown if self.columns[i].name]
        excess = sum(widths[i] + _GAP for i in shown) - _GAP - room
        while names and excess > 0:
            widest = max(names, key=lambda i: widths[i])
            if widths[widest] <= 1:
                break
            widths[widest] -= 1
            excess -= 1
