"""`pydamon report summary`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, option, print_json
from pydamon._cli.options import idle_option, recording_options
from pydamon._cli.reports import report_command
from pydamon._cli.reports.owners import owners_from, provider_options, sources_named

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.recording import RecordingFile

__all__ = ["summary", "summary_document"]

_MAPPINGS = 12
_HEATMAP_LINES = 12
_OWNERS = 5


@report_command("summary")
@recording_options
@idle_option("fits the recording")
@provider_options
@option("--long", is_flag=True, help="show the heat map, working set and footprint too")
def summary(args: Args) -> int:
    """Show the most important figures, the hottest mappings, and the owners of idle memory."""
    from dataclasses import asdict

    from pydamon._cli.reports.base import console, open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.heatmap import heatmap_cells
    from pydamon._show.results.mappings import MappingsView
    from pydamon._show.results.owners import OwnersView
    from pydamon._show.results.recording import SummaryView

    recording = open_recording(args)
    summary = analysis.summary(recording, args.idle)
    owners = None
    if sources_named(args):
        owners = analysis.owners(recording, owners_from(args), idle_ns=summary.idle_ns)
    if args.json:
        document = summary_document(recording, summary)
        if owners is not None:
            document["owners"] = [asdict(use) for use in owners.owners[:_OWNERS]]
        print_json(document)
        return 0
    screen = console()
    show(SummaryView(summary, recording.info), screen)
    show("", screen)
    show(MappingsView(summary.mappings, most=_MAPPINGS), screen)
    if owners is not None:
        show("", screen)
        show(OwnersView(owners, most=_OWNERS, brief=True), screen)
    if args.long:
        rows, columns = heatmap_cells(screen, height=_HEATMAP_LINES)
        for result in (
            analysis.heatmap(recording, rows, columns),
            summary.working_set,
            analysis.footprint(recording),
        ):
            show("", screen)
            show(result, screen)
    return 0


def summary_document(recording: RecordingFile, summary: analysis.Summary) -> dict[str, Any]:
    """Return the summary for JSON: bytes are means over the recorded time."""
    from dataclasses import asdict

    from pydamon._cli.reports.base import bytes_document, target_document
    from pydamon._cli.reports.mappings import mapping_document
    from pydamon._cli.reports.wss import percentiles_document

    return {
        "recording": asdict(recording.info),
        "complete": recording.complete,
        "targets": [target_document(target) for target in summary.targets],
        "snapshots": summary.snapshots,
        "began_ns": summary.began_ns,
        "duration_ns": summary.duration_ns,
        "idle_ns": summary.idle_ns,
        "bytes": bytes_document(summary.size),
        "working_set": percentiles_document(summary.working_set.total),
        "regions": {f"{mark:g}": number for mark, number in summary.regions},
        "mappings": [mapping_document(mapping) for mapping in summary.mappings],
        "monitoring": asdict(summary.cost),
    }
