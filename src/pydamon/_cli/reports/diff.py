"""`pydamon report diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, print_json
from pydamon._cli.options import idle_option, recordings_options
from pydamon._cli.reports.command import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["diff"]


@report_command("diff")
@recordings_options
@idle_option("fits both")
def diff(args: Args) -> int:
    """Two recordings side by side: what became hotter, what colder, what is new.

    Processes are matched by name, memory by the name of what is mapped. Bytes are means over the
    time that was recorded.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    before, after = (open_recording(args, file) for file in (args.before, args.after))
    found = analysis.diff(before, after, args.idle)
    if args.json:
        print_json(_document(found))
    else:
        show(found)
    return 0


def _document(found: analysis.Diff) -> dict[str, Any]:
    from pydamon._cli.reports.base import bytes_document
    from pydamon._cli.reports.wss import percentiles_document

    return {
        "idle_ns": found.before.idle_ns,
        **{
            name: {
                "duration_ns": one.duration_ns,
                "snapshots": one.snapshots,
                "bytes": bytes_document(one.size),
                "working_set": percentiles_document(one.working_set.total),
            }
            for name, one in (("before", found.before), ("after", found.after))
        },
        "mappings": [
            {
                "target": one.target_name,
                "mapping": one.name,
                "bytes_before": bytes_document(one.before),
                "bytes_after": bytes_document(one.after),
                "access_rate_before": one.rate_before,
                "access_rate_after": one.rate_after,
            }
            for one in found.mappings
        ],
    }
