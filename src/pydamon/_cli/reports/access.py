"""`pydamon report access`."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from pydamon._cli.command import Args, Choice, Parsed, option, print_json
from pydamon._cli.options import HISTOGRAMS, SORT_KEYS, recording_options
from pydamon._cli.reports import report_command
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.recording import RecordingFile
    from pydamon._show.results.region_format import RegionFormat

__all__ = ["access"]


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    for key in keys:
        if key.removeprefix("-") not in SORT_KEYS:
            raise UsageError(f"cannot sort by {key!r}: one of {', '.join(SORT_KEYS)}")
    return keys


def _format(text: str) -> RegionFormat:
    from pydamon._show.results.region_format import parse_region_format

    return parse_region_format(text)


@report_command("access")
@recording_options
@option(
    "--histogram",
    type=Choice(HISTOGRAMS),
    help="show a histogram of the whole recording by this property",
)
@option(
    "--snapshot",
    type=int,
    metavar="N",
    help="the number of the snapshot, from 0, or below 0 from the end (default: the last)",
)
@option(
    "--sort",
    type=Parsed(_keys),
    default=(),
    metavar="KEY,KEY,...",
    help=f"sort keys, `-` reverses the order (--sort=-age): {', '.join(SORT_KEYS)} "
    "(default: temperature)",
)
@option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="show only the first N regions")
@option("--single", is_flag=True, help="do not merge similar neighbours")
@option(
    "--format",
    "line_format",
    type=Parsed(_format),
    metavar="TEXT",
    help="print a line for each region: '{start} {size} {hz} {age}', or with units and widths "
    "'{size:MiB>9} {age:s}'",
)
def access(args: Args) -> int:
    """List regions from hot to cold: address, size, access rate, age, temperature, mapping.

    pydamon report access --where 'rate > 50%' --sort=age,-size
    pydamon report access --where 'mapping = [heap]' --histogram idle
    pydamon report access --format '{start}-{end} {size:KiB>9} {rate} {age:s} {mapping}'

    Similar neighbours are merged into one region. Histograms show bytes, as means over the
    recorded time. Fields of --format are start, end, size, rate, hz, age, temperature, touched,
    resident, unobservable, unseen, mapping, perms, target, pid and host.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.regions import TemperaturesView

    if args.line_format and (args.json or args.histogram):
        raise UsageError("--format is for regions as text: leave out --json and --histogram")
    recording = open_recording(args)
    if args.histogram:
        distribution = analysis.distribution(recording, args.histogram)
        if args.json:
            print_json(_distribution_document(distribution))
        else:
            show(distribution)
        return 0
    regions = analysis.regions(recording, args.snapshot, group=not args.single)
    regions = regions.sorted_by(*args.sort)
    if args.line_format:
        for region in regions.regions[: args.limit]:
            sys.stdout.write(args.line_format.line(region) + "\n")
    elif args.json:
        print_json(_regions_document(recording, regions, args.limit))
    else:
        # Sorted by heat, both ends matter; with --sort, the first regions do.
        show(TemperaturesView(regions, args.limit, both_ends=not args.sort))
    return 0


def _regions_document(
    recording: RecordingFile, temperatures: analysis.Temperatures, limit: int | None
) -> dict[str, Any]:
    from pydamon._cli.reports.base import target_document
    from pydamon._model.snapshot import UNKNOWN

    return {
        "complete": recording.complete,
        "end_ns": temperatures.end_ns,
        "regions": [
            {
                **target_document(region.target),
                "start": region.start,
                "end": region.end,
                "mapping": region.mapping,
                "perms": region.perms,
                "access_rate": region.rate,
                "access_share": region.rate,
                "access_share_error": _known(region.rate_error),
                "hz": _known(region.access_hz),
                "hz_error": _known(region.access_hz_error),
                "age_ns": None if region.age_ns == UNKNOWN else region.age_ns,
                "touched_bytes": region.touched_bytes,
                "unobservable_bytes": region.unobservable_bytes,
                "resident_bytes": (
                    None if region.resident_bytes == UNKNOWN else region.resident_bytes
                ),
                "unseen_bytes": region.unseen_bytes,
                "passed_bytes": region.passed,
                "temperature": region.temperature,
            }
            for region in temperatures.regions[:limit]
        ],
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _distribution_document(distribution: analysis.Distribution) -> dict[str, Any]:
    return {
        "by": distribution.by,
        "low": distribution.low.tolist(),
        "high": distribution.high.tolist(),
        "bytes": distribution.size_bytes.tolist(),
        "regions": distribution.regions.tolist(),
        "percentiles": {f"{mark:g}": value for mark, value in distribution.percentiles},
        "unseen_bytes": distribution.unseen_bytes,
        "unobservable_bytes": distribution.unobservable_bytes,
        "undated_bytes": distribution.undated_bytes,
    }
