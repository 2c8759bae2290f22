"""The page that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.registry import Collector

from pydamon.core.errors import UsageError

__all__ = ["registry_of", "serve_metrics"]


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
