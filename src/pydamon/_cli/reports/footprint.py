"""`pydamon report footprint`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, print_json
from pydamon._cli.options import recording_options
from pydamon._cli.reports.command import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["footprint"]


@report_command("footprint")
@recording_options
def footprint(args: Args) -> int:
    """What is mapped (VSZ), in memory (RSS) and in use (WSS), over time."""
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    found = analysis.footprint(open_recording(args))
    if args.json:
        print_json({"total": _series(found[0]), "targets": [_series(one) for one in found[1:]]})
    else:
        show(found)
    return 0


def _series(one: analysis.FootprintSeries) -> dict[str, Any]:
    from pydamon._cli.reports.base import target_document

    known = one.known
    return {
        **(target_document(one.target) if one.target else {}),
        "end_ns": one.end_ns.tolist(),
        "vsz_bytes": one.vsz_bytes.tolist() if known else None,
        "rss_bytes": one.rss_bytes.tolist() if known else None,
        "wss_bytes": one.wss_bytes.tolist(),
        "unseen_bytes": one.unseen_bytes.tolist(),
    }
