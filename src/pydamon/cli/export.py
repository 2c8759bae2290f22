"""`pydamon export`: metrics for Prometheus and OpenTelemetry."""

from __future__ import annotations

import argparse
import logging
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlsplit

from pydamon.cli.command import add_cpu_budget, complain
from pydamon.cli.record import ending
from pydamon.core.errors import UsageError
from pydamon.core.units import parse_duration_ns
from pydamon.export import Exporter, Metrics, serve_metrics
from pydamon.probes import PROBES
from pydamon.spaces import Members
from pydamon.spaces.members import every_process, members_of_cgroup, members_of_user
from pydamon.start import ENGINES

__all__ = ["Export"]


class Export:
    """Watch processes, and show what memory they use to Prometheus, or OpenTelemetry.

    pydamon export 1234
    pydamon export --cgroup system.slice
    pydamon export --user postgres
    sudo pydamon export --all

    One CPU budget is for all of them, however many come and go. Only programs on this machine can
    read the metrics, unless --listen names another address, as in --listen 0.0.0.0:9871: anybody
    who can reach that sees the names of your processes.
    """

    name = "export"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add what to watch, how, and where to show it."""
        parser.usage = "pydamon export [OPTIONS] (PID... | --cgroup NAME | --user NAME | --all)"
        parser.add_argument("pids", nargs="*", type=int, metavar="PID", help="processes to watch")
        parser.add_argument("--cgroup", metavar="NAME", help="all processes of a cgroup")
        parser.add_argument("--user", metavar="NAME", help="all processes of a user")
        parser.add_argument("--all", action="store_true", help="all processes that may be watched")
        parser.add_argument("--no-children", action="store_true", help="do not follow children")
        parser.add_argument(
            "--listen",
            type=_address,
            default=("127.0.0.1", 9871),
            metavar="[HOST:]PORT",
            help="where to show them (default: 127.0.0.1:9871)",
        )
        parser.add_argument(
            "--otlp",
            metavar="URL",
            help="also push them to an OpenTelemetry collector, as in http://localhost:4318",
        )
        parser.add_argument(
            "--processes",
            type=_count,
            default=50,
            metavar="N",
            help="how many processes, and cgroups, get series of their own; the rest is summed up "
            "(default: %(default)s)",
        )
        parser.add_argument(
            "--engine",
            choices=ENGINES,
            default="sampling",
            help="who looks: pydamon (sampling), the kernel's DAMON, or the best that works (auto)",
        )
        parser.add_argument(
            "--probe",
            choices=("auto", *(probe.name for probe in PROBES)),
            default="auto",
            help="how to find out what was accessed (default: the best that works here)",
        )
        add_cpu_budget(parser)
        parser.add_argument("-d", "--duration", metavar="D", help="stop after this time, as in 1h")

    def run(self, args: argparse.Namespace) -> int:
        """Show them until the processes are gone, the time is up, or somebody presses Ctrl-C."""
        whom = _whom(args)
        duration_ns = parse_duration_ns(args.duration) if args.duration else None
        metrics = Metrics(processes=args.processes, cpu_budget_percent=args.cpu_budget)
        exporter = Exporter(
            whom,
            metrics,
            engine=args.engine,
            probe=args.probe,
            cpu_budget_percent=args.cpu_budget,
            children=not args.no_children,
        )
        host, port = args.listen
        with (
            _pushing(metrics, args.otlp) if args.otlp else nullcontext(),
            serve_metrics(metrics, host, port) as port,
            ending(exporter.stop),
        ):
            shown = f"[{host}]" if ":" in host else host
            complain(f"metrics are at http://{shown}:{port}/metrics; Ctrl-C ends it")
            exporter.run(duration_ns)
        return 0


def _pushing(metrics: Metrics, url: str) -> AbstractContextManager[None]:
    """Push them to a collector, and say so when that fails."""
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )

        from pydamon.export.otlp import push_metrics  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--otlp needs a package that is not installed: {error.name}",
            hint="pip install 'pydamon[otel]'",
        ) from None
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise UsageError(
            f"not the address of a collector: {url!r}", hint="it is one as http://localhost:4318"
        )
    endpoint = url if address.path.strip("/") else f"{url.rstrip('/')}/v1/metrics"
    # What goes wrong is said here, in a line, and not at every attempt.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def say(works: bool) -> None:
        complain(f"metrics {'are pushed' if works else 'cannot be pushed'} to {endpoint}")

    return push_metrics(metrics, OTLPMetricExporter(endpoint), said=say)


def _whom(args: argparse.Namespace) -> list[int] | Members:
    named = [bool(args.pids), bool(args.cgroup), bool(args.user), args.all]
    if named.count(True) != 1 or args.command:
        raise UsageError("name processes by pid, or one of --cgroup, --user and --all")
    if args.cgroup:
        return members_of_cgroup(args.cgroup)
    if args.user:
        return members_of_user(args.user)
    return every_process if args.all else list(args.pids)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"not an address: {text!r} (as in 127.0.0.1:9871)")
    return host.strip("[]") or "127.0.0.1", int(port)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"not a number from 1 to 10000: {text!r}")
    return int(text)
