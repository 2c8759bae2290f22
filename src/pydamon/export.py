"""Metrics of monitors for Prometheus and OpenTelemetry."""

from pydamon._show.metrics import *  # noqa: F403
from pydamon._show.metrics import __all__  # noqa: F401
