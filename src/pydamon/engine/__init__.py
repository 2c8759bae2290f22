"""The monitoring loop: sample, aggregate, adjust, update."""

from __future__ import annotations

from pydamon.engine.base import Monitor
from pydamon.engine.child import Child
from pydamon.engine.loop import SamplingMonitor
from pydamon.engine.open import monitor, simulate
from pydamon.engine.starts import throttled_restarts

__all__ = ["Child", "Monitor", "SamplingMonitor", "monitor", "simulate", "throttled_restarts"]
