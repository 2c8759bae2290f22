"""pydamon's own sampling: collect a window, adjust the regions, follow the targets."""

from __future__ import annotations

from pydamon._observe.sampling.monitor import SamplingMonitor
from pydamon._observe.sampling.open import monitor, simulate

__all__ = ["SamplingMonitor", "monitor", "simulate"]
