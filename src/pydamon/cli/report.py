"""`pydamon report`: what a recording says."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

from pydamon import analysis
from pydamon.analysis.heat import Range
from pydamon.cli import report_json
from pydamon.cli.command import complain
from pydamon.core.errors import RecordingError
from pydamon.core.units import format_size
from pydamon.recording import Recording, read_recording
from pydamon.views import (
    HeatMapView,
    WorkingSetView,
    heatmap_cells,
    mapping_table,
    region_lines,
    summary_view,
    temperature_table,
)

__all__ = ["Report"]

_FILE = "pydamon.damon"
_MARGIN = 60


class Report:
    """Show what a recording says: hot and cold memory, heat map, working set, regions.

    Recordings that are still being written, or whose recorder was killed, can be shown too.
    """

    name = "report"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the four reports."""
        reports = parser.add_subparsers(dest="report", metavar="REPORT", required=True)
        for name, show, text in (
            ("access", _access, "a summary, and the regions from hot to cold"),
            ("heatmap", _heatmap, "access rates by address and time"),
            ("wss", _wss, "the size of the working set: its distribution and its course"),
            ("regions", _regions, "the regions of every snapshot"),
        ):
            one = reports.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
            one.set_defaults(show=show)
            one.add_argument(
                "file", nargs="?", default=_FILE, help="the recording (default: %(default)s)"
            )
            one.add_argument("--json", action="store_true", help="print JSON for programs")
            one.add_argument("--pid", type=int, help="only this process")
            if name == "heatmap":
                _configure_heatmap(one)
            elif name == "wss":
                one.add_argument(
                    "--percentiles",
                    type=_percentiles,
                    default=analysis.PERCENTILES,
                    metavar="P,P,...",
                    help="percentiles of the snapshots' working sets (default: 0,25,50,75,90,100)",
                )

    def run(self, args: argparse.Namespace) -> int:
        """Show one report."""
        recording = read_recording(args.file)
        if len(recording) == 0:
            raise RecordingError(f"{args.file} has no snapshots", hint=recording.problem)
        if args.pid is not None:
            recording = recording.of_pid(args.pid)
        show: Callable[[Recording, argparse.Namespace], None] = args.show
        show(recording, args)
        if not recording.complete:
            complain(f"{args.file} is not complete: {recording.problem}")
        return 0


def _configure_heatmap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--range",
        type=_range,
        default="hottest",
        metavar="all|hottest|START-END",
        help="which addresses (hexadecimal) to draw (default: %(default)s)",
    )
    parser.add_argument("--width", type=_cells, help="columns of the map (default: all there are)")
    parser.add_argument("--height", type=_cells, help="lines of the map (default: all there are)")


def _access(recording: Recording, args: argparse.Namespace) -> None:
    summary, temperatures = analysis.summary(recording), analysis.regions(recording)
    if args.json:
        _print_json(report_json.access_document(recording, summary, temperatures))
        return
    console = _console()
    _print(console, summary_view(summary, recording.info))
    _print(console, "")
    _print(console, mapping_table(summary))
    _print(console, "")
    _print(console, temperature_table(temperatures))


def _heatmap(recording: Recording, args: argparse.Namespace) -> None:
    console = _console()
    rows, columns = heatmap_cells(console, args.width, args.height)
    if args.json:
        rows = args.height or rows
    heatmap = analysis.heatmap(recording, rows, columns, addresses=args.range)
    if args.json:
        _print_json(report_json.heatmap_document(heatmap))
        return
    if args.width:
        console.width = max(console.width, args.width + _MARGIN)
    _print(console, HeatMapView(heatmap))
    if heatmap.left_out_bytes and args.range == "hottest":
        left_out = format_size(heatmap.left_out_bytes)
        _print(console, f"{left_out} with hardly any access left out: --range all shows it")
    others = [str(target.pid) for target in recording.targets if target != heatmap.target]
    if others:
        _print(console, f"other targets: --pid {', '.join(others)}")


def _wss(recording: Recording, args: argparse.Namespace) -> None:
    working_set = analysis.working_set(recording, args.percentiles)
    if args.json:
        _print_json(report_json.wss_document(working_set))
    else:
        _print(_console(), WorkingSetView(working_set))


def _regions(recording: Recording, args: argparse.Namespace) -> None:
    if args.json:
        for line in report_json.regions_lines(recording):
            sys.stdout.write(line + "\n")
        return
    started_ns = int(recording.column("start_ns")[0])
    for snapshot in recording.snapshots():
        for line in region_lines(snapshot, started_ns):
            sys.stdout.write(line + "\n")


def _console() -> Console:
    return Console(highlight=False, markup=False)


def _print(console: Console, what: RenderableType) -> None:
    """Render, then write: rich would exit by itself where the reader of a pipe has gone."""
    with console.capture() as capture:
        console.print(what)
    sys.stdout.write(capture.get())


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")


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


def _percentiles(text: str) -> tuple[float, ...]:
    try:
        marks = tuple(float(mark) for mark in text.split(","))
    except ValueError:
        marks = ()
    if not marks or not all(0 <= mark <= 100 for mark in marks):
        raise argparse.ArgumentTypeError(f"not percentiles from 0 to 100: {text!r}")
    return marks


def _cells(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"not a number from 1 to 1000: {text!r}")
    return int(text)
