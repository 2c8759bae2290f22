"""`pydamon report access`."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from pydamon import analysis
from pydamon.cli.command import print_json
from pydamon.cli.reports.base import (
    add_recording_arguments,
    open_recording,
    show,
    target_document,
)
from pydamon.core.errors import UsageError
from pydamon.recording import RecordingFile
from pydamon.views import DistributionView, temperature_table

__all__ = ["AccessReport"]


class AccessReport:
    """Regions from hot to cold: address, size, access rate, age, temperature, mapping.

    pydamon report access --where 'rate > 50%' --sort=age,-size
    pydamon report access --where 'mapping = [heap]' --histogram idle

    Neighbours that are alike are shown as one. Histograms show bytes, as means over the time that
    was recorded.
    """

    name = "access"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add which snapshot, in which order, or which histogram."""
        add_recording_arguments(parser)
        parser.add_argument(
            "--histogram",
            choices=get_args(analysis.By),
            help="bytes by one of these, of the whole recording",
        )
        parser.add_argument(
            "--snapshot",
            type=int,
            metavar="N",
            help="which, counted from 0, or from the end below 0 (default: the last)",
        )
        parser.add_argument(
            "--sort",
            type=_keys,
            default=(),
            metavar="KEY,KEY,...",
            help=f"by what, `-` turns one around (--sort=-age): {', '.join(analysis.SORT_KEYS)} "
            "(default: temperature)",
        )
        parser.add_argument("--limit", type=_limit, metavar="N", help="only the first N regions")
        parser.add_argument(
            "--single", action="store_true", help="do not put alike neighbours together"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Print the regions of a snapshot, or a histogram of all."""
        recording = open_recording(args)
        if args.histogram:
            found = analysis.distribution(recording, args.histogram)
            if args.json:
                print_json(_distribution_document(found))
            else:
                show(DistributionView(found))
            return 0
        regions = analysis.regions(recording, args.snapshot, group=not args.single)
        regions = regions.sorted_by(*args.sort)
        if args.json:
            print_json(_regions_document(recording, regions, args.limit))
        else:
            # Both ends matter of what is sorted by heat, the first of what was asked for.
            show(temperature_table(regions, args.limit, both_ends=not args.sort))
        return 0


def _regions_document(
    recording: RecordingFile, found: analysis.Temperatures, limit: int | None
) -> dict[str, Any]:
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
                "age_ns": region.age_ns,
                "touched_bytes": region.touched_bytes,
                "unobservable_bytes": region.unobservable_bytes,
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
    }


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    try:
        analysis.Temperatures(0, ()).sorted_by(*keys)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return keys


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise argparse.ArgumentTypeError(f"not a number of regions: {text!r}")
    return int(text)
