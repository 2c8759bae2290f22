"""Keeps metrics up to date with one monitor for all processes, and serves Prometheus' page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.registry import Collector

from pydamon._model.display import printable
from pydamon._model.errors import ProbeUnavailable, TargetError, UsageError
from pydamon._observe.cache import CacheMonitor
from pydamon._observe.fallback import fallback_note
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import monitor, throttled_restarts
from pydamon._observe.targets import Members
from pydamon._observe.targets.base import say_once
from pydamon._observe.targets.selection import TargetSelection
from pydamon._show.metrics.collector import Metrics

__all__ = ["Exporter", "registry_of", "serve_metrics"]

_CACHE_NS, _CACHE_WITHIN_NS = 10 * 10**9, 60 * 10**9
"""How often the page cache of containers is read, and for which time before."""


class _Connection(WSGIRequestHandler):
    """A connection, which has a thread for as long as it lasts: not for long if nothing comes."""

    timeout = 10

    def handle(self) -> None:
        with suppress(OSError):  # the other end has gone, or says nothing
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def serve_metrics(metrics: Collector, host: str = "127.0.0.1", port: int = 9871) -> Iterator[int]:
    """Serve metrics, and what this process costs, by HTTP for as long as the context lasts.

    Parameters
    ----------
    metrics
        What to serve, such as `Metrics`.
    host, port
        Where to listen; port 0 means any free port.

    Yields
    ------
    int
        The port.

    Raises
    ------
    UsageError
        Where it cannot listen.

    Examples
    --------
    >>> import urllib.request
    >>> from pydamon.export import Metrics, serve_metrics
    >>> with serve_metrics(Metrics(), port=0) as port:
    ...     page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    >>> "pydamon_processes 0.0" in page
    True
    """
    try:
        server, thread = start_http_server(port, host, registry_of(metrics))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {host}, port {port}: {reason}",
            hint="name another address with --listen, as in --listen 127.0.0.1:9900",
        ) from None
    server.RequestHandlerClass = _Connection
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def registry_of(metrics: Collector) -> CollectorRegistry:
    """A registry of these metrics and what this process costs."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    return registry


class Exporter:
    """Watches processes, which may come and go, with one monitor for all of them.

    Parameters
    ----------
    pids
        Processes; a `TargetSelection`; or a function that is asked now and then which processes
        there are.
    metrics
        What to update with each snapshot.
    engine, probe, children, join
        As for `pydamon.monitor`.
    cpu_budget_percent
        The share of one CPU that monitoring may cost, starts of the monitor included.
    cache
        An open `CacheMonitor`, for the page cache that containers read; it has a budget of its own.

    Raises
    ------
    UsageError
        For a budget that is not a percentage.
    TargetError
        For a container, cgroup or user that does not exist.

    Examples
    --------
    >>> metrics = Metrics(cpu_budget_percent=1)
    >>> exporter = Exporter(lambda: [], metrics)  # no process is there yet
    >>> exporter.run(duration_ns=1000)
    """

    def __init__(
        self,
        pids: Iterable[int] | Members | TargetSelection,
        metrics: Metrics,
        *,
        engine: str = "sampling",
        probe: str = "auto",
        cpu_budget_percent: float = 1.0,
        children: bool = True,
        join: bool | int | str = False,
        cache: CacheMonitor | None = None,
    ) -> None:
        self._cache = cache
        self._cache_due_ns = 0
        self._options = MonitorOptions(
            probe=probe, cpu_budget_percent=cpu_budget_percent, join=join
        )
        self.metrics = metrics
        """What is updated."""
        if isinstance(pids, TargetSelection):
            children = pids.children
            pids = pids.members() if pids.is_group else pids.pids
        self._pids: list[int] | Members = pids if callable(pids) else list(pids)
        self._engine = engine
        self._budget_percent = cpu_budget_percent
        self._children = children
        self._mon: Monitor | None = None
        self._stopped = False

    def stop(self) -> None:
        """End `run` soon; safe in a signal handler."""
        self._stopped = True
        if self._mon is not None:
            self._mon.stop()

    def run(self, duration_ns: int | None = None) -> None:
        """Watch until the end.

        Parameters
        ----------
        duration_ns
            How long to watch at most. Without it, `run` ends when the named processes are gone;
            for a function it waits for more processes, until `stop`.

        Raises
        ------
        TargetError
            For named processes that do not exist or may not be watched.
        ProbeUnavailable
            Where no probe works here.
        """
        end_ns = None if duration_ns is None else time.monotonic_ns() + duration_ns

        def is_over() -> bool:
            return self._stopped or (end_ns is not None and time.monotonic_ns() >= end_ns)

        if callable(self._pids):
            self._run_group(self._pids, is_over)
        elif not is_over():
            self._watch(is_over)
            self.metrics.update(None)

    def _run_group(self, members: Members, is_over: Callable[[], bool]) -> None:
        """Watch processes that come and go, whenever there are some."""
        for _ in throttled_restarts(lambda: self._budget_percent, is_over):
            if any(True for _ in members()):
                self._try_to_watch(is_over)
            self.metrics.update(None)

    def _try_to_watch(self, is_over: Callable[[], bool]) -> None:
        """Watch; an error that a process causes must not end the watching of all others."""
        try:
            self._watch(is_over)
        except (UsageError, ProbeUnavailable):
            raise
        except TargetError:
            pass  # all processes were gone again before they could be watched
        except Exception as error:
            text = f"watching starts again: {type(error).__name__}: {error}"
            say_once(text, printable(text))

    def _update_cache(self) -> None:
        if self._cache is None:
            return
        self._cache.check()
        now_ns = time.monotonic_ns()
        if now_ns >= self._cache_due_ns:
            self._cache_due_ns = now_ns + _CACHE_NS
            self.metrics.update_cache(self._cache.used_by_cgroup(_CACHE_WITHIN_NS))

    def _watch(self, is_over: Callable[[], bool]) -> None:
        with monitor(
            self._pids, engine=self._engine, options=self._options, children=self._children
        ) as self._mon:
            if note := fallback_note(self._mon):
                say_once(note, note)
            for snapshot in self._mon:
                self.metrics.update(snapshot, self._mon)
                self._update_cache()
                if is_over():
                    break
        self._mon = None
