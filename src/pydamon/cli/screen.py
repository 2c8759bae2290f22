"""Standard output: how wide it is, and how to write to it."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType

__all__ = ["console", "show", "show_wrapped"]

_WIDEST = 1000
"""More than that, or nothing at all, is no width of a terminal: programs set odd `COLUMNS`."""
_USUAL = {"COLUMNS": 80, "LINES": 25}


def console(*, soft_wrap: bool = False) -> Console:
    """Standard output as wide as it is, without highlighting of what looks like a number."""
    width, height = (None if _is_sane(name) else size for name, size in _USUAL.items())
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
    value = os.environ.get(name, "80")
    return value.isascii() and value.isdecimal() and 1 <= int(value[:9]) <= _WIDEST
