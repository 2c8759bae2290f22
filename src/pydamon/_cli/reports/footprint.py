"""`pydamon report footprint`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, print_json
from pydamon._cli.options import recording_options
from pydamon._cli.reports import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["footprint"]


@report_command("footprint")
@recording_options
def footprint(args: Args) -> int:
    """Show mapped (VSZ), resident (RSS) and accessed (WSS) bytes over time."""
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    footprints = analysis.footprint(open_recording(args))
    if args.json:
        total, *targets = (_document(series) for series in footprints)
        print_json({"total": total, "targets": targets})
    else:
        show(footprints)
    return 0


def _document(series: analysis.FootprintSeries) -> dict[str, Any]:
    from pydamon._cli.reports.base import target_document

    known = series.known
    return {
        **(target_document(series.target) if series.target else {}),
        "end_ns": series.end_ns.tolist(),
        "vsz_bytes": series.vsz_bytes.tolist() if known else None,
        "rss_bytes": series.rss_bytes.tolist() if known else None,
        "wss_bytes": series.wss_bytes.tolist(),
        "unseen_bytes": series.unseen_bytes.tolist(),
    }
