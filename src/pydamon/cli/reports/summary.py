"""`pydamon report summary`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    bytes_document,
    console,
    duration,
    open_recording,
    show,
    target_document,
)
from pydamon.cli.reports.mappings import mapping_document
from pydamon.cli.reports.wss import percentiles_document
from pydamon.recording import RecordingFile
from pydamon.views import (
    FootprintView,
    HeatMapView,
    WorkingSetView,
    heatmap_cells,
    mapping_table,
    summary_view,
)

__all__ = ["SummaryReport", "summary_document"]

_MAPPINGS = 12
_LINES = 12
"""Of the heat map."""


class SummaryReport:
    """What was seen, in a few numbers, and the hottest mappings."""

    name = "summary"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording, and what counts as idle."""
        add_recording_arguments(parser)
        parser.add_argument(
            "--idle",
            type=duration,
            metavar="D",
            help="for how long what is idle has not been accessed (default: fits the recording)",
        )
        parser.add_argument(
            "--long", action="store_true", help="the heat map, working set and footprint too"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print the summary."""
        recording = open_recording(args)
        summary = analysis.summary(recording, args.idle)
        if args.json:
            print_json(summary_document(recording, summary))
            return 0
        screen = console()
        show(summary_view(summary, recording.info), screen)
        show("", screen)
        show(mapping_table(summary.mappings, most=_MAPPINGS), screen)
        if args.long:
            rows, columns = heatmap_cells(screen, height=_LINES)
            for view in (
                HeatMapView(analysis.heatmap(recording, rows, columns)),
                WorkingSetView(summary.working_set),
                FootprintView(analysis.footprint(recording)),
            ):
                show("", screen)
                show(view, screen)
        return 0


def summary_document(recording: RecordingFile, summary: analysis.Summary) -> dict[str, Any]:
    """The summary in JSON: bytes are means over the time that was recorded."""
    return {
        "recording": asdict(recording.info),
        "complete": recording.complete,
        "targets": [target_document(target) for target in summary.targets],
        "snapshots": summary.snapshots,
        "duration_ns": summary.duration_ns,
        "idle_ns": summary.idle_ns,
        "bytes": bytes_document(summary.size),
        "working_set": percentiles_document(summary.working_set.total),
        "mappings": [mapping_document(one) for one in summary.mappings],
        "monitoring": asdict(summary.cost),
    }
