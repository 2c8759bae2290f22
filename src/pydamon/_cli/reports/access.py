"""`pydamon report access`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pydamon._cli.command import Args, Choice, Parsed, option, print_json
from pydamon._cli.options import HISTOGRAMS, SORT_KEYS, recording_options
from pydamon._cli.reports.command import report_command
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._data.recording import RecordingFile

__all__ = ["access"]


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    for key in keys:
        if key.removeprefix("-") not in SORT_KEYS:
            raise UsageError(f"cannot sort by {key!r}: one of {', '.join(SORT_KEYS)}")
    return keys


@report_command("access")
@recording_options
@option(
    "--histogram",
    type=Choice(HISTOGRAMS),
    help="bytes by one of these, of the whole recording",
)
@option(
    "--snapshot",
    type=int,
    metavar="N",
    help="which, counted from 0, or from the end below 0 (default: the last)",
)
@option(
    "--sort",
    type=Parsed(_keys),
    default=(),
    metavar="KEY,KEY,...",
    help=f"by what, `-` turns one around (--sort=-age): {', '.join(SORT_KEYS)} "
    "(default: temperature)",
)
@option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="only the first N regions")
@option("--single", is_flag=True, help="do not put alike neighbours together")
def access(args: Args) -> int:
    """Regions from hot to cold: address, size, access rate, age, temperature, mapping.

    pydamon report access --where 'rate > 50%' --sort=age,-size
    pydamon report access --where 'mapping = [heap]' --histogram idle

    Neighbours that are alike are shown as one. Histograms show bytes, as means over the time that
    was recorded.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.temperatures import TemperaturesView

    recording = open_recording(args)
    if args.histogram:
        found = analysis.distribution(recording, args.histogram)
        if args.json:
            print_json(_distribution_document(found))
        else:
            show(found)
        return 0
    regions = analysis.regions(recording, args.snapshot, group=not args.single)
    regions = regions.sorted_by(*args.sort)
    if args.json:
        print_json(_regions_document(recording, regions, args.limit))
    else:
        # Both ends matter of what is sorted by heat, the first of what was asked for.
        show(TemperaturesView(regions, args.limit, both_ends=not args.sort))
    return 0


def _regions_document(
    recording: RecordingFile, found: analysis.Temperatures, limit: int | None
) -> dict[str, Any]:
    from pydamon._cli.reports.base import target_document
    from pydamon._model.snapshot import UNKNOWN

    return {
        "complete": recording.complete,
        "end_ns": found.end_ns,
        "regions": [
            {
                **target_document(region.target),
                "start": region.start,
                "end": region.end,
                "mapping": region.mapping,
                "perms": region.perms,
                "access_rate": region.rate,
                "age_ns": None if region.age_ns == UNKNOWN else region.age_ns,
                "touched_bytes": region.touched_bytes,
                "unobservable_bytes": region.unobservable_bytes,
                "resident_bytes": (
                    None if region.resident_bytes == UNKNOWN else region.resident_bytes
                ),
                "unseen_bytes": region.unseen_bytes,
                "temperature": region.temperature,
            }
            for region in found.regions[:limit]
        ],
    }


def _distribution_document(found: analysis.Distribution) -> dict[str, Any]:
    return {
        "by": found.by,
        "low": found.low.tolist(),
        "high": found.high.tolist(),
        "bytes": found.size_bytes.tolist(),
        "regions": found.regions.tolist(),
        "percentiles": {f"{p:g}": value for p, value in found.percentiles},
        "unseen_bytes": found.unseen_bytes,
        "unobservable_bytes": found.unobservable_bytes,
        "undated_bytes": found.undated_bytes,
    }
