"""What monitors see, as metrics that Prometheus reads."""

from pydamon._show.metrics.exporter import Exporter, serve_metrics
from pydamon._show.metrics.metrics import Metrics

__all__ = ["Exporter", "Metrics", "serve_metrics"]
