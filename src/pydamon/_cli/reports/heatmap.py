"""`pydamon report heatmap`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pydamon._cli.command import Args, Parsed, eprint, option, print_json
from pydamon._cli.options import force_option, recording_options
from pydamon._cli.reports.command import report_command
from pydamon._model.errors import UsageError
from pydamon._model.units import format_size, parse_address_range, parse_duration_ns

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.analysis.heat import Range
    from pydamon._data.recording import RecordingFile

__all__ = ["heatmap"]

_MARGIN = 60
_OTHERS = 10
_PICTURE = (300, 600)
"""Rows and columns of a picture."""
_PICTURES = (".html", ".svg", ".png")
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


def _time(text: str) -> tuple[int, int]:
    begin, dash, end = text.partition("-")
    if not dash:
        raise UsageError(f"not a span of time: {text!r} (as in 10s-1min)")
    bounds = parse_duration_ns(begin), parse_duration_ns(end)
    if bounds[0] >= bounds[1]:
        raise UsageError("a span of time must end after it starts")
    return bounds


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _PICTURES:
        raise UsageError(f"not a .html, .svg or .png file: {text!r}")
    return path


@report_command("heatmap")
@recording_options
@option(
    "--range",
    type=Parsed(_range),
    default="hottest",
    metavar="all|hottest|START-END",
    help="which addresses (hexadecimal) to draw (default: hottest)",
)
@option(
    "--time",
    type=Parsed(_time),
    metavar="FROM-TO",
    help="which time since the start to draw, as in 10s-1min (default: all)",
)
@option("--width", type=_CELLS, metavar="N", help="columns of the map (default: all there are)")
@option("--height", type=_CELLS, metavar="N", help="lines of the map (default: all there are)")
@option(
    "-o",
    "--out",
    type=Parsed(_picture),
    metavar="FILE",
    help="write a picture: .html (all addresses and times, to zoom into), .svg or .png",
)
@force_option
def heatmap(args: Args) -> int:
    """Access rates by address and time, in the terminal or as a file.

    pydamon report heatmap --out heat.html     # all targets, to zoom and hover, in one file
    pydamon report heatmap --out heat.svg      # or .png
    pydamon report heatmap --range 55d0c0000000-55d0d0000000 --time 10s-20s
    """
    from pydamon._cli.reports.base import console, new_file, open_recording
    from pydamon._show.results.heatmap import heatmap_cells

    recording = open_recording(args)
    if args.out and args.out.suffix == ".html":
        from pydamon._show.pictures.page import recording_page

        new_file(args.out, args.force, recording_page(recording).encode())
    elif args.out:
        from pydamon._show.pictures import picture_of

        found = _heatmap(recording, args, args.height or _PICTURE[0], args.width or _PICTURE[1])
        new_file(args.out, args.force, picture_of(found, args.out.suffix))
    elif args.json:
        rows, columns = heatmap_cells(console(), args.width, args.height)
        print_json(_document(_heatmap(recording, args, args.height or rows, columns)))
    else:
        _print(recording, args)
    if args.out:
        eprint(f"wrote {args.out}")
    return 0


def _print(recording: RecordingFile, args: Args) -> None:
    from pydamon._cli.reports.base import console, show
    from pydamon._show.results.heatmap import heatmap_cells

    screen = console()
    rows, columns = heatmap_cells(screen, args.width, args.height)
    found = _heatmap(recording, args, rows, columns)
    if args.width:
        screen.width = max(screen.width, args.width + _MARGIN)
    show(found, screen)
    if found.left_out_bytes and args.range == "hottest":
        left_out = format_size(found.left_out_bytes)
        show(f"{left_out} with hardly any access left out: --range all shows it", screen)
    if found.others:
        named = ", ".join(str(target.pid) for target in found.others[:_OTHERS])
        beyond = len(found.others) - _OTHERS
        more = f" and {beyond} more" if beyond > 0 else ""
        show(f"other targets, from the hottest on: --pid {named}{more}", screen)


def _heatmap(recording: RecordingFile, args: Args, rows: int, columns: int) -> analysis.HeatMap:
    from pydamon._data import analysis

    time_ns = args.time
    if time_ns is not None:
        time_ns = recording.began_ns + time_ns[0], recording.began_ns + time_ns[1]
    return analysis.heatmap(recording, rows, columns, addresses=args.range, time_ns=time_ns)


def _document(found: analysis.HeatMap) -> dict[str, Any]:
    """The cells of a heat map: `null` where nothing was monitored, or nobody had looked yet."""
    import numpy as np

    from pydamon._cli.reports.base import target_document

    rates = found.rates.round(4).astype(object)
    rates[np.isnan(found.rates)] = None
    return {
        **target_document(found.target),
        "segments": found.axis.segments.tolist(),
        "row_addresses": found.row_addresses.tolist(),
        "row_mappings": list(found.row_names),
        "time_edges_ns": found.time_edges.tolist(),
        "left_out_bytes": found.left_out_bytes,
        "access_rates": rates.tolist(),
        "unseen": found.unseen.tolist(),
    }
