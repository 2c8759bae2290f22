"""Notebooks: `%load_ext pydamon.notebook` adds the cell magic `%%pydamon`.

Results show themselves in a notebook without it.
"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

from pydamon._model.display import Displayable
from pydamon._model.errors import PydamonError, UsageError
from pydamon._objects import Watch
from pydamon._show.results import html_of
from pydamon._show.results.mappings import CellUse

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["CellUse", "load_ipython_extension", "to_html"]

_HIDDEN = ("In", "Out", "exit", "quit", "get_ipython", "open")
_DEFAULT_BUDGET = 5.0


def to_html(result: Displayable) -> str:
    """A result as HTML, as a notebook shows it.

    Parameters
    ----------
    result
        A snapshot, a recording, or what a function of `pydamon.analysis` returns.

    Returns
    -------
    str
        Elements to put into a page: tables, images, preformatted text.

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> trace = Trace((Phase(10**9, (Access(0, 4 << 20, rate_hz=1000),)),))
    >>> with pydamon.simulate(trace, [(0, 16 << 20)]) as mon:
    ...     *_, snapshot = mon.run("2s")
    >>> "<table>" in to_html(snapshot)
    True
    """
    return html_of(result)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magic `%%pydamon`: what `%load_ext pydamon.notebook` calls.

    Parameters
    ----------
    shell
        The interpreter of the notebook.

    Examples
    --------
    >>> from IPython.core.interactiveshell import InteractiveShell
    >>> shell = InteractiveShell()
    >>> load_ipython_extension(shell)
    >>> "pydamon" in shell.magics_manager.magics["cell"]
    True
    """

    def pydamon(line: str, cell: str) -> None:
        """Monitor the cell while it runs, and show which memory it used.

        %%pydamon [--budget PERCENT] [--probe NAME] [--to VARIABLE]
        """
        from IPython.display import display  # noqa: PLC0415  (an extra)

        args, watch = _started(shell, line)
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


def _started(shell: InteractiveShell, line: str) -> tuple[argparse.Namespace, Watch]:
    """The arguments of the magic, and a watch; raises IPython's error, which is shown as a line."""
    from IPython.core.error import UsageError as LineError  # noqa: PLC0415  (an extra)

    try:
        args = _parser().parse_args(shlex.split(line))
        watch = Watch(lambda: _variables(shell), cpu_budget_percent=args.budget, probe=args.probe)
    except PydamonError as error:
        raise LineError(f"{error}; {error.hint}".rstrip("; ")) from None
    except ValueError as error:
        raise LineError(f"%%pydamon: {error}") from None
    return args, watch


def _variables(shell: InteractiveShell) -> dict[str, Any]:
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
