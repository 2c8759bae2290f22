"""What the commands that act on processes share."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from pydamon.cli.command import add_cpu_budget, complain
from pydamon.core.units import parse_duration_ns
from pydamon.policies import Config, Monitoring, Service, StatusFile, Whom
from pydamon.views.schemes import status_line, status_report

__all__ = ["add_service_arguments", "monitoring_from", "names_a_target", "run_service", "whom_from"]


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose memory, how it is watched, and how to tell of it."""
    parser.add_argument("--cgroup", metavar="NAME", help="all processes of a cgroup, as they come")
    parser.add_argument("--user", metavar="NAME", help="all processes of a user, as they come")
    parser.add_argument(
        "--engine",
        choices=("sampling", "kernel"),
        default="sampling",
        help="who looks and acts: pydamon, which verifies it (sampling), or the kernel's DAMON",
    )
    parser.add_argument("--no-children", action="store_true", help="do not follow children")
    for name in ("sample", "aggr", "update"):
        parser.add_argument(f"--{name}", metavar="D", help=f"{name} interval, as in `record`")
    parser.add_argument("--max-regions", type=int, metavar="N", help="default: 1000")
    add_cpu_budget(parser)
    parser.add_argument("-d", "--duration", metavar="D", help="stop after this time, as in 10min")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only count what would be done"
    )
    parser.add_argument("--name", help="what `pydamon status` calls it")
    parser.add_argument("--json", action="store_true", help="print the last status as JSON")


def names_a_target(args: argparse.Namespace) -> bool:
    """Whether the command line says whose memory is meant."""
    return bool(args.pids or args.command or args.cgroup or args.user)


def whom_from(args: argparse.Namespace) -> Whom:
    """Whose memory the command line means."""
    return Whom(
        pids=args.pids,
        children=not args.no_children,
        command=args.command or (),
        cgroup=args.cgroup or "",
        user=args.user or "",
    )


def monitoring_from(args: argparse.Namespace) -> Monitoring:
    """How the command line wants it watched."""
    return Monitoring(
        engine=args.engine,
        sample=args.sample,
        aggr=args.aggr,
        update=args.update,
        max_regions=args.max_regions,
        cpu_budget_percent=args.cpu_budget,
    )


def run_service(args: argparse.Namespace, load: Callable[[], Config]) -> int:
    """Run a service until its end, and show what it has done; the exit code."""
    duration_ns = parse_duration_ns(args.duration) if args.duration else None
    service = Service(load, dry_run=args.dry_run, duration_ns=duration_ns, complain=complain)
    with StatusFile(service.config.name) as file, service:
        progress = _Progress(file)
        service.report = progress.show
        with _signals(service):
            service.run()
        progress.finish()
        if args.json:
            print(json.dumps(progress.last))
        elif progress.last:
            Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(
                status_report(progress.last)
            )
    return service.exit_code


class _Progress:
    """A line on a terminal, rewritten once a second; elsewhere a line when a state changes."""

    def __init__(self, file: StatusFile) -> None:
        self.last: dict[str, Any] = {}
        self._file = file
        self._terminal = sys.stderr.isatty()
        self._states: list[str] = []

    def show(self, status: dict[str, Any]) -> None:
        self._file.write(status)
        states = [scheme["state"] for scheme in status["schemes"]]
        if self._terminal:
            complain(f"\r\x1b[K{status_line(status)}", end="")
        elif states != self._states or not self.last:
            complain(status_line(status))
        self.last, self._states = status, states

    def finish(self) -> None:
        if self._terminal:
            complain("\r\x1b[K", end="")


@contextmanager
def _signals(service: Service) -> Iterator[None]:
    """SIGINT and SIGTERM end it well, SIGHUP makes it read its configuration again."""
    handlers = {
        signal.SIGINT: lambda *_: service.stop(),
        signal.SIGTERM: lambda *_: service.stop(),
        signal.SIGHUP: lambda *_: service.reload(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
