"""The same metrics for OpenTelemetry, pushed to a collector; needs `pydamon[otel]`.

They do not become instruments of a meter: an instrument keeps an entry for every process that ever
was, and stops to tell processes apart after 2000 of them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from pydamon._model.errors import UsageError
from pydamon._show.metrics.exporter import registry_of

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricExporter, MetricsData
    from opentelemetry.sdk.resources import Resource

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
    on_change: Callable[[bool], None] = lambda _: None,
) -> Iterator[None]:
    """Push metrics, and what this process costs, for as long as the context lasts.

    Parameters
    ----------
    metrics
        What to push, such as `Metrics`.
    exporter
        Where to push it: any exporter of OpenTelemetry's SDK. It is shut down at the end.
    every_s
        The time between two pushes; one more follows at the end.
    on_change
        Called with `False` when a push fails, and with `True` when one succeeds again.

    Raises
    ------
    UsageError
        Where OpenTelemetry's SDK is not installed.

    Examples
    --------
    >>> from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
    >>> class Names(MetricExporter):
    ...     def export(self, data, *_, **__):
    ...         scope = data.resource_metrics[0].scope_metrics[0]
    ...         self.names = {metric.name for metric in scope.metrics}
    ...         return MetricExportResult.SUCCESS
    ...     def force_flush(self, timeout_millis=0): return True
    ...     def shutdown(self, *_, **__): pass
    >>> from pydamon.export import Metrics
    >>> with push_metrics(Metrics(), names := Names()):
    ...     pass
    >>> "pydamon_snapshots" in names.names
    True
    """
    try:
        from opentelemetry.sdk.metrics.export import MetricExportResult  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "pushing needs OpenTelemetry's SDK, which is not installed",
            hint="pip install 'pydamon[otel]'",
        ) from None
    families, done = registry_of(metrics), threading.Event()
    resource = Resource.create({"service.name": "pydamon", "host.name": socket.gethostname()})
    begin_ns = time.time_ns()

    def push_until_done() -> None:
        works, pause_s = True, min(every_s, _FIRST_S)
        while True:
            over, pause_s = done.wait(pause_s), every_s
            if over and not works:
                return
            data = metrics_data(families.collect(), resource, begin_ns)
            if (exporter.export(data) is MetricExportResult.SUCCESS) != works:
                works = not works
                on_change(works)
            if over:
                return

    thread = threading.Thread(target=push_until_done, name="pydamon-otlp", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_PATIENCE_S)
        exporter.shutdown()


def metrics_data(families: Iterable[Family], resource: Resource, begin_ns: int) -> MetricsData:
    """Prometheus's families as OpenTelemetry's data; counters count since *begin_ns*."""
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        MetricsData,
        ResourceMetrics,
        ScopeMetrics,
    )
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

    now_ns = time.time_ns()
    scope = ScopeMetrics(
        InstrumentationScope("pydamon"),
        [_metric(family, begin_ns, now_ns) for family in families if family.samples],
        schema_url="",
    )
    return MetricsData([ResourceMetrics(resource, [scope], schema_url="")])


def _metric(family: Family, begin_ns: int, now_ns: int) -> Metric:
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        AggregationTemporality,
        Gauge,
        Metric,
        NumberDataPoint,
        Sum,
    )

    counts = family.type == "counter"
    points = [
        NumberDataPoint(sample.labels, begin_ns if counts else 0, now_ns, float(sample.value))
        for sample in family.samples
    ]
    unit = next((unit for end, unit in _UNITS.items() if family.name.endswith(end)), "")
    data = Sum(points, AggregationTemporality.CUMULATIVE, True) if counts else Gauge(points)
    return Metric(family.name, family.documentation, unit, data)
