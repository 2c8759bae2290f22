"""`pydamon containers`: how much memory each container uses and needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydamon._cli.command import Args, argument, command, duration, eprint, option, print_json
from pydamon._cli.options import (
    cpu_budget_option,
    json_option,
    max_refaults_option,
    probe_option,
)
from pydamon._cli.selecting import RUNNING_USAGE, selection_from, selection_options
from pydamon._model.errors import TargetError, UsageError

if TYPE_CHECKING:
    from pydamon._observe.targets import Members
    from pydamon.containers import Container, ContainerUse

__all__ = ["containers"]


@command("containers", usage=f"[OPTIONS] [--all | {RUNNING_USAGE}]")
@argument("pids", nargs=-1, type=int, metavar="PID...", help="these processes alone, by container")
@option("-l", "--list", "list_only", is_flag=True, help="list the containers, and measure nothing")
@selection_options()
@option("--all", is_flag=True, help="all processes, also those of systemd units and other cgroups")
@option(
    "-d",
    "--duration",
    default="1min",
    metavar="D",
    help="how long to watch (default: 1min)",
)
@option(
    "--within",
    type=duration,
    default=60 * 10**9,
    metavar="D",
    help="memory is used if it was accessed within this time (default: 1min; at most half of the "
    "time that was watched)",
)
@max_refaults_option
@probe_option
@cpu_budget_option()
@json_option
def containers(args: Args) -> int:
    """Show how much memory each container uses and needs, and what to request for it.

    pydamon containers --list
    sudo pydamon containers
    sudo pydamon containers --duration 10min --within 5min
    sudo pydamon containers --pod default/web --json

    All containers are watched under one budget, unless options select some. Beside the usage and
    the "working set" of Kubernetes (usage without inactive page cache) stands what the processes
    really used. The recommendation is the least memory with which no more pages come back than
    --max-refaults tolerates. It includes page cache that nobody maps as far as that is known, and
    otherwise the active part of it.
    """
    from pydamon._cli.streams import show
    from pydamon._show.results.containers import ContainerListView, ContainersView

    selection = _selection(args)
    if args.list_only:
        rows = _listed(selection)
        if args.json:
            print_json({"containers": [_names(row) for row in rows]})
        else:
            show(ContainerListView(rows))
        return 0
    uses = _watched(args, selection)
    if args.json:
        print_json({"containers": [_document(use) for use in uses]})
    else:
        show(ContainersView(uses))
    return 0


def _selection(args: Args) -> Members:
    """The processes to watch; those of all containers if nothing is said."""
    from pydamon._observe.linux.procfs import every_process
    from pydamon._observe.targets.selection import TargetSelection

    selection = selection_from(args)
    if args.all and selection is not None:
        raise UsageError("--all is all processes: leave out what else selects some")
    if args.all:
        return every_process
    return (selection or TargetSelection(all_containers=True)).members()


def _listed(members: Members) -> list[Container]:
    from pydamon._observe.targets.container_table import ContainerTable

    rows = {row.cgroup: row for row in ContainerTable().of(members()).values()}
    return sorted(rows.values(), key=lambda row: (row.label, row.id))


def _watched(args: Args, members: Members) -> list[ContainerUse]:
    """Watch for the duration, and return the use of each container."""
    from pydamon._cli.cache import watch_cache
    from pydamon._cli.record import stop_at_signals
    from pydamon._observe.fallback import fallback_note
    from pydamon._observe.options import MonitorOptions
    from pydamon._observe.start import monitor
    from pydamon.containers import ContainerWatch, TracedCache

    if not any(True for _ in members()):
        raise TargetError(
            "no container has a process that can be seen from here",
            hint="--all shows systemd units and other cgroups; in a container pydamon needs the "
            "host's pid namespace, and its file system at --host-root",
        )
    cache, budget = watch_cache(args.cpu_budget_percent)
    options = MonitorOptions(probe=args.probe, cpu_budget_percent=budget)
    with (
        cache,
        monitor(members, engine="sampling", options=options) as mon,
        stop_at_signals(mon.stop),
    ):
        if note := fallback_note(mon):
            eprint(note)
        watch = ContainerWatch(TracedCache(cache))
        for snapshot in mon.run(args.duration):
            watch.add(snapshot)
            cache.check()
        return watch.result(within_ns=args.within, refaults_per_s=args.max_refaults)


def _names(row: Container) -> dict[str, Any]:
    from dataclasses import asdict

    return {"label": row.label, **asdict(row)}


def _document(use: ContainerUse) -> dict[str, Any]:
    """Return the use of a container for JSON."""
    from dataclasses import asdict

    memory, needs = use.memory, use.needs
    return {
        **_names(use.container),
        "processes": use.processes,
        "working_set_bytes": use.working_set_bytes,
        "within_ns": use.within_ns,
        "from_pages": use.from_pages,
        "mapped_bytes": use.mapped_bytes,
        "used_bytes": use.used_bytes,
        "used_by_kind": dict(use.used_by_kind),
        "cache_used_bytes": use.cache.used_bytes if use.cache else None,
        "cache_source": use.cache.source if use.cache else None,
        "kernel": {**asdict(memory), "kubelet_bytes": memory.kubelet_bytes} if memory else None,
        "needs": [asdict(point) for point in needs.points] if needs else None,
        "recommendation": asdict(use.recommendation) if use.recommendation else None,
    }
