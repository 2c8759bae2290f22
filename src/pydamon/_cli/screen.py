"""Standard output: its width, and how to print to it."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType

__all__ = ["console", "show", "show_wrapped"]

_SIZES = {"COLUMNS": (20, 1000), "LINES": (1, 1000)}
"""Least and most plausible value. Some programs set sizes, such as 0, in which no layout works."""


def console(*, soft_wrap: bool = False) -> Console:
    """Return a console for standard output, with its real width and without highlighting."""
    width = height = None
    if not all(_is_sane(name) for name in _SIZES):
        width, height = _size()
    return Console(
        highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width, height=height
    )


def show(view: RenderableType, screen: Console | None = None) -> None:
    """Render a view and print it, without blanks at the ends of lines.

    Rich itself does not print: it would exit by itself when the reader of a pipe has gone.
    """
    screen = screen or console()
    with screen.capture() as capture:
        screen.print(view)
    sys.stdout.write("".join(f"{line.rstrip(' ')}\n" for line in capture.get().splitlines()))


def show_wrapped(view: RenderableType) -> None:
    """Print text: wrapped on a terminal, and with lines of any length elsewhere."""
    show(view, console(soft_wrap=not sys.stdout.isatty()))


def _is_sane(name: str) -> bool:
    value = os.environ.get(name)
    if value is None:
        return True
    least, most = _SIZES[name]
    return value.isascii() and value.isdecimal() and least <= int(value[:9]) <= most


def _size() -> tuple[int, int]:
    """Return width and height: from sane variables, else from the terminal itself."""
    try:
        size = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    real = {"COLUMNS": size.columns or 80, "LINES": size.lines or 25}
    width, height = (
        int(os.environ[name]) if name in os.environ and _is_sane(name) else real[name]
        for name in _SIZES
    )
    return width, height
