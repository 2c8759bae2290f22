"""`pydamon report idle`."""

from __future__ import annotations

from pydamon._cli.command import Args, Parsed, option, print_json
from pydamon._cli.options import recording_options
from pydamon._cli.reports.command import report_command
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
    help="idle for at least so long (default: from 0s to a day)",
)
def idle(args: Args) -> int:
    """Bytes by idle time: what reclaiming memory of that age would free."""
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    found = analysis.idle(open_recording(args), args.ages or analysis.IDLE_AGES_NS)
    if not args.json:
        show(found)
        return 0
    print_json(
        {
            "ages_ns": found.ages_ns.tolist(),
            "last_bytes": found.last_bytes.tolist(),
            "mean_bytes": found.mean_bytes.tolist(),
            "total_bytes": found.total_bytes,
            "mean_total_bytes": found.mean_total_bytes,
            "longest_ns": found.longest_ns,
            "unseen_bytes": found.unseen_bytes,
            "undated_bytes": found.undated_bytes,
            "assumed_bytes": found.assumed_bytes,
        }
    )
    return 0
