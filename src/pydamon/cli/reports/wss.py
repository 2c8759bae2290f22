"""`pydamon report wss`."""

from __future__ import annotations

import argparse
from typing import Any

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    open_recording,
    show,
    target_document,
)
from pydamon.views import WorkingSetView

__all__ = ["WssReport", "percentiles_document"]


class WssReport:
    """The size of the working set: its distribution and its course.

    That is the bytes accessed in each snapshot's window.
    """

    name = "wss"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which recording, and which percentiles."""
        add_recording_arguments(parser)
        parser.add_argument(
            "--percentiles",
            type=_percentiles,
            default=analysis.PERCENTILES,
            metavar="P,P,...",
            help="percentiles of the snapshots' working sets (default: 0,25,50,75,90,100)",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print percentiles and course, of all targets together and of each."""
        found = analysis.working_set(open_recording(args), args.percentiles)
        if not args.json:
            show(WorkingSetView(found))
            return 0
        targets = [
            {**target_document(series.target), **_series(series)}
            for series in found.targets
            if series.target
        ]
        print_json({"total": _series(found.total), "targets": targets})
        return 0


def percentiles_document(series: analysis.WorkingSetSeries) -> dict[str, int]:
    """Percentiles in JSON."""
    return {f"{mark:g}": amount for mark, amount in series.percentiles}


def _series(series: analysis.WorkingSetSeries) -> dict[str, Any]:
    return {
        "percentiles": percentiles_document(series),
        "end_ns": series.end_ns.tolist(),
        "bytes": series.size_bytes.tolist(),
    }


def _percentiles(text: str) -> tuple[float, ...]:
    try:
        marks = tuple(float(mark) for mark in text.split(","))
    except ValueError:
        marks = ()
    if not marks or not all(0 <= mark <= 100 for mark in marks):
        raise argparse.ArgumentTypeError(f"not percentiles from 0 to 100: {text!r}")
    return marks
