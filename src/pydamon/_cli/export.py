"""`pydamon export`: metrics for Prometheus and OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pydamon._cli.command import Args, Choice, Parsed, argument, command, eprint, option
from pydamon._cli.options import (
    ENGINES,
    cpu_budget_option,
    duration_option,
    join_from,
    join_option,
    no_children_option,
    probe_option,
)
from pydamon._cli.selecting import RUNNING_USAGE, selection_from, selection_options
from pydamon._model.errors import UsageError
from pydamon._model.units import parse_duration_ns

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pydamon._observe.targets import Members
    from pydamon._observe.targets.selection import TargetSelection
    from pydamon._show.metrics import Metrics

__all__ = ["export"]


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"not an address: {text!r} (as in 127.0.0.1:9871)")
    return host.strip("[]") or "127.0.0.1", int(port)


@command("export", usage=f"[OPTIONS] ({RUNNING_USAGE} | --all | --join)")
@argument("pids", nargs=-1, type=int, metavar="PID...", help="processes to monitor")
@selection_options()
@option("--all", is_flag=True, help="all processes that you may monitor")
@no_children_option
@option(
    "--listen",
    type=Parsed(_address),
    default=("127.0.0.1", 9871),
    metavar="[HOST:]PORT",
    help="serve the metrics at this address (default: 127.0.0.1:9871)",
)
@option(
    "--otlp",
    metavar="URL",
    help="also push the metrics to an OpenTelemetry collector, as in http://localhost:4318",
)
@option(
    "--processes",
    type=click.IntRange(1, 10_000),
    default=50,
    metavar="N",
    help="give up to N processes, and up to N cgroups, series of their own, and add up the others "
    "(default: 50)",
)
@option(
    "--engine",
    type=Choice(ENGINES),
    help="who monitors: pydamon (sampling, the default), the kernel's DAMON, or the best engine "
    "that works (auto)",
)
@join_option
@probe_option
@cpu_budget_option()
@duration_option
def export(args: Args) -> int:
    """Export metrics of processes to Prometheus or OpenTelemetry.

    pydamon export 1234
    pydamon export --cgroup system.slice
    pydamon export --user postgres
    sudo pydamon export --all-containers
    sudo pydamon export --all
    sudo pydamon export --join

    All processes share one CPU budget. Only programs on this machine can read the metrics, unless
    --listen names another address, as in --listen 0.0.0.0:9871; everybody who can connect to that
    address can read the names of your processes.
    """
    from contextlib import nullcontext

    from pydamon._cli.cache import watch_cache
    from pydamon._cli.record import stop_at_signals
    from pydamon._show.metrics import Exporter, Metrics, serve_metrics

    selection, join = _selection(args), join_from(args)
    engine = args.engine or ("sampling" if join is False else "auto")
    duration_ns = parse_duration_ns(args.duration) if args.duration else None
    metrics = Metrics(processes=args.processes, cpu_budget_percent=args.cpu_budget_percent)
    cache, budget = None, args.cpu_budget_percent
    if args.all_containers or args.container or args.pod:
        cache, budget = watch_cache(budget)
    exporter = Exporter(
        selection,
        metrics,
        engine=engine,
        join=join,
        probe=args.probe,
        cpu_budget_percent=budget,
        children=not args.no_children,
        cache=cache,
    )
    host, port = args.listen
    with (
        cache or nullcontext(),
        _pushing(metrics, args.otlp) if args.otlp else nullcontext(),
        serve_metrics(metrics, host, port) as port,
        stop_at_signals(exporter.stop),
    ):
        url_host = f"[{host}]" if ":" in host else host
        eprint(f"metrics are at http://{url_host}:{port}/metrics; Ctrl-C ends the exporter")
        exporter.run(duration_ns)
    return 0


def _pushing(metrics: Metrics, url: str) -> AbstractContextManager[None]:
    """Push metrics to a collector, and report when that starts to fail or to work."""
    import logging
    from urllib.parse import urlsplit

    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
            OTLPMetricExporter,
        )

        from pydamon._show.metrics import push_metrics
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--otlp needs a package that is not installed: {error.name}",
            hint="pip install 'pydamon[otel]'",
        ) from None
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise UsageError(
            f"not the address of a collector: {url!r}", hint="write it like http://localhost:4318"
        )
    endpoint = url if address.path.strip("/") else f"{url.rstrip('/')}/v1/metrics"
    # `report` prints a line when the state changes; the library would log every attempt.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def report(works: bool) -> None:
        eprint(f"metrics {'are pushed' if works else 'cannot be pushed'} to {endpoint}")

    return push_metrics(metrics, OTLPMetricExporter(endpoint), on_change=report)


def _selection(args: Args) -> TargetSelection | list[int] | Members:
    from pydamon._observe.linux.procfs import every_process

    selection = selection_from(args)
    if selection is None and not args.all and join_from(args) is not False:
        return []
    if bool(selection) == args.all:
        raise UsageError(
            "name processes by pid, or one of --cgroup, --user and --all",
            hint="or of --name, --unit, --container, --pod and --all-containers",
        )
    return every_process if selection is None else selection
