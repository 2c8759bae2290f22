"""What monitors see, as metrics for Prometheus and OpenTelemetry.

`Metrics` turns snapshots into metrics, `serve_metrics` serves the page that Prometheus reads,
`push_metrics` pushes the same metrics to an OpenTelemetry collector, and `Exporter` runs a monitor
for processes that come and go.
"""

from pydamon._show.metrics.collector import Metrics
from pydamon._show.metrics.exporter import Exporter, serve_metrics
from pydamon._show.metrics.otlp import push_metrics

__all__ = ["Exporter", "Metrics", "push_metrics", "serve_metrics"]
