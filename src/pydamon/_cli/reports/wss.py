"""`pydamon report wss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, Parsed, option, print_json
from pydamon._cli.options import recording_options
from pydamon._cli.reports import report_command
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["percentiles_document", "wss"]


def _percentiles(text: str) -> tuple[float, ...]:
    try:
        marks = tuple(float(mark.strip().removesuffix("%")) for mark in text.split(","))
    except ValueError:
        marks = ()
    if not marks or not all(0 <= mark <= 100 for mark in marks):
        raise UsageError(f"not percentiles from 0 to 100: {text!r}")
    return marks


@report_command("wss")
@recording_options
@option(
    "--percentiles",
    type=Parsed(_percentiles),
    metavar="P,P,...",
    help="percentiles of the snapshots' working sets (default: 0,25,50,75,90,100)",
)
def wss(args: Args) -> int:
    """Show the size of the working set: its percentiles, and its size over time.

    The working set of a snapshot is the bytes that were accessed in its window.
    """
    from pydamon._cli.reports.base import open_recording, show, target_document
    from pydamon._data import analysis

    marks = args.percentiles or analysis.PERCENTILES
    working_set = analysis.working_set(open_recording(args), marks)
    if not args.json:
        show(working_set)
        return 0
    targets = [
        {**target_document(series.target), **_series(series)}
        for series in working_set.targets
        if series.target
    ]
    print_json({"total": _series(working_set.total), "targets": targets})
    return 0


def percentiles_document(series: analysis.WorkingSetSeries) -> dict[str, int]:
    """Return percentiles for JSON."""
    return {f"{mark:g}": amount for mark, amount in series.percentiles}


def _series(series: analysis.WorkingSetSeries) -> dict[str, Any]:
    return {
        "percentiles": percentiles_document(series),
        "end_ns": series.end_ns.tolist(),
        "bytes": series.size_bytes.tolist(),
        "unseen_bytes": series.unseen_bytes.tolist(),
    }
