"""`pydamon report heatmap`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pydamon._cli.command import Args, Parsed, eprint, option, print_json
from pydamon._cli.options import picture_options, recording_options
from pydamon._cli.reports import report_command
from pydamon._model.errors import UsageError
from pydamon._model.units import format_size, parse_address_range, parse_duration_ns

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.analysis.heat import Range
    from pydamon._data.recording import RecordingFile

__all__ = ["heatmap", "time_span"]

_MARGIN = 60
_OTHERS = 10
_PICTURE_CELLS = (300, 600)
"""Rows and columns of the heat map in a picture."""
_CELLS = click.IntRange(1, 1000)


def _range(text: str) -> Range:
    if text == "all":
        return "all"
    if text == "hottest":
        return "hottest"
    try:
        return parse_address_range(text)
    except UsageError as error:
        raise UsageError(str(error), hint="all, hottest, or hexadecimal START-END") from None


def time_span(text: str) -> tuple[int, int]:
    """Parse a span of time such as `10s-1min`, in ns."""
    begin, dash, end = text.partition("-")
    if not dash:
        raise UsageError(f"not a span of time: {text!r} (as in 10s-1min)")
    bounds = parse_duration_ns(begin), parse_duration_ns(end)
    if bounds[0] >= bounds[1]:
        raise UsageError("a span of time must end after it starts")
    return bounds


@report_command("heatmap")
@recording_options
@option(
    "--range",
    type=Parsed(_range),
    default="hottest",
    metavar="all|hottest|START-END",
    help="draw these addresses (hexadecimal) (default: hottest)",
)
@option(
    "--time",
    type=Parsed(time_span),
    metavar="FROM-TO",
    help="draw this span of time after the start, as in 10s-1min (default: all)",
)
@option("--width", type=_CELLS, metavar="N", help="columns of the map (default: as many as fit)")
@option("--height", type=_CELLS, metavar="N", help="lines of the map (default: as many as fit)")
@option(
    "--absolute",
    is_flag=True,
    help="show the time of day in place of the time since the start, and more addresses",
)
@picture_options("write a picture: .html (all addresses and times, to zoom into), .svg or .png")
def heatmap(args: Args) -> int:
    """Draw access rates by address and time, in the terminal or as a file.

    pydamon report heatmap --out heat.html     # all targets, to zoom into
    pydamon report heatmap --out heat.svg      # or .png
    pydamon report heatmap --range 55d0c0000000-55d0d0000000 --time 10s-20s
    """
    from pydamon._cli.reports.base import console, filtered, new_file, open_whole
    from pydamon._show.results.heatmap import heatmap_cells

    whole = open_whole(args)
    recording = filtered(args, whole)
    if args.absolute and (args.json or (args.out and args.out.suffix == ".html")):
        raise UsageError(
            "--absolute is for the terminal, .svg and .png: JSON and .html have absolute times and "
            "addresses anyway"
        )
    if args.out and args.out.suffix == ".html":
        from pydamon._cli.reports.summary import write_page

        write_page(args, whole)
    elif args.out:
        from pydamon._show.pictures import picture_of

        rows, columns = args.height or _PICTURE_CELLS[0], args.width or _PICTURE_CELLS[1]
        heatmap = _heatmap(recording, args, rows, columns)
        picture = picture_of(heatmap, args.out.suffix, absolute=args.absolute)
        new_file(args.out, args.force, picture)
        eprint(f"wrote {args.out}")
    elif args.json:
        rows, columns = heatmap_cells(console(), args.width, args.height)
        print_json(_document(_heatmap(recording, args, args.height or rows, columns)))
    else:
        _print(recording, args)
    return 0


def _print(recording: RecordingFile, args: Args) -> None:
    from pydamon._cli.reports.base import console, show
    from pydamon._show.results.heatmap import HeatMapView, heatmap_cells

    screen = console()
    rows, columns = heatmap_cells(screen, args.width, args.height)
    heatmap = _heatmap(recording, args, rows, columns)
    if args.width:
        screen.width = max(screen.width, args.width + _MARGIN)
    show(HeatMapView(heatmap, args.absolute), screen)
    if heatmap.left_out_bytes and args.range == "hottest":
        left_out = format_size(heatmap.left_out_bytes)
        show(f"{left_out} with hardly any access left out: --range all shows it", screen)
    if heatmap.others:
        pids = ", ".join(str(target.pid) for target in heatmap.others[:_OTHERS])
        beyond = len(heatmap.others) - _OTHERS
        more = f" and {beyond} more" if beyond > 0 else ""
        show(f"other targets, hottest first: --pid {pids}{more}", screen)


def _heatmap(recording: RecordingFile, args: Args, rows: int, columns: int) -> analysis.HeatMap:
    from pydamon._data import analysis

    time_ns = args.time
    if time_ns is not None:
        time_ns = recording.began_ns + time_ns[0], recording.began_ns + time_ns[1]
    return analysis.heatmap(recording, rows, columns, addresses=args.range, time_ns=time_ns)


def _document(heatmap: analysis.HeatMap) -> dict[str, Any]:
    """Return a heat map for JSON: rates are `null` for cells that were not monitored."""
    import numpy as np

    from pydamon._cli.reports.base import target_document

    rates = heatmap.rates.round(6).astype(object)
    rates[np.isnan(heatmap.rates)] = None
    return {
        **target_document(heatmap.target),
        "segments": heatmap.axis.segments.tolist(),
        "row_addresses": heatmap.row_addresses.tolist(),
        "row_mappings": list(heatmap.row_names),
        "time_edges_ns": heatmap.time_edges.tolist(),
        "left_out_bytes": heatmap.left_out_bytes,
        "access_rates": rates.tolist(),
        "unseen": heatmap.unseen.tolist(),
    }
