"""`pydamon report heatmap`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from pydamon import analysis
from pydamon.analysis.heat import Range
from pydamon.cli.command import complain, print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    console,
    duration,
    new_file,
    open_recording,
    show,
    target_document,
)
from pydamon.core.units import format_size
from pydamon.recording import RecordingFile
from pydamon.views import HeatMapView, heatmap_cells

__all__ = ["HeatMapReport"]

_MARGIN = 60
_OTHERS = 10
_PICTURE = (300, 600)
"""Rows and columns of a picture."""
_PICTURES = (".html", ".svg", ".png")


class HeatMapReport:
    """Access rates by address and time, in the terminal or as a file.

    pydamon report heatmap --out heat.html     # all targets, to zoom and hover, in one file
    pydamon report heatmap --out heat.svg      # or .png
    pydamon report heatmap --range 55d0c0000000-55d0d0000000 --time 10s-20s
    """

    name = "heatmap"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to draw, how large, and where to."""
        add_recording_arguments(parser)
        parser.add_argument(
            "--range",
            type=_range,
            default="hottest",
            metavar="all|hottest|START-END",
            help="which addresses (hexadecimal) to draw (default: %(default)s)",
        )
        parser.add_argument(
            "--time",
            type=_time,
            metavar="FROM-TO",
            help="which time since the start to draw, as in 10s-1min (default: all)",
        )
        parser.add_argument(
            "--width", type=_cells, help="columns of the map (default: all there are)"
        )
        parser.add_argument(
            "--height", type=_cells, help="lines of the map (default: all there are)"
        )
        parser.add_argument(
            "-o",
            "--out",
            type=_picture,
            metavar="FILE",
            help="write a picture: .html (all addresses and times, to zoom into), .svg or .png",
        )
        parser.add_argument("--force", action="store_true", help="overwrite an existing file")

    def run(self, args: argparse.Namespace) -> int:
        """Draw it."""
        recording = open_recording(args)
        if args.out and args.out.suffix == ".html":
            from pydamon.views.html import heatmap_html  # noqa: PLC0415  (as the others below)

            new_file(args.out, args.force, heatmap_html(recording).encode())
        elif args.out:
            found = _heatmap(recording, args, args.height or _PICTURE[0], args.width or _PICTURE[1])
            new_file(args.out, args.force, _drawn(found, args.out.suffix))
        elif args.json:
            rows, columns = heatmap_cells(console(), args.width, args.height)
            print_json(_document(_heatmap(recording, args, args.height or rows, columns)))
        else:
            self._print(recording, args)
        if args.out:
            complain(f"wrote {args.out}")
        return 0

    def _print(self, recording: RecordingFile, args: argparse.Namespace) -> None:
        screen = console()
        rows, columns = heatmap_cells(screen, args.width, args.height)
        found = _heatmap(recording, args, rows, columns)
        if args.width:
            screen.width = max(screen.width, args.width + _MARGIN)
        show(HeatMapView(found), screen)
        if found.left_out_bytes and args.range == "hottest":
            left_out = format_size(found.left_out_bytes)
            show(f"{left_out} with hardly any access left out: --range all shows it", screen)
        if found.others:
            named = ", ".join(str(target.pid) for target in found.others[:_OTHERS])
            beyond = len(found.others) - _OTHERS
            more = f" and {beyond} more" if beyond > 0 else ""
            show(f"other targets, from the hottest on: --pid {named}{more}", screen)


def _heatmap(
    recording: RecordingFile, args: argparse.Namespace, rows: int, columns: int
) -> analysis.HeatMap:
    time_ns = args.time
    if time_ns is not None:
        time_ns = recording.began_ns + time_ns[0], recording.began_ns + time_ns[1]
    return analysis.heatmap(recording, rows, columns, addresses=args.range, time_ns=time_ns)


def _drawn(heatmap: analysis.HeatMap, suffix: str) -> bytes:
    if suffix == ".svg":
        from pydamon.views.svg import heatmap_svg  # noqa: PLC0415

        return heatmap_svg(heatmap)
    from pydamon.views.png import heatmap_png  # noqa: PLC0415

    return heatmap_png(heatmap)


def _document(found: analysis.HeatMap) -> dict[str, Any]:
    """The cells of a heat map: `null` where nothing was monitored."""
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
    }


def _range(text: str) -> Range:
    if text == "all":
        return "all"
    if text == "hottest":
        return "hottest"
    start, dash, end = text.partition("-")
    try:
        bounds = int(start, 16), int(end, 16)
    except ValueError:
        dash = ""
    if not dash or not 0 <= bounds[0] < bounds[1] < 2**63:
        raise argparse.ArgumentTypeError(
            f"not a range: {text!r} (all, hottest, or hexadecimal START-END)"
        )
    return bounds


def _time(text: str) -> tuple[int, int]:
    begin, dash, end = text.partition("-")
    if not dash:
        raise argparse.ArgumentTypeError(f"not a span of time: {text!r} (as in 10s-1min)")
    bounds = duration(begin), duration(end)
    if bounds[0] >= bounds[1]:
        raise argparse.ArgumentTypeError("a span of time must end after it starts")
    return bounds


def _cells(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"not a number from 1 to 1000: {text!r}")
    return int(text)


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _PICTURES:
        raise argparse.ArgumentTypeError(f"not a .html, .svg or .png file: {text!r}")
    return path
