"""`pydamon record`: monitor processes and write a recording."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pydamon._cli.asking import asking_owners, owners_option
from pydamon._cli.command import (
    Args,
    NewFile,
    argument,
    command,
    eprint,
    handling,
    option,
    show_warnings,
)
from pydamon._cli.options import force_option, join_from, monitoring_options, options_from
from pydamon._cli.selecting import SELECTION_USAGE, selection_from, selection_options
from pydamon._model.display import printable
from pydamon._model.errors import UsageError
from pydamon._model.units import format_cpu, format_duration, format_size

if TYPE_CHECKING:
    from pydamon._model.snapshot import Snapshot
    from pydamon._observe.monitor import Monitor
    from pydamon._observe.targets.command import Child
    from pydamon._observe.targets.selection import TargetSelection

__all__ = ["monitor_from", "record", "record_to", "stop_at_signals"]

_PAGE_MAP_EVERY = "10s"
"""How often a map of pages is kept, where nobody says."""
_UNOBSERVABLE_SHARE = 0.5
_UNOBSERVABLE_BYTES = 64 << 20
"""The summary mentions unobservable memory above this share and this size."""


@command(
    "record",
    usage=f"[OPTIONS] ({SELECTION_USAGE} | --physical | --join)",
    starts_program=True,
)
@argument("pids", nargs=-1, type=int, metavar="PID...", help="processes to monitor")
@option(
    "-o",
    "--out",
    type=NewFile(),
    default="pydamon.damon",
    help="the file to write (default: pydamon.damon)",
)
@force_option
@option("--physical", is_flag=True, help="monitor physical memory, with the kernel's DAMON")
@option(
    "--node",
    "nodes",
    multiple=True,
    type=int,
    metavar="N",
    help="physical memory of this node only; repeatable",
)
@option(
    "--addr-unit",
    metavar="SIZE",
    help="with --physical: bytes of one unit of the kernel's addresses, on 32-bit processors",
)
@selection_options(
    cgroup_help="all processes of a cgroup; with --physical, count only physical memory that is "
    "charged to this cgroup"
)
@option(
    "--passed",
    default="",
    metavar="KIND,...",
    help="tell how much of each region is of these kinds of pages: anon, file, active, huge, "
    "young, memcg:PATH",
)
@owners_option
@option(
    "--page-map",
    is_flag=False,
    flag_value=_PAGE_MAP_EVERY,
    metavar="[EVERY]",
    help="keep the age of each single page so often (10s, if no time is named) and at the end: "
    "`report owners` needs it",
)
@option(
    "--memray",
    "capture",
    is_flag=False,
    flag_value="",
    metavar="[CAPTURE]",
    help="run a Python program under memray, which notes who allocates what; with --page-map "
    "(default: the file of --out, with the suffix .memray)",
)
@option(
    "--memray-objects",
    is_flag=True,
    help="note small objects, too, each of them: the program gets much slower",
)
@option("--trace", is_flag=True, help="also record the events of the kernel's DAMON")
@option("--profile", is_flag=True, help="also record which functions run: 99 samples a second")
@monitoring_options
def record(args: Args) -> int:
    """Record the memory use of processes or of a command.

    pydamon record 1234
    pydamon record --duration 30s --out redis.damon 1234
    pydamon record -- ./my-program --its-option
    pydamon record --container web
    pydamon record --physical --node 1
    pydamon record --join
    pydamon record --memray -- python app.py
    pydamon record --owners postgresql 1234
    pydamon record --profile -- ./my-program

    pydamon also monitors children of the processes. Ctrl-C ends the recording and keeps the data.
    A command that still runs at the end of --duration or at Ctrl-C is ended, with all processes
    that it started, in the background too. (If pydamon is killed with kill -9, the command keeps
    running, and the data is kept.) The exit code is the command's if it ended by itself, and 0 if
    pydamon ended it.
    """
    from pydamon._record import start_program

    program, selection = _under_memray(args), _selection(args)
    if args.owners and not args.physical:
        args.page_map = args.page_map or _PAGE_MAP_EVERY
    with ExitStack() as stack:
        child = stack.enter_context(start_program(program)) if program else None
        if child and os.geteuid() == 0 and os.environ.get("SUDO_USER"):
            eprint("the command runs as root, because of sudo; you will own the recording")
        pids = [child.pid] if child else selection or []
        mon = stack.enter_context(
            _physical_from(args) if args.physical else monitor_from(args, pids)
        )
        asked_to_end = record_to(
            mon,
            args.out,
            args.duration,
            force=args.force,
            command=args.command,
            begin=child.go if child else None,
            owners=args.owners,
            trace=args.trace,
            profile=args.profile,
        )
        asked_to_end |= child is not None and _end_heaptrack(program, child)
        code = child.end() if child else 0
        if args.capture is not None:
            _tell_capture(args)
        return 0 if asked_to_end else code


def _end_heaptrack(program: list[str], child: Child) -> bool:
    """End a program under heaptrack that still runs, so that its file is complete."""
    if Path(program[0]).name != "heaptrack":
        return False
    from pydamon._owners.heaptrack.ending import end_profiled

    return end_profiled(child.pid)


def _under_memray(args: Args) -> list[str]:
    """The program to start, under memray if that was asked for."""
    words = list(args.command or ())
    if args.capture is None:
        if args.memray_objects:
            raise UsageError("--memray-objects needs --memray")
        return words
    if not words:
        raise UsageError("--memray needs a Python program behind `--`: it runs from its start")
    from pydamon._owners.memray_run import memray_command

    args.capture = Path(args.capture) if args.capture else args.out.with_suffix(".memray")
    args.page_map = args.page_map or _PAGE_MAP_EVERY
    return memray_command(words, args.capture, objects=args.memray_objects, force=args.force)


def _tell_capture(args: Args) -> None:
    """Say where the capture file is, and what to do with it."""
    if args.capture.exists():
        eprint(f"allocations: {args.capture}")
        eprint(f"  next: pydamon report owners {args.out} --memray {args.capture}")


def _selection(args: Args) -> TargetSelection | None:
    """Return the processes to record; `None` for physical memory and for what is joined."""
    joins = join_from(args) is not False
    if joins and args.command:
        raise UsageError("--join looks on at what is monitored already, not at a new command")
    for name, value in (("--node", args.nodes), ("--addr-unit", args.addr_unit)):
        if value and not args.physical:
            raise UsageError(f"{name} needs --physical")
    selection = selection_from(args)
    if args.physical and selection is not None and selection.cgroup:
        selection = None  # it says which physical memory counts
    if bool(selection) + args.physical > 1 or not (selection or args.physical or joins):
        raise UsageError(
            "name one or more processes by pid, a command behind `--`, or --physical",
            hint="or select processes by --name, --user, --cgroup, --unit, --container or --pod",
        )
    return selection


def monitor_from(args: Args, pids: list[int] | TargetSelection) -> Monitor:
    """Open a monitor as `monitoring_options` describe it."""
    from pydamon._observe.start import monitor

    return monitor(
        pids,
        engine=args.engine,
        options=options_from(args),
        children=not args.no_children,
        ranges=args.ranges or None,
    )


def _physical_from(args: Args) -> Monitor:
    from pydamon._observe.start import monitor_physical

    if args.engine == "sampling" or args.probe != "auto" or args.ranges:
        raise UsageError("physical memory is for the kernel's DAMON: leave out how to sample")
    return monitor_physical(nodes=args.nodes, cgroup=args.cgroup, options=options_from(args))


def record_to(
    mon: Monitor,
    path: Path,
    duration: str | None,
    *,
    force: bool,
    command: list[str] | None,
    begin: Callable[[], None] | None = None,
    owners: Sequence[str] = (),
    trace: bool = False,
    profile: bool = False,
) -> bool:
    """Write the snapshots of *mon* to a file, with progress on standard error.

    *begin* is called when everything is ready to record. The providers *owners* are asked
    meanwhile. *trace* also writes the events of the kernel's DAMON, and *profile* which
    functions run. Returns whether a signal ended it.
    """
    from pydamon._record import profiling, recorder_for, tracing

    run = mon.run(duration)
    with (
        profiling(mon, run, path) if profile else nullcontext(run) as snapshots,
        tracing(mon, path, force=force) if trace else nullcontext() as write_events,
        stop_at_signals(mon.stop) as signals,
        asking_owners(mon, path, owners, force=force, waits=begin is not None),
        recorder_for(mon, path, force=force, command=command or ()) as recorder,
    ):
        _announce(mon, command)
        progress = _Progress()
        if begin is not None:
            begin()
        for snapshot in snapshots:
            recorder.write(snapshot)
            if write_events:
                write_events()
            progress.show(snapshot)
    progress.finish(path)
    return bool(signals)


class _Progress:
    """A progress line on a terminal, updated once a second, and a summary at the end."""

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._start_ns = self._shown_ns = time.monotonic_ns()
        self._snapshots = self._late = self._unobservable = self._monitored = 0
        self._terminal = sys.stderr.isatty()

    def show(self, snapshot: Snapshot) -> None:
        # Without a region, all processes had exited: a file has no rows of it.
        self._snapshots += len(snapshot) > 0
        self._late += snapshot.cost.late_ticks
        self._unobservable += int(snapshot.unobservable_bytes.sum())
        self._monitored += int(snapshot.size.sum())
        now_ns = time.monotonic_ns()
        if self._terminal and now_ns - self._shown_ns >= 10**9:
            self._shown_ns = now_ns
            working_set = format_size(snapshot.working_set())
            eprint(
                f"\r\x1b[K{self._totals(now_ns)}, working set {working_set} "
                f"in {format_duration(snapshot.window_ns)}",
                end="",
            )

    def finish(self, path: Path) -> None:
        clear = "\r\x1b[K" if self._terminal else ""
        eprint(f"{clear}{self._totals(time.monotonic_ns())}: {path}")
        if not self._snapshots:
            eprint("  there is no snapshot: the program exited before the first one")
        if self._late:
            eprint(f"  {self._late} samples were late and do not count")
        # Every program shares its libraries; `report summary` has a row for that.
        unobservable = self._unobservable / max(1, self._snapshots)
        share = self._unobservable / max(1, self._monitored)
        if share > _UNOBSERVABLE_SHARE and unobservable >= _UNOBSERVABLE_BYTES:
            eprint(
                f"  not observable: {format_size(unobservable)}, {100 * share:.0f} % of the "
                "memory, because other processes share it, or it is locked; --probe refs counts "
                "the bytes in use of such mappings"
            )

    def _totals(self, now_ns: int) -> str:
        wall_ns = now_ns - self._start_ns
        cpu = format_cpu(time.process_time_ns() - self._cpu_ns, wall_ns)
        noun = "snapshot" if self._snapshots == 1 else "snapshots"
        return f"{format_duration(wall_ns)}, {self._snapshots} {noun}, {cpu}"


def _announce(mon: Monitor, command: list[str] | None) -> None:
    """Print on standard error which processes are monitored, and with what."""
    from pydamon._observe.fallback import limits_of

    if mon.joined:
        eprint(f"joined {mon.joined}; Ctrl-C ends it")
        if mon.caveat:
            eprint(f"  {mon.caveat}")
        return
    targets = [(t.pid, command[0] if command else t.name) for t in mon.layout.targets]
    names = ", ".join(
        f"{pid} ({printable(name)})" if pid else printable(name) for pid, name in targets[:3]
    )
    more = len(targets) - 3
    means = "the kernel's DAMON" if mon.engine == "kernel" else f"the {mon.probe_name} probe"
    others = f" and {more} more" if more > 0 else ""
    eprint(f"watching {names}{others} with {means}; Ctrl-C ends it")
    if limits := limits_of(mon):
        eprint(f"  {limits}")
    if mon.caveat:
        eprint(f"  {mon.caveat}")


@contextmanager
def stop_at_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Make the first SIGINT, SIGTERM or SIGHUP call *stop*, unless the signal is ignored.

    Yields the list of the signals that came.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    received: list[int] = []

    def request(number: int, _: FrameType | None) -> None:
        received.append(number)
        stop()
        signal.signal(number, before[signal.Signals(number)])

    show_warnings()
    with handling(dict.fromkeys(numbers, request)):
        yield received
