"""`pydamon report idle`."""

from __future__ import annotations

from pydamon._cli.command import Args, Parsed, option, print_json
from pydamon._cli.options import recording_options
from pydamon._cli.reports import report_command
from pydamon._model.units import parse_duration_ns

__all__ = ["idle"]


def _ages(text: str) -> tuple[int, ...]:
    return tuple(parse_duration_ns(age) for age in text.split(","))


@report_command("idle")
@recording_options
@option(
    "--ages",
    type=Parsed(_ages),
    metavar="D,D,...",
    help="idle times to list (default: from 0s to a day)",
)
def idle(args: Args) -> int:
    """Show bytes by idle time: the memory that a reclaim of each age would free."""
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    idle = analysis.idle(open_recording(args), args.ages or analysis.IDLE_AGES_NS)
    if not args.json:
        show(idle)
        return 0
    print_json(
        {
            "ages_ns": idle.ages_ns.tolist(),
            "last_bytes": idle.last_bytes.tolist(),
            "mean_bytes": idle.mean_bytes.tolist(),
            "total_bytes": idle.total_bytes,
            "mean_total_bytes": idle.mean_total_bytes,
            "longest_ns": idle.longest_ns,
            "unseen_bytes": idle.unseen_bytes,
            "undated_bytes": idle.undated_bytes,
            "assumed_bytes": idle.assumed_bytes,
        }
    )
    return 0
