"""`pydamon report needs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, Choice, eprint, option, print_json
from pydamon._cli.options import max_refaults_option, picture_options, recording_options
from pydamon._cli.reports import report_command

if TYPE_CHECKING:
    from pydamon._data.analysis import Needs, NeedsCurve, NeedsPoint

__all__ = ["needs", "point_document"]

_SEE_WRITES = ("writes", "softdirty")


@report_command("needs")
@recording_options
@max_refaults_option
@option(
    "--per",
    type=Choice(("process", "container")),
    default="process",
    help="a curve for each process (the default), or for each container, systemd unit or cgroup",
)
@picture_options("write a picture of the curve: .svg, .png, or .html with all numbers")
def needs(args: Args) -> int:
    """Show how much memory is needed: what is left without idle pages, and how many come back.

    pydamon report needs                        # 0.2 % of the working set may come back each minute
    pydamon report needs --max-refaults 10/s    # or so many pages
    pydamon report needs --per container
    pydamon report needs --out needs.svg        # or .png, .html

    The recording must have ages of pages: the memory was looked at page by page, as root. It tells
    idle times from twice the distance of two looks up to its own length.
    """
    from pydamon._cli.reports.base import new_file, open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.needs import NeedsView

    recording = open_recording(args)
    needs = analysis.needs(recording, per=args.per)
    if recording.info.probe in _SEE_WRITES:
        eprint(f"the {recording.info.probe} probe sees writes: what is only read counts as idle")
    if args.out:
        from pydamon._show.pictures import picture_of

        picture = picture_of(needs, args.out.suffix, refaults_per_s=args.max_refaults)
        new_file(args.out, args.force, picture)
        eprint(f"wrote {args.out}")
    elif args.json:
        print_json(_document(needs, args.max_refaults))
    else:
        show(NeedsView(needs, args.max_refaults))
    return 0


def _document(needs: Needs, refaults_per_s: float | None) -> dict[str, Any]:
    from dataclasses import asdict

    from pydamon._cli.reports.base import target_document

    point = needs.point(refaults_per_s)
    peak = needs.peak(point) if point else None
    targets = [
        {
            **target_document(curve.target),
            "name": curve.target.name,
            **_curve_document(curve, refaults_per_s),
        }
        for curve in needs.targets
        if curve.target
    ]
    return {
        "targets": targets,
        "total": _curve_document(needs.total, refaults_per_s),
        "peak": asdict(peak) if peak else None,
        "watched_ns": needs.watched_ns,
        "look_distance_ns": needs.look_distance_ns,
        "followed_share": needs.followed_share,
    }


def _curve_document(curve: NeedsCurve, refaults_per_s: float | None) -> dict[str, Any]:
    from pydamon._data.analysis import IDLE_AGES_NS

    times_ns = sorted({*curve.idle_ns.tolist(), *(time for time in IDLE_AGES_NS if time)})
    points = (curve.at(time) for time in times_ns)
    need = curve.point(refaults_per_s)
    tolerated = curve.tolerated_per_s if refaults_per_s is None else refaults_per_s
    return {
        "points": [point_document(point) for point in points if point],
        "need": point_document(need) if need else None,
        "tolerated_refaults_per_s": tolerated,
        "resident_bytes": curve.resident_bytes,
        "working_set_bytes": curve.working_set_bytes,
        "shortest_ns": curve.shortest_ns,
        "longest_ns": curve.longest_ns,
    }


def point_document(point: NeedsPoint) -> dict[str, Any]:
    """Return a point of a curve for JSON."""
    from dataclasses import asdict

    return asdict(point)
