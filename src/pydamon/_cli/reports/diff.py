"""`pydamon report diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, print_json
from pydamon._cli.options import idle_option, recordings_options
from pydamon._cli.reports import report_command

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["diff"]


@report_command("diff")
@recordings_options
@idle_option("fits both")
def diff(args: Args) -> int:
    """Compare two recordings: which mappings became hotter or colder, and which are new.

    Processes are matched by their names, and memory by the names of mappings. Bytes are means over
    the recorded time.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    before, after = (open_recording(args, file) for file in (args.before, args.after))
    diff = analysis.diff(before, after, args.idle)
    if args.json:
        print_json(_document(diff))
    else:
        show(diff)
    return 0


def _document(diff: analysis.Diff) -> dict[str, Any]:
    from pydamon._cli.reports.base import bytes_document
    from pydamon._cli.reports.wss import percentiles_document

    return {
        "idle_ns": diff.before.idle_ns,
        **{
            name: {
                "duration_ns": summary.duration_ns,
                "snapshots": summary.snapshots,
                "bytes": bytes_document(summary.size),
                "working_set": percentiles_document(summary.working_set.total),
            }
            for name, summary in (("before", diff.before), ("after", diff.after))
        },
        "mappings": [
            {
                "target": mapping.target_name,
                "mapping": mapping.name,
                "bytes_before": bytes_document(mapping.before),
                "bytes_after": bytes_document(mapping.after),
                "access_rate_before": mapping.rate_before,
                "access_rate_after": mapping.rate_after,
            }
            for mapping in diff.mappings
        ],
    }
