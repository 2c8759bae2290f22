"""pydamon's own sampling: collect a window, adjust the regions, follow the targets."""

from __future__ import annotations

from pydamon._observe.sampling.monitor import SamplingMonitor
from pydamon._observe.sampling.open import SamplingEngine, simulate

__all__ = ["SamplingEngine", "SamplingMonitor", "simulate"]
