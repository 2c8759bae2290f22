"""`pydamon record`: watch processes and write down what was seen."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pydamon._cli.command import Args, NewFile, argument, command, eprint, option, show_warnings
from pydamon._cli.options import force_option, monitoring_options, options_from
from pydamon._cli.signals import handling
from pydamon._model.errors import UsageError
from pydamon._model.names import printable
from pydamon._model.units import format_cpu, format_duration, format_size

if TYPE_CHECKING:
    from pydamon._model.snapshot import Snapshot
    from pydamon._observe.monitor import Monitor

__all__ = ["ending", "monitor_from", "record", "record_to"]

_MOSTLY = 0.5
_MUCH_BYTES = 64 << 20
"""What cannot be observed is said where it is that much of the memory."""


@command(
    "record",
    usage="[OPTIONS] (PID... | -- COMMAND... | --physical)",
    starts_program=True,
)
@argument("pids", nargs=-1, type=int, metavar="PID...", help="processes to watch")
@option(
    "-o",
    "--out",
    type=NewFile(),
    default="pydamon.damon",
    help="the file to write (default: pydamon.damon)",
)
@force_option
@option("--physical", is_flag=True, help="watch physical memory, with the kernel's DAMON")
@option(
    "--node",
    "nodes",
    multiple=True,
    type=int,
    metavar="N",
    help="physical memory of this node only; may be repeated",
)
@option(
    "--cgroup",
    metavar="NAME",
    help="count physical memory as used only where this cgroup is charged for it",
)
@monitoring_options
def record(args: Args) -> int:
    """Watch processes, or a command, and write what memory they use to a file.

    pydamon record 1234
    pydamon record --duration 30s --out redis.damon 1234
    pydamon record -- ./my-program --its-option
    pydamon record --physical --node 1

    Children of the processes are watched too. Ctrl-C ends the recording and keeps the data; a
    command that still runs at the end of --duration, or when you press Ctrl-C, is ended, with all
    that it has started, in the background too. (If pydamon itself is killed with kill -9, the
    command runs on, and the data is kept.) The exit code is that of the command, if it ended.
    """
    from pydamon._record import start_program

    if [bool(args.pids), bool(args.command), args.physical].count(True) != 1:
        raise UsageError("name one or more processes by pid, a command behind `--`, or --physical")
    if (args.nodes or args.cgroup) and not args.physical:
        raise UsageError("--node and --cgroup are for --physical")
    with ExitStack() as stack:
        child = stack.enter_context(start_program(args.command)) if args.command else None
        if child and os.geteuid() == 0 and os.environ.get("SUDO_USER"):
            eprint("the command runs as root, as sudo has it; the recording will be yours")
        pids = [child.pid] if child else list(args.pids)
        mon = stack.enter_context(
            _physical_from(args) if args.physical else monitor_from(args, pids)
        )
        record_to(
            mon,
            args.out,
            args.duration,
            force=args.force,
            command=args.command,
            begin=child.go if child else None,
        )
        return child.end() if child else 0


def monitor_from(args: Args, pids: list[int]) -> Monitor:
    """A monitor as `monitoring_options` describe it."""
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
) -> None:
    """Write what *mon* sees to a file, and say on standard error how it goes.

    *begin* is called when everything is ready to record.
    """
    from pydamon._record import recorder_for

    snapshots = mon.run(duration)
    with (
        ending(mon.stop),
        recorder_for(mon, path, force=force, command=command or ()) as recorder,
    ):
        _announce(mon, command)
        progress = _Progress()
        if begin is not None:
            begin()
        for snapshot in snapshots:
            recorder.write(snapshot)
            progress.show(snapshot)
    progress.finish(path)


class _Progress:
    """One line on a terminal, rewritten once a second."""

    def __init__(self) -> None:
        self._cpu_ns = time.process_time_ns()
        self._start_ns = self._shown_ns = time.monotonic_ns()
        self._snapshots = self._late = self._unobservable = self._monitored = 0
        self._terminal = sys.stderr.isatty()

    def show(self, snapshot: Snapshot) -> None:
        self._snapshots += 1
        self._late += snapshot.cost.late_ticks
        self._unobservable += int(snapshot.unobservable_bytes.sum())
        self._monitored += int(snapshot.size.sum())
        now_ns = time.monotonic_ns()
        if self._terminal and now_ns - self._shown_ns >= 10**9:
            self._shown_ns = now_ns
            working_set = format_size(snapshot.working_set())
            eprint(
                f"\r\x1b[K{self._so_far(now_ns)}, working set {working_set} "
                f"in {format_duration(snapshot.window_ns)}",
                end="",
            )

    def finish(self, path: Path) -> None:
        clear = "\r\x1b[K" if self._terminal else ""
        eprint(f"{clear}{self._so_far(time.monotonic_ns())}: {path}")
        if not self._snapshots:
            eprint("  nothing was seen: the program was gone before the first snapshot")
        if self._late:
            eprint(f"  {self._late} samples came too late and were left out")
        # The libraries of any program are shared: that much is a row of the summary.
        unobservable = self._unobservable / max(1, self._snapshots)
        share = self._unobservable / max(1, self._monitored)
        if share > _MOSTLY and unobservable >= _MUCH_BYTES:
            eprint(
                f"  not observable: {format_size(unobservable)}, {100 * share:.0f} % of the "
                "memory, since other processes share it, or it is locked; --probe refs counts the "
                "bytes used in each mapping there too"
            )

    def _so_far(self, now_ns: int) -> str:
        wall_ns = now_ns - self._start_ns
        cpu = format_cpu(time.process_time_ns() - self._cpu_ns, wall_ns)
        return f"{format_duration(wall_ns)}, {self._snapshots} snapshots, {cpu}"


def _announce(mon: Monitor, command: list[str] | None) -> None:
    """Say on standard error what is watched, and how."""
    targets = [(t.pid, command[0] if command else t.name) for t in mon.layout.targets]
    names = ", ".join(
        f"{pid} ({printable(name)})" if pid else printable(name) for pid, name in targets[:3]
    )
    more = len(targets) - 3
    how = "the kernel's DAMON" if mon.engine == "kernel" else f"the {mon.probe_name} probe"
    eprint(f"watching {names}{f' and {more} more' if more > 0 else ''} with {how}; Ctrl-C ends it")
    if lost := _lost(mon):
        eprint(f"  {lost}")
    if mon.caveat:
        eprint(f"  {mon.caveat}")


def _lost(mon: Monitor) -> str:
    """What cannot be seen this way that another probe would show, and what that needs."""
    if mon.probe_name == "refs":
        lost = "it counts the bytes used of each mapping, but cannot see where in it they are"
    elif mon.engine == "kernel":
        lost = "it finds the borders of regions by chance, and cannot see single pages"
    else:
        return ""
    why = mon.fallback_reasons.get("ebpf")
    return f"{lost}; the ebpf probe can: {why.hint or why}" if why else lost


@contextmanager
def ending(stop: Callable[[], None]) -> Iterator[None]:
    """Make the first SIGINT, SIGTERM or SIGHUP a request to end well, unless it is ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def request(number: int, _: FrameType | None) -> None:
        stop()
        signal.signal(number, before[signal.Signals(number)])

    show_warnings()
    with handling(dict.fromkeys(numbers, request)):
        yield
