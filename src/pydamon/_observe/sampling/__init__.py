"""The monitoring loop: sample, aggregate, adjust, update."""

from __future__ import annotations

from pydamon._observe.sampling.monitor import SamplingMonitor
from pydamon._observe.sampling.open import SamplingEngine, simulate

__all__ = ["SamplingEngine", "SamplingMonitor", "simulate"]
