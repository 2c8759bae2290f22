"""`pydamon report owners`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydamon._cli.command import (
    Args,
    Choice,
    NewFile,
    duration,
    eprint,
    option,
    options,
    print_json,
)
from pydamon._cli.options import force_option, recording_options
from pydamon._cli.reports import report_command
from pydamon._model.errors import UsageError
from pydamon._owners import PROVIDERS

if TYPE_CHECKING:
    from pydamon._data import analysis
    from pydamon._model.owners import Owners

__all__ = ["FROM_FILES", "owners", "owners_from", "owners_of", "provider_options", "sources_named"]

_SORT_KEYS = ("idle", "hot", "resident", "allocated")
_IDLE_NS = 10 * 10**9

FROM_FILES = [provider for provider in PROVIDERS if provider.source]
"""Providers whose sources are files, each with an option of its name."""

provider_options = options(
    *(
        option(
            f"--{provider.name}",
            provider.name,
            multiple=True,
            metavar="SOURCE",
            help=f"owners of {provider.source} ({provider.asks})",
        )
        for provider in FROM_FILES
    )
)


@report_command("owners")
@recording_options
@provider_options
@option(
    "--at",
    type=duration,
    metavar="D",
    help="as of this time after the start, as in 10min (default: the end)",
)
@option(
    "--idle-for",
    type=duration,
    default=_IDLE_NS,
    metavar="D",
    help="memory is idle after this time without an access (default: 10s)",
)
@option("--sort", type=Choice(_SORT_KEYS), default="idle", help="default: idle")
@option("--tree", is_flag=True, help="show the owners as a tree")
@option(
    "--against",
    type=str,
    metavar="JSON",
    help="compare with an earlier report, as --json printed it",
)
@option("--html", type=NewFile(), metavar="OUT", help="write a flame graph of idle bytes, a page")
@option("--collapsed", type=NewFile(), metavar="OUT", help="write stacks with their idle bytes")
@option("--speedscope", type=NewFile(), metavar="OUT", help="write a file for speedscope")
@force_option
def owners(args: Args) -> int:
    """Show which lines of code, or other owners, have the memory that is idle.

    pydamon record --memray -- python app.py
    pydamon report owners --memray pydamon.memray
    pydamon report owners --memray pydamon.memray --html owners.html

    An owner is what a profiler says has allocated memory: a stack of functions, say. What record
    --owners asked is used without an option. Idle bytes are
    exact if the recording has a map of pages (record --page-map). All other memory is shown by the
    names of its mappings.
    """
    from pydamon._cli.reports.base import open_recording, show
    from pydamon._data import analysis
    from pydamon._show.results.owners import OwnersView, OwnerTreeView

    if args.where is not None:
        raise UsageError("owners are of single pages: --where, which picks regions, has no meaning")
    recording = open_recording(args)
    began_ns = recording.began_ns  # a recording that cannot be read is told before its owners
    told = owners_from(args)
    before = None if args.against is None else _read_document(args.against)
    at_ns = None if args.at is None else began_ns + args.at
    report = analysis.owners(recording, told, at_ns=at_ns, idle_ns=args.idle_for)
    if _write_files(report, args):
        return 0
    if args.json:
        print_json(_document(report, args.sort))
    elif before is not None:
        show(analysis.owner_diff(before, report))
    else:
        show(OwnerTreeView(report, args.sort) if args.tree else OwnersView(report, args.sort))
    return 0


def sources_named(args: Args) -> bool:
    """Whether the options name any source of owners, or some were kept beside the recording."""
    from pydamon._owners.store import saved_beside

    named = any(getattr(args, provider.name) for provider in FROM_FILES)
    return named or bool(saved_beside(Path(args.file)))


def owners_from(args: Args) -> list[Owners]:
    """The owners that the options name, and those that were kept beside the recording."""
    sources = {provider.name: getattr(args, provider.name) for provider in FROM_FILES}
    return owners_of(Path(args.file), sources)


def owners_of(recording: Path, sources: Mapping[str, Sequence[str]]) -> list[Owners]:
    """The owners in some sources by the names of providers, and those kept beside a recording."""
    from dataclasses import replace

    from pydamon._model.owners import Owners
    from pydamon._owners.store import read_owners, saved_beside

    named = [provider.read(source) for provider in FROM_FILES for source in sources[provider.name]]
    kept = [owners for path in saved_beside(recording) for owners in read_owners(path)]
    if not named and not kept:
        names = ", ".join(f"--{provider.name}" for provider in FROM_FILES)
        raise UsageError(
            f"nothing says who owns the memory in {recording}",
            hint=f"name a source of owners: {names}; or record with --owners",
        )
    pids = {owners.pids for owners in kept if not owners.is_shared}
    if len(pids) == 1:
        # Profilers do not say of which process their file is: it is of the only process.
        named = [replace(owners, pids=owners.pids or next(iter(pids))) for owners in named]
    return Owners.by_space([*named, *kept])


def _write_files(report: analysis.OwnerReport, args: Args) -> bool:
    """Write the files that were asked for; whether there were any."""
    from pydamon._cli.reports.base import new_file
    from pydamon._show.pictures.flame import collapsed, flame_html, speedscope

    writers: tuple[tuple[Path | None, Callable[[analysis.OwnerReport], bytes]], ...] = (
        (args.html, flame_html),
        (args.collapsed, collapsed),
        (args.speedscope, speedscope),
    )
    wanted = [(path, write) for path, write in writers if path is not None]
    for path, write in wanted:
        new_file(path, args.force, write(report))
        eprint(f"wrote {path}")
    return bool(wanted)


def _document(report: analysis.OwnerReport, sort: str) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "time_ns": report.time_ns,
        "idle_ns": report.idle_ns,
        "by_page": report.is_by_page,
        "followed_share": report.followed_share,
        "notes": list(report.notes),
        "owners": [asdict(use) for use in report.by(sort)],
        "others": [asdict(use) for use in report.others],
    }


def _read_document(path: str) -> analysis.OwnerReport:
    """An earlier report, with its owners only; raises `UsageError`."""
    from pydamon._data.analysis import OwnerReport, OwnerUse

    try:
        document = json.loads(Path(path).read_bytes())
        uses = tuple(
            OwnerUse(**{**use, "path": tuple(map(str, use["path"]))}) for use in document["owners"]
        )
        report = OwnerReport(
            uses, (), int(document["time_ns"]), int(document["idle_ns"]), bool(document["by_page"])
        )
        report.total()  # which fails if a figure is none
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(
            f"{path} is no report of owners", hint="write one with report owners --json"
        ) from None
    return report
