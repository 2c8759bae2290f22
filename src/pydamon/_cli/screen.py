"""Standard output: how wide it is, and how to write to it."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType

__all__ = ["console", "show", "show_wrapped"]

_SIZES = {"COLUMNS": (20, 1000), "LINES": (1, 1000)}
"""Programs set sizes that no terminal has, down to 0: nothing can be read or laid out in them."""


def console(*, soft_wrap: bool = False) -> Console:
    """Standard output as wide as it is, without highlighting of what looks like a number."""
    width = height = None
    if not all(_is_sane(name) for name in _SIZES):
        width, height = _size()
    return Console(
        highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width, height=height
    )


def show(what: RenderableType, on: Console | None = None) -> None:
    """Render, then write: rich would exit by itself where the reader of a pipe has gone.

    Blanks with which it fills up lines are left out.
    """
    on = on or console()
    with on.capture() as capture:
        on.print(what)
    sys.stdout.write("".join(f"{line.rstrip(' ')}\n" for line in capture.get().splitlines()))


def show_wrapped(what: RenderableType) -> None:
    """Show text whose lines are as long as they are, unless a terminal wraps them."""
    show(what, console(soft_wrap=not sys.stdout.isatty()))


def _is_sane(name: str) -> bool:
    value = os.environ.get(name)
    if value is None:
        return True
    least, most = _SIZES[name]
    return value.isascii() and value.isdecimal() and least <= int(value[:9]) <= most


def _size() -> tuple[int, int]:
    """The terminal's own size, where the environment does not say a sane one."""
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
