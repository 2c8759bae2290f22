"""Keeps metrics up to date within one CPU budget, and serves the page that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.registry import Collector

from pydamon._model.errors import ProbeUnavailable, TargetError, UsageError
from pydamon._model.names import printable
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import monitor, throttled_restarts
from pydamon._observe.targets import Members
from pydamon._observe.targets.base import say_once
from pydamon._show.metrics.metrics import Metrics

__all__ = ["Exporter", "registry_of", "serve_metrics"]


@contextmanager
def serve_metrics(metrics: Collector, host: str = "127.0.0.1", port: int = 9871) -> Iterator[int]:
    """Serve metrics, and what this process costs, by HTTP for as long as the context lasts.

    Yields the port: with *port* 0 it is one that is free. Raises `UsageError` where nobody can
    listen there.
    """
    try:
        server, thread = start_http_server(port, host, registry_of(metrics))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {host}, port {port}: {reason}",
            hint="name another address with --listen, as in --listen 127.0.0.1:9900",
        ) from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def registry_of(metrics: Collector) -> CollectorRegistry:
    """These metrics, and what this process costs."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    return registry


class Exporter:
    """Watches processes, or those that a function names, with one monitor for all of them.

    `run` returns when named processes are gone, and for a function only after `stop`, or when the
    time is up: it waits for processes to come. Raises what `monitor` raises.
    """

    def __init__(
        self,
        pids: Iterable[int] | Members,
        metrics: Metrics,
        *,
        engine: str = "sampling",
        probe: str = "auto",
        cpu_budget_percent: float = 1.0,
        children: bool = True,
    ) -> None:
        self._options = MonitorOptions(probe=probe, cpu_budget_percent=cpu_budget_percent)
        self.metrics = metrics
        self._pids: list[int] | Members = pids if callable(pids) else list(pids)
        self._engine = engine
        self._budget = cpu_budget_percent
        self._children = children
        self._mon: Monitor | None = None
        self._stopped = False

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stopped = True
        if self._mon is not None:
            self._mon.stop()

    def run(self, duration_ns: int | None = None) -> None:
        """Watch until the end."""
        end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns

        def is_over() -> bool:
            return self._stopped or (end_ns is not None and time.monotonic_ns() >= end_ns)

        for _ in throttled_restarts(lambda: self._budget, is_over):
            if not callable(self._pids) or any(True for _ in self._pids()):
                try:
                    self._watch(is_over)
                except (UsageError, ProbeUnavailable):
                    raise
                except TargetError:
                    if not callable(self._pids):
                        raise  # otherwise they were gone again before they could be watched
                except Exception as error:
                    # Whoever watches many goes on with the others, whatever one of them has done.
                    if not callable(self._pids):
                        raise
                    text = f"watching starts again: {type(error).__name__}: {error}"
                    say_once(text, printable(text))
            self.metrics.update(None)
            if not callable(self._pids):
                return

    def _watch(self, is_over: Callable[[], bool]) -> None:
        with monitor(
            self._pids,
            engine=self._engine,
            options=self._options,
            children=self._children,
        ) as self._mon:
            for snapshot in self._mon:
                self.metrics.update(snapshot, self._mon)
                if is_over():
                    break
        self._mon = None
