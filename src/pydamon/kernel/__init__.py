"""The kernel's own DAMON as an engine: a driver of its sysfs files, and a monitor on top."""

from __future__ import annotations

from pydamon.kernel.claim import Claim, check_free, leftover, remove_leftover
from pydamon.kernel.kdamond import Kdamond, KernelTarget, Settings
from pydamon.kernel.monitor import KernelMonitor
from pydamon.kernel.open import kernel_monitor
from pydamon.kernel.owner import Record
from pydamon.kernel.scheme import SchemeStats

__all__ = [
    "Claim",
    "Kdamond",
    "KernelMonitor",
    "KernelTarget",
    "Record",
    "SchemeStats",
    "Settings",
    "check_free",
    "kernel_monitor",
    "leftover",
    "remove_leftover",
]
