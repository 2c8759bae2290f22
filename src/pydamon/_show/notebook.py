"""Notebooks: `%load_ext pydamon.notebook` shows results as HTML, and adds `%%pydamon`."""

from __future__ import annotations

import argparse
import base64
import io
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console, RenderableType

from pydamon._data import analysis
from pydamon._data.recording import Recording
from pydamon._model.errors import PydamonError, RecordingError, UsageError
from pydamon._model.snapshot import Snapshot
from pydamon._objects import ObjectReport, Watch
from pydamon._show import terminal as views
from pydamon._show.pictures.picture import heatmap_svg
from pydamon._show.terminal.objects import HEADINGS, object_rows, object_table, object_title
from pydamon._show.terminal.summary import summary_view
from pydamon._show.terminal.text import age, duration, mapping_label, percent, size, target_label

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["FORMATS", "CellUse", "load_ipython_extension", "to_html"]

_ROWS, _COLUMNS = 80, 200
_MOST = 50
_WIDTH = 100


def to_html(value: Any) -> str:
    """A result as HTML; raises `TypeError` for what is none."""
    for kind, show in FORMATS.items():
        if isinstance(value, kind):
            return show(value)
    raise TypeError(f"no result of pydamon: {type(value).__name__}")


def _snapshot(snapshot: Snapshot) -> str:
    rows = [
        (
            size(one.size),
            percent(one.nr_accesses / max(snapshot.max_nr_accesses, 1)),
            age(one.age_ns),
            f"{one.start:x}-{one.end:x}",
            mapping_label(one.mapping.name) if one.mapping else "",
            target_label(one.target),
        )
        for one in snapshot.hottest(_MOST)
    ]
    classes = snapshot.classes.over(len(snapshot.targets))
    whole, unseen, assumed = (
        int(amount.sum()) for amount in (classes.total, classes.unseen, classes.assumed)
    )
    title = f"Working set {size(snapshot.working_set())} of {size(whole)} "
    title += "of address space" if assumed else "in memory"
    title += f", {size(unseen)} not looked at yet" if unseen else ""
    title += f", in {duration(snapshot.window_ns)}"
    more = len(snapshot) - len(rows)
    title += f"; the {len(rows)} hottest of {len(snapshot)} regions" if more else ""
    return _table(title, ("size", "rate", "age", "addresses", "mapping", "target"), rows)


def _recording(recording: Recording) -> str:
    try:
        return _heatmap(analysis.heatmap(recording, _ROWS, _COLUMNS)) + _text(
            summary_view(analysis.summary(recording), recording.info)
        )
    except RecordingError as error:
        return f"<p>{escape(str(error))}</p>"


def _heatmap(heatmap: analysis.HeatMap) -> str:
    # As an image, so that its style sheet is not that of the whole page.
    data = base64.b64encode(heatmap_svg(heatmap)).decode()
    title = f"Heat map of {target_label(heatmap.target)}: access rates by address and time"
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}">'


def _objects(report: ObjectReport) -> str:
    title = object_title(report)
    if len(report) > _MOST:
        title += f"; the first {_MOST}"
    return _table(title, HEADINGS, object_rows(report, _MOST))


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _text(view: RenderableType) -> str:
    """What a terminal would show."""
    console = Console(record=True, file=io.StringIO(), width=_WIDTH, force_terminal=True)
    console.print(view)
    return console.export_html(
        inline_styles=True, code_format='<pre style="line-height:1.2">{code}</pre>'
    )


FORMATS: dict[type[Any], Callable[[Any], str]] = {
    Snapshot: _snapshot,
    Recording: _recording,
    ObjectReport: _objects,
    analysis.HeatMap: _heatmap,
    analysis.WorkingSet: lambda one: _text(views.WorkingSetView(one)),
    analysis.Idle: lambda one: _text(views.IdleView(one)),
    analysis.Distribution: lambda one: _text(views.DistributionView(one)),
    analysis.Diff: lambda one: _text(views.DiffView(one)),
}
"""How results of each type look."""


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
