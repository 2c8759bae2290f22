"""`pydamon report diff`."""

from __future__ import annotations

import argparse
from typing import Any

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    bytes_document,
    duration,
    open_recording,
    show,
)
from pydamon.cli.reports.wss import percentiles_document
from pydamon.views import DiffView

__all__ = ["DiffReport"]


class DiffReport:
    """Two recordings side by side: what became hotter, what colder, what is new.

    Processes are matched by name, memory by the name of what is mapped. Bytes are means over the
    time that was recorded.
    """

    name = "diff"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the two recordings."""
        add_recording_arguments(parser, "before", "after")
        parser.add_argument(
            "--idle",
            type=duration,
            metavar="D",
            help="for how long what is idle has not been accessed (default: fits both)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print totals, then mappings from the largest change of hot bytes to the smallest."""
        before, after = (open_recording(args, file) for file in (args.before, args.after))
        found = analysis.diff(before, after, args.idle)
        if args.json:
            print_json(_document(found))
        else:
            show(DiffView(found))
        return 0


def _document(found: analysis.Diff) -> dict[str, Any]:
    return {
        "idle_ns": found.before.idle_ns,
        **{
            name: {
                "duration_ns": one.duration_ns,
                "snapshots": one.snapshots,
                "bytes": bytes_document(one.size),
                "working_set": percentiles_document(one.working_set.total),
            }
            for name, one in (("before", found.before), ("after", found.after))
        },
        "mappings": [
            {
                "target": one.target_name,
                "mapping": one.name,
                "bytes_before": bytes_document(one.before),
                "bytes_after": bytes_document(one.after),
                "access_rate_before": one.rate_before,
                "access_rate_after": one.rate_after,
            }
            for one in found.mappings
        ],
    }
