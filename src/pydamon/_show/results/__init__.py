"""What results look like: one view each, for terminals and notebooks alike.

A new kind of result takes a file here with its view, and a line in `VIEWS`; its class derives from
`Displayable`, which finds the view by the name of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module

from pydamon._model.display import Displayable
from pydamon._show.results.view import View, text_of

__all__ = ["VIEWS", "html_of", "mime_bundle", "view_of"]

VIEWS = {
    "Applied": "schemes:AppliedView",
    "CellUse": "mappings:CellUseView",
    "Diff": "diff:DiffView",
    "Distribution": "regions:DistributionView",
    "FootprintSeries": "sizes:FootprintSeriesView",
    "Footprints": "sizes:FootprintView",
    "HeatMap": "heatmap:HeatMapView",
    "HugeUse": "huge_use:HugeUseView",
    "Idle": "mappings:IdleView",
    "KernelScheme": "schemes:AppliedSchemeView",
    "KernelTrace": "trace:KernelTraceView",
    "Mappings": "mappings:MappingsView",
    "Needs": "needs:NeedsView",
    "ObjectReport": "mappings:ObjectsView",
    "OwnerDiff": "owner_diff:OwnerDiffView",
    "OwnerReport": "owners:OwnersView",
    "Profile": "matches:ProfileView",
    "Recording": "recording:RecordingView",
    "RecordingFile": "recording:RecordingFileView",
    "SchemePipeline": "schemes:AppliedSchemeView",
    "SchemeStats": "schemes:SchemeStatsView",
    "Snapshot": "regions:SnapshotView",
    "Summary": "recording:SummaryView",
    "Temperatures": "regions:TemperaturesView",
    "Times": "matches:TimesView",
    "WorkingSet": "sizes:WorkingSetView",
    "WorkingSetSeries": "sizes:WorkingSetSeriesView",
    "WorkingSetsWithin": "sizes:WorkingSetsWithinView",
}
"""The view of each class of results: module and name, imported when such a result is shown."""


def view_of(result: Displayable) -> View:
    """The view of a result; raises `TypeError` for anything else."""
    for kind in type(result).__mro__:
        if isinstance(result, Displayable) and kind.__name__ in VIEWS:
            module, _, name = VIEWS[kind.__name__].partition(":")
            view: View = getattr(import_module(f"{__name__}.{module}"), name)(result)
            return view
    raise TypeError(f"no result of pydamon: {type(result).__name__}")


def html_of(result: Displayable) -> str:
    """A result as HTML; raises `TypeError` for anything else."""
    return view_of(result).html()


def mime_bundle(
    result: Displayable, include: Collection[str] | None, exclude: Collection[str] | None
) -> dict[str, str]:
    """A result as HTML and plain text, as far as IPython asks for them."""
    view = view_of(result)
    wanted = set(include or _FORMATS) - set(exclude or ())
    return {kind: show(view) for kind, show in _FORMATS.items() if kind in wanted}


_FORMATS: dict[str, Callable[[View], str]] = {
    "text/html": lambda view: view.html(),
    "text/plain": text_of,
}
