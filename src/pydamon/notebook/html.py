"""Results as HTML: one function for each type, all of them in `FORMATS`."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from rich.console import Console, RenderableType

from pydamon import analysis, views
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Snapshot
from pydamon.objects import ObjectReport
from pydamon.recording import Recording
from pydamon.views.objects import HEADINGS, object_rows, object_title
from pydamon.views.summary import summary_view
from pydamon.views.svg import heatmap_svg
from pydamon.views.text import age, duration, mapping_label, percent, size, target_label

__all__ = ["FORMATS", "to_html"]

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
