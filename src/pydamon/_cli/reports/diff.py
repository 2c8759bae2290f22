"""`pydamon report diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, Choice, option, print_json
from pydamon._cli.options import idle_option, recordings_options
from pydamon._cli.reports import report_command
from pydamon._cli.reports.owners import FROM_FILES, owners_of, provider_options
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._data import analysis

__all__ = ["diff"]

_BY = ("mapping", "owner")


@report_command("diff")
@recordings_options
@idle_option("fits both")
@option("--by", type=Choice(_BY), default=_BY[0], help="what to compare (default: mapping)")
@provider_options
def diff(args: Args) -> int:
    """Compare two recordings: which mappings became hotter or colder, and which are new.

    pydamon report diff before.damon after.damon
    pydamon report diff before.damon after.damon --by owner
    pydamon report diff a.damon b.damon --by owner --memray a.memray --memray b.memray

    Processes are matched by their names, and memory by the names of mappings. Bytes are means over
    the recorded time.

    --by owner compares whose idle memory grew, at the ends of the recordings, as report owners
    shows it. A source that is a file is named twice: for the first recording, then for the second.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis

    by_owner = args.by == "owner"
    sources = _sources(args) if by_owner else []
    if not by_owner and any(getattr(args, provider.name) for provider in FROM_FILES):
        raise UsageError("sources of owners are for --by owner")
    before, after = (open_recording(args, file) for file in (args.before, args.after))
    if by_owner:
        idle_ns = args.idle or analysis.diff(before, after).before.idle_ns
        files = (args.before, args.after)
        told = [owners_of(Path(file), named) for file, named in zip(files, sources, strict=True)]
        changes = analysis.owner_diff(
            *(
                analysis.owners(recording, owners, idle_ns=idle_ns)
                for recording, owners in zip((before, after), told, strict=True)
            )
        )
        print_json(_owner_document(changes)) if args.json else show(changes)
        return 0
    diff = analysis.diff(before, after, args.idle)
    if args.json:
        print_json(_document(diff))
    else:
        show(diff)
    return 0


def _sources(args: Args) -> list[dict[str, list[str]]]:
    """The sources of owners of both recordings, by the names of their providers."""
    if args.where is not None:
        raise UsageError("owners are of single pages: --where, which picks regions, has no meaning")
    named = {provider.name: getattr(args, provider.name) for provider in FROM_FILES}
    for name, sources in named.items():
        if len(sources) not in (0, 2):
            raise UsageError(
                f"--{name} is for two recordings, and named {len(sources)} times",
                hint="name the source of the first, then that of the second",
            )
    return [
        {name: [sources[place]] if sources else [] for name, sources in named.items()}
        for place in range(2)
    ]


def _owner_document(diff: analysis.OwnerDiff) -> dict[str, Any]:
    from dataclasses import asdict

    def bytes_of(use: analysis.OwnerUse) -> dict[str, int]:
        return {name: value for name, value in asdict(use).items() if name != "path"}

    return {
        "idle_ns": diff.after.idle_ns,
        **{
            name: {
                "time_ns": report.time_ns,
                "by_page": report.is_by_page,
                "followed_share": report.followed_share,
                "notes": list(report.notes),
                **bytes_of(report.total()),
            }
            for name, report in (("before", diff.before), ("after", diff.after))
        },
        "owners": [
            {
                "path": list(change.path),
                "before": bytes_of(change.before),
                "after": bytes_of(change.after),
            }
            for change in diff.changes
        ],
    }


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
