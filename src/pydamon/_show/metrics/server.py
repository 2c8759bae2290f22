"""The page that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.registry import Collector

from pydamon._model.errors import UsageError

__all__ = ["registry_of", "serve_metrics"]


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
