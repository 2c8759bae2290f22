"""The same metrics for OpenTelemetry, pushed to a collector; needs `pydamon[otel]`.

They do not become instruments of a meter: those keep an entry for every process that there ever
was, and tell processes apart no more once there were 2000.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from pydamon._show.metrics.exporter import registry_of

__all__ = ["metrics_data", "push_metrics"]

_EVERY_S = 15.0
_FIRST_S = 2.0
_PATIENCE_S = 2.0
_UNITS = {"_bytes": "By", "_seconds": "s", "_bytes_per_second": "By/s", "_ratio": "1"}


@contextmanager
def push_metrics(
    metrics: Collector,
    exporter: MetricExporter,
    *,
    every_s: float = _EVERY_S,
    said: Callable[[bool], None] = lambda _: None,
) -> Iterator[None]:
    """Push metrics, and what this process costs, for as long as the context lasts, and at its end.

    *said* is called with `False` when a push fails and with `True` when one succeeds again. Shuts
    the exporter down.
    """
    families, done = registry_of(metrics), threading.Event()
    resource = Resource.create({"service.name": "pydamon", "host.name": socket.gethostname()})
    begin_ns = time.time_ns()

    def pushing() -> None:
        works, pause_s = True, min(every_s, _FIRST_S)
        while True:
            over, pause_s = done.wait(pause_s), every_s
            if over and not works:
                return
            data = metrics_data(families.collect(), resource, begin_ns)
            if (exporter.export(data) is MetricExportResult.SUCCESS) != works:
                works = not works
                said(works)
            if over:
                return

    thread = threading.Thread(target=pushing, name="pydamon-otlp", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_PATIENCE_S)
        exporter.shutdown()


def metrics_data(families: Iterable[Family], resource: Resource, begin_ns: int) -> MetricsData:
    """Families of Prometheus as OpenTelemetry's data; counters count since *begin_ns*."""
    now_ns = time.time_ns()
    scope = ScopeMetrics(
        InstrumentationScope("pydamon"),
        [_metric(family, begin_ns, now_ns) for family in families if family.samples],
        schema_url="",
    )
    return MetricsData([ResourceMetrics(resource, [scope], schema_url="")])


def _metric(family: Family, begin_ns: int, now_ns: int) -> Metric:
    counts = family.type == "counter"
    points = [
        NumberDataPoint(sample.labels, begin_ns if counts else 0, now_ns, float(sample.value))
        for sample in family.samples
    ]
    unit = next((unit for end, unit in _UNITS.items() if family.name.endswith(end)), "")
    data = Sum(points, AggregationTemporality.CUMULATIVE, True) if counts else Gauge(points)
    return Metric(family.name, family.documentation, unit, data)
