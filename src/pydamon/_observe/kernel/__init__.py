"""The kernel's own DAMON: a driver of its sysfs files, and a monitor on top."""

from __future__ import annotations

from pydamon._observe.kernel.claim import Claim, Record, check_free, leftover, remove_leftover
from pydamon._observe.kernel.kdamond import Kdamond, KernelTarget, Settings
from pydamon._observe.kernel.monitor import KernelMonitor
from pydamon._observe.kernel.open import kernel_monitor

__all__ = [
    "Claim",
    "Kdamond",
    "KernelMonitor",
    "KernelTarget",
    "Record",
    "Settings",
    "check_free",
    "kernel_monitor",
    "leftover",
    "remove_leftover",
]
