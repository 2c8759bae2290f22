"""`pydamon report summary`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, eprint, option, print_json
from pydamon._cli.options import force_option, idle_option, recording_options
from pydamon._cli.reports import report_command
from pydamon._cli.reports.owners import owners_from, provider_options, sources_named
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.recording import RecordingFile

__all__ = ["summary", "summary_document", "write_page"]

_MAPPINGS = 12
_HEATMAP_LINES = 12
_OWNERS = 5
_FUNCTIONS = 10


@report_command("summary")
@recording_options
@idle_option("fits the recording")
@provider_options
@option(
    "--long",
    is_flag=True,
    help="show the heat map, working set and footprint too, and the functions that ran",
)
@option("-o", "--out", type=Path, metavar="FILE", help="write a page of it all: .html")
@force_option
def summary(args: Args) -> int:
    """Show the most important figures, the hottest mappings, and the owners of idle memory.

    pydamon report summary --long
    pydamon report summary --out all.html     # memory by age, heat map, and functions that ran
    """
    from dataclasses import asdict

    from pydamon._cli.reports.base import filtered, open_whole
    from pydamon._data import analysis

    whole = open_whole(args)
    if args.out:
        write_page(args, whole)
        return 0
    recording = filtered(args, whole)
    summary = analysis.summary(recording, args.idle)
    owners = None
    if sources_named(args):
        owners = analysis.owners(recording, owners_from(args), idle_ns=summary.idle_ns)
    if not args.json:
        _print(args, whole, summary, owners)
        return 0
    document = summary_document(recording, summary)
    if owners is not None:
        document["owners"] = [asdict(use) for use in owners.owners[:_OWNERS]]
    if (ran := analysis.functions(whole)).functions:
        document["functions"] = [asdict(each) for each in ran.functions[:_FUNCTIONS]]
    print_json(document)
    return 0


def _print(
    args: Args,
    whole: RecordingFile,
    summary: analysis.Summary,
    owners: analysis.OwnerReport | None,
) -> None:
    from pydamon._cli.reports.base import console, filtered, show
    from pydamon._data import analysis
    from pydamon._show.results.heatmap import heatmap_cells
    from pydamon._show.results.mappings import MappingsView
    from pydamon._show.results.matches import ProfileView
    from pydamon._show.results.owners import OwnersView
    from pydamon._show.results.recording import SummaryView

    screen, recording = console(), filtered(args, whole)
    shown: list[Any] = [
        SummaryView(summary, recording.info),
        MappingsView(summary.mappings, most=_MAPPINGS),
    ]
    if owners is not None:
        shown.append(OwnersView(owners, most=_OWNERS, brief=True))
    if args.long:
        rows, columns = heatmap_cells(screen, height=_HEATMAP_LINES)
        shown += [
            analysis.heatmap(recording, rows, columns),
            summary.working_set,
            analysis.footprint(recording),
        ]
        if (ran := analysis.functions(whole)).functions:
            shown.append(ProfileView(ran, most=_FUNCTIONS))
    show(shown[0], screen)
    for result in shown[1:]:
        show("", screen)
        show(result, screen)


def write_page(args: Args, whole: RecordingFile) -> None:
    """Write the page of a recording: memory by age, functions that ran, and a heat map."""
    from pydamon._cli.reports.base import filtered, new_file
    from pydamon._data import analysis
    from pydamon._show.pictures.page import recording_page

    if args.out.suffix != ".html":
        raise UsageError(f"a page is an HTML file, not {args.out}", hint="as in --out all.html")
    page = recording_page(filtered(args, whole), analysis.functions(whole))
    new_file(args.out, args.force, page.encode())
    eprint(f"wrote {args.out}")


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
