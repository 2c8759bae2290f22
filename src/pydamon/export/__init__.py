"""What monitors see, as metrics that Prometheus reads."""

from pydamon.export.exporter import Exporter
from pydamon.export.http import serve_metrics
from pydamon.export.metrics import Metrics

__all__ = ["Exporter", "Metrics", "serve_metrics"]
