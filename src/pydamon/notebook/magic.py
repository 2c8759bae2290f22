"""The cell magic `%%pydamon`."""

from __future__ import annotations

import argparse
import io
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from pydamon.core.errors import PydamonError, UsageError
from pydamon.notebook.html import FORMATS, to_html
from pydamon.objects import ObjectReport, Watch
from pydamon.recording import Recording
from pydamon.views.objects import object_table

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["CellUse", "load_ipython_extension"]

_HIDDEN = ("In", "Out", "exit", "quit", "get_ipython", "open")
_DEFAULT_BUDGET = 5.0


@dataclass(frozen=True)
class CellUse:
    """What a cell did with memory: shows as a heat map, a summary, and the objects."""

    recording: Recording
    objects: ObjectReport

    def _repr_html_(self) -> str:
        return to_html(self.recording) + to_html(self.objects)

    def __repr__(self) -> str:
        console = Console(file=io.StringIO(), width=100)
        console.print(object_table(self.objects))
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text.rstrip()


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What `%load_ext pydamon.notebook` calls."""
    formatter = shell.display_formatter.formatters["text/html"]  # type: ignore[union-attr]
    for kind, show in FORMATS.items():
        formatter.for_type(kind, show)

    def pydamon(line: str, cell: str) -> None:
        """Monitor what the cell runs, and show which memory it used.

        %%pydamon [--budget PERCENT] [--probe NAME] [--to VARIABLE]
        """
        from IPython.core.error import UsageError as OneLine  # noqa: PLC0415  (an extra)
        from IPython.display import display  # noqa: PLC0415

        try:
            args = _parser().parse_args(shlex.split(line))
            watch = Watch(lambda: _named(shell), cpu_budget_percent=args.budget, probe=args.probe)
        except PydamonError as error:
            raise OneLine(f"{error}; {error.hint}".rstrip("; ")) from None
        except ValueError as error:
            raise OneLine(f"%%pydamon: {error}") from None
        with watch as watching:
            result = shell.run_cell(  # type: ignore[no-untyped-call]
                cell, store_history=False
            )
        use = CellUse(watching.recording, watching.report)
        if args.to:
            shell.user_ns[args.to] = use
        display(use)  # type: ignore[no-untyped-call]
        if not result.success:
            result.raise_error()

    shell.magics_manager.register_function(pydamon, "cell", "pydamon")


def _named(shell: InteractiveShell) -> dict[str, Any]:
    """The user's variables."""
    return {name: value for name, value in shell.user_ns.items() if name not in _HIDDEN}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"%%pydamon: {message}", hint=self.format_usage().strip())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="%%pydamon", add_help=False)
    parser.add_argument("--budget", type=float, default=_DEFAULT_BUDGET)
    parser.add_argument("--probe", default="auto")
    parser.add_argument("--to", metavar="VARIABLE")
    return parser
