"""`pydamon report wss`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, Parsed, option, print_json
from pydamon._cli.options import recording_options
from pydamon._cli.reports import report_command
from pydamon._model.errors import UsageError
from pydamon._model.units import parse_duration_ns

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


def _times(text: str) -> tuple[int, ...]:
    return tuple(parse_duration_ns(time.strip()) for time in text.split(","))


@report_command("wss")
@recording_options
@option(
    "--percentiles",
    type=Parsed(_percentiles),
    metavar="P,P,...",
    help="percentiles of the snapshots' working sets (default: 0,25,50,75,90,100)",
)
@option(
    "--window",
    "times_ns",
    type=Parsed(_times),
    metavar="D,D,...",
    help="show the bytes accessed within these times instead: 100ms,1s,10s,1min",
)
def wss(args: Args) -> int:
    """Show the size of the working set: its percentiles, and its size over time.

    The working set of a snapshot is the bytes that were accessed in its window. With --window, it
    is the bytes that were accessed within a time before the end of each snapshot.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    marks = args.percentiles or analysis.PERCENTILES
    if args.times_ns:
        within = analysis.working_sets_within(open_recording(args), args.times_ns, marks)
        if args.json:
            print_json(_within_document(within))
        else:
            show(within)
        return 0
    working_set = analysis.working_set(open_recording(args), marks)
    if args.json:
        print_json(_document(working_set))
    else:
        show(working_set)
    return 0


def _document(working_set: analysis.WorkingSet) -> dict[str, Any]:
    from pydamon._cli.reports.base import target_document

    targets = [
        {**target_document(series.target), **_series(series)}
        for series in working_set.targets
        if series.target
    ]
    return {"total": _series(working_set.total), "targets": targets}


def _within_document(within: analysis.WorkingSetsWithin) -> dict[str, Any]:
    pairs = zip(within.times_ns, within.working_sets, strict=True)
    return {
        "windows": [
            {"window_ns": time_ns, **_document(working_set)} for time_ns, working_set in pairs
        ]
    }


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
