"""`pydamon tune`: parameters of policies, from what a recording says about the ages of pages."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pydamon._cli.command import (
    Args,
    Group,
    command,
    duration,
    eprint,
    option,
    options,
    percent,
    print_json,
    size,
)
from pydamon._cli.options import force_option, max_refaults_option, recording_options

if TYPE_CHECKING:
    from pydamon._act.policies import Policy
    from pydamon._data.analysis import NeedsCurve, NeedsPoint

__all__ = ["TUNERS", "reclaim", "thp", "tier", "tune"]

TUNERS = {
    "reclaim": "pydamon._cli.tune:reclaim",
    "tier": "pydamon._cli.tune:tier",
    "thp": "pydamon._cli.tune:thp",
}
"""The place of each command, in the order of the help text."""

tune = Group(
    "tune",
    members=TUNERS,
    subcommand_metavar="POLICY [ARGS]...",
    help=(
        "Find parameters of a policy in a recording, and what they would have cost in it.\n\n"
        "The recording must have ages of pages, as `report needs` does; `thp` needs maps of them "
        "(`record --page-map`)."
    ),
)

_output_options = options(
    option(
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="write the configuration that --config of the policy takes, as TOML",
    ),
    force_option,
)


@command("reclaim")
@recording_options
@max_refaults_option
@_output_options
def reclaim(args: Args) -> int:
    """Find the idle time from which on `pydamon reclaim` may take memory.

    pydamon tune reclaim --max-refaults 10/s --output policy.toml
    pydamon reclaim --config policy.toml 1234

    It is the shortest time at which no more pages come back than is tolerated.
    """
    from pydamon._act.policies import Reclaim
    from pydamon._model.errors import RecordingError
    from pydamon._show.text import duration, needs_headline, per_second, percent
    from pydamon._show.text import size as size_text

    curve = _curve(args)
    point = curve.point(args.max_refaults)
    if point is None:
        tolerated = curve.tolerated_per_s if args.max_refaults is None else args.max_refaults
        raise RecordingError(
            "no idle time in this recording is long enough",
            hint=f"{needs_headline(curve, None, tolerated)[1]} (tolerate more, or record longer)",
        )
    saved = curve.resident_bytes - point.kept_bytes
    share = saved / max(curve.resident_bytes, 1)
    age = _age(point)
    said = (
        f"Memory that has been idle for {duration(point.idle_ns)}: {size_text(saved)} of "
        f"{size_text(curve.resident_bytes)} ({percent(share)}), the mean over the recording.",
        f"Pages that come back: {per_second(point.refaults_per_s)} a second.",
        "It acts only while free memory is short: high, mid and low say when.",
    )
    figures = {
        "saved_bytes": saved,
        "saved_share": share,
        **_figures(curve, point),
    }
    return _answer(args, Reclaim(min_age=age), {"min_age": age}, said, figures)


@command("tier")
@recording_options
@option("--fast", type=size, required=True, metavar="SIZE", help="the size of the fast node")
@_output_options
def tier(args: Args) -> int:
    """Find the idle time from which on memory must be in the slow node for the rest to fit.

    pydamon tune tier --fast 16GiB --output policy.toml
    pydamon tier --config policy.toml 1234
    """
    from pydamon._act.policies import Tier
    from pydamon._model.errors import RecordingError
    from pydamon._show.text import duration, per_second
    from pydamon._show.text import size as size_text

    curve = _curve(args)
    point = curve.fit(args.fast)
    if point is None:
        warmest = curve.points[0]
        raise RecordingError(
            f"what is in use within {duration(warmest.idle_ns)}, "
            f"{size_text(warmest.kept_bytes)}, does not fit into {size_text(args.fast)}",
            hint="shorter idle times are not in the recording",
        )
    age = _age(point)
    slow = curve.resident_bytes - point.kept_bytes
    said = (
        f"Memory that was in use within {duration(point.idle_ns)}: {size_text(point.kept_bytes)}, "
        f"which fits into {size_text(args.fast)}.",
        f"The other {size_text(slow)} is in the slow node, and {per_second(point.refaults_per_s)} "
        "of its pages a second are used again.",
    )
    figures = {"fast_bytes": args.fast, "slow_bytes": slow, **_figures(curve, point)}
    return _answer(args, Tier(cold_min_age=age), {"cold_min_age": age}, said, figures)


@command("thp")
@recording_options
@option(
    "--max-waste",
    type=percent,
    default=5.0,
    metavar="SHARE",
    help="memory of huge pages that nobody uses, as a share of all memory (default: 5%)",
)
@option(
    "--used-within",
    type=duration,
    default=10 * 10**9,
    metavar="D",
    help="a page is in use if it was accessed within this time (default: 10s)",
)
@_output_options
def thp(args: Args) -> int:
    """Find the access rate from which on huge pages pay.

    pydamon record --page-map --duration 1min 1234
    pydamon tune thp --max-waste 2% --output policy.toml
    pydamon thp --config policy.toml 1234

    It is the lowest rate at which the pages of huge pages are in use, but for the tolerated waste:
    pages that lie idle among others, and pages that are not in memory yet.
    """
    from pydamon._act.policies import Thp
    from pydamon._cli.reports.base import open_recording
    from pydamon._data import analysis
    from pydamon._model.errors import RecordingError
    from pydamon._show.text import percent as percent_text
    from pydamon._show.text import size as size_text

    use = analysis.huge_use(open_recording(args), idle_ns=args.used_within)
    point = use.most(args.max_waste / 100)
    if point is None:
        raise RecordingError(
            "huge pages would waste more at every access rate, or there is no memory for them",
            hint="tolerate more with --max-waste, or leave pages small",
        )
    rate = f"{100 * point.min_rate:g}%"
    share = point.wasted_bytes / max(use.resident_bytes, 1)
    said = (
        f"Memory that is accessed in {rate} of the intervals or more: {point.blocks:,} huge pages "
        f"of {size_text(use.block_bytes)}, of which {size_text(point.used_bytes)} are in use.",
        f"Wasted: {size_text(point.wasted_bytes)} ({percent_text(share)} of "
        f"{size_text(use.resident_bytes)}), {size_text(point.added_bytes)} of it new.",
    )
    figures = {
        "resident_bytes": use.resident_bytes,
        "huge_page_bytes": use.block_bytes,
        "huge_pages": point.blocks,
        "used_bytes": point.used_bytes,
        "idle_bytes": point.idle_bytes,
        "added_bytes": point.added_bytes,
    }
    return _answer(args, Thp(hot_rate=rate), {"hot_rate": rate}, said, figures)


def _curve(args: Args) -> NeedsCurve:
    """What all targets together need; raises `RecordingError` if the recording is too short."""
    from pydamon._cli.reports.base import open_recording
    from pydamon._data import analysis
    from pydamon._model.errors import RecordingError
    from pydamon._show.text import needs_headline

    curve = analysis.needs(open_recording(args)).total
    if not len(curve.idle_ns):
        raise RecordingError("the recording is too short", hint=needs_headline(curve, None, 0)[1])
    return curve


def _age(point: NeedsPoint) -> str:
    """The idle time as a parameter: rounded up, because less is taken then."""
    return f"{math.ceil(point.idle_ns / 10**7) / 100:.10g}s"


def _figures(curve: NeedsCurve, point: NeedsPoint) -> dict[str, Any]:
    from pydamon._cli.reports.needs import point_document

    return {"resident_bytes": curve.resident_bytes, **point_document(point)}


def _answer(
    args: Args,
    policy: Policy,
    parameters: dict[str, str],
    said: tuple[str, ...],
    figures: dict[str, Any],
) -> int:
    """Print the parameters and what follows from them, or write them where they are asked for."""
    from pydamon._cli.reports.base import new_file

    lines = [f"# {line}" for line in said]
    lines += ["[policy]", f'name = "{policy.name}"']
    lines += [f'{name} = "{value}"' for name, value in parameters.items()]
    toml = "\n".join(lines) + "\n"
    if args.output:
        new_file(args.output, args.force, toml.encode())
    if args.json:
        print_json({"policy": policy.name, "parameters": parameters, **figures})
    else:
        sys.stdout.write("\n".join(said) + "\n" if args.output else toml)
    if args.output:
        file = shlex.quote(str(args.output))
        eprint(f"wrote {file}: pydamon {policy.name} --config {file} PID")
    return 0
