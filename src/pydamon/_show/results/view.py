"""What every view is: Rich draws it in a terminal, and `html` in a notebook; and its tables."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from pydamon._show.text import shortened

__all__ = ["Column", "FittingTable", "View", "html_of_parts", "text_of"]

_WIDTH = 100
"""Characters of a line in a notebook."""
_PREFORMATTED = '<pre style="line-height:1.2">{code}</pre>'


class View(ABC):
    """A result from top to bottom: text, tables, pictures, and other views."""

    @abstractmethod
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult: ...

    def html(self) -> str:
        """The same parts as HTML: text as a terminal shows it, tables and pictures as such."""
        console = _notebook()
        return html_of_parts(self.__rich_console__(console, console.options))


def html_of_parts(parts: RenderResult) -> str:
    """HTML of parts that stand one below the other."""
    return "".join(_pieces(parts))


def _pieces(parts: RenderResult) -> Iterator[str]:
    """HTML of parts, with neighbouring text in one piece."""
    text: list[RenderableType] = []
    for part in parts:
        if isinstance(part, View):
            yield _preformatted(text)
            yield part.html()
            text = []
        else:
            assert not isinstance(part, tuple)  # segments are for what draws character by character
            text.append(part)
    yield _preformatted(text)


def _preformatted(text: list[RenderableType]) -> str:
    if not text:
        return ""
    console = _notebook()
    for part in text:
        console.print(part)
    return console.export_html(inline_styles=True, code_format=_PREFORMATTED)


def text_of(view: RenderableType) -> str:
    """Plain text, for consoles that show neither HTML nor colours."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _notebook() -> Console:
    return Console(record=True, file=io.StringIO(), width=_WIDTH, force_terminal=True)


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
