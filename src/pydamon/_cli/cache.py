"""`pydamon cache`: which page cache is read, by cgroup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydamon._cli.command import (
    Args,
    Choice,
    argument,
    command,
    duration,
    option,
    print_json,
)
from pydamon._cli.options import cpu_budget_option, json_option
from pydamon._model.errors import UsageError

if TYPE_CHECKING:
    from pydamon._model.cache_use import CacheReport, CgroupCache
    from pydamon._observe.cache import CacheMonitor

__all__ = ["cache", "watch_cache"]

_SHARE = 0.3
"""The part of a CPU budget for tracing reads, beside a monitor of processes."""
_INTERVAL_NS = 5 * 10**9
_SOURCES = ("auto", "reads", "kernel")


@command("cache", usage="[OPTIONS] [CGROUP]")
@argument("cgroup", required=False, metavar="CGROUP", help="this cgroup and those below it")
@option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="show how much of this file is in the page cache, by cachestat(2), and end",
)
@option(
    "--source",
    type=Choice(_SOURCES),
    default="auto",
    help="trace reads (reads), show the kernel's own figures only (kernel), or trace where that "
    "works (auto, the default)",
)
@option(
    "-i",
    "--interval",
    type=duration,
    metavar="D",
    help="the time between reports (default: 5s)",
)
@option("-d", "--duration", type=duration, metavar="D", help="stop after this time, as in 1min")
@cpu_budget_option()
@json_option
def cache(args: Args) -> int:
    """Show which page cache programs read, by cgroup.

    sudo pydamon cache
    sudo pydamon cache -i 1min -d 10min system.slice
    sudo pydamon cache --json -d 1min
    pydamon cache --file /var/lib/postgresql/17/main/base/16384/2601

    Files that programs read(2) are in memory that no process maps: page tables do not show who uses
    it. Here a BPF program at the kernel's function that marks folios as accessed sees each read.
    Memory that a process maps is left out: `pydamon record` shows that. Beside it are the kernel's
    two lists of file pages, and refaults: pages that were read from disk again soon after they had
    been dropped. Folios count for the cgroup that they are charged to, which is mostly the one that
    read them first.

    --json prints a document for each report, on a line.
    """
    if args.files:
        _refuse_beside_files(args)
        return _show_files(args.files, as_json=args.json)
    from datetime import timedelta

    from pydamon._cli.record import stop_at_signals
    from pydamon._observe.cache import CacheMonitor

    with (
        CacheMonitor(args.source, args.cpu_budget_percent) as monitor,
        stop_at_signals(monitor.stop),
    ):
        path = monitor.path_of(args.cgroup) if args.cgroup else "/"
        interval_ns = _INTERVAL_NS if args.interval is None else args.interval
        interval = timedelta(microseconds=interval_ns / 1000)
        end = timedelta(microseconds=args.duration / 1000) if args.duration is not None else None
        for use in monitor.reports(interval, end):
            rows = use.below(path)
            if args.json:
                print_json(_document(use, rows))
            else:
                _show(use, rows)
    return 0


def watch_cache(budget_percent: float) -> tuple[CacheMonitor, float]:
    """Return a monitor of the page cache, and what it leaves of a CPU budget."""
    from pydamon._observe.cache import CacheMonitor

    monitor = CacheMonitor(cpu_budget_percent=_SHARE * budget_percent)
    return monitor, (1 - _SHARE if monitor.is_tracing else 1) * budget_percent


def _refuse_beside_files(args: Args) -> None:
    """Nothing that is asked for may be ignored; raises `UsageError`."""
    others = {
        f"CGROUP ({args.cgroup})": args.cgroup,
        "--interval": args.interval,
        "--duration": args.duration,
    }
    for name, value in others.items():
        if value is not None:
            raise UsageError(
                f"--file shows a file as it is now, whoever reads it: leave out {name}"
            )


def _show(use: CacheReport, rows: Sequence[CgroupCache]) -> None:
    from rich.console import Console

    from pydamon._show.results.cache import CacheView

    console = Console(highlight=False)
    if console.is_terminal:
        console.clear()
    console.print(CacheView(use, rows))


def _document(use: CacheReport, rows: Sequence[CgroupCache]) -> dict[str, Any]:
    from pydamon._model.cache_use import IDLE_TIMES_NS

    return {
        "time_ns": use.time_ns,
        "source": use.source,
        "reason": use.reason,
        "watched_ns": use.watched_ns,
        "followed_share": use.followed_share,
        "observed_share": use.observed_share,
        "reads_per_s": use.reads_per_s,
        "missed_folios": use.missed_folios,
        "cpu_percent": use.cpu_percent,
        "idle_times_ns": list(IDLE_TIMES_NS),
        "cgroups": [
            {
                "cgroup": row.cgroup,
                "resident_bytes": row.resident_bytes,
                "active_bytes": row.active_bytes,
                "inactive_bytes": row.inactive_bytes,
                "refaults_per_s": row.refaults_per_s,
                "used_bytes": list(row.used_bytes),
                "deviation_bytes": list(row.deviation_bytes),
                "again_per_s": list(row.again_per_s),
                "first_bytes_per_s": row.first_bytes_per_s,
            }
            for row in rows
        ],
    }


def _show_files(paths: Sequence[str], *, as_json: bool) -> int:
    from dataclasses import asdict

    from rich.console import Console

    from pydamon._observe.cache import cachestat
    from pydamon._show.results.cache import CachedFilesView

    files = [cachestat(path) for path in paths]
    if as_json:
        print_json({"files": [asdict(file) for file in files]})
    else:
        Console(highlight=False).print(CachedFilesView(files))
    return 0
