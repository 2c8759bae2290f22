"""What every view is: Rich draws it in a terminal, and `html` in a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

__all__ = ["View", "html_of_parts", "text_of"]

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
