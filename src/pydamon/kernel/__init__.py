"""The kernel's own DAMON as an engine: a driver of its sysfs files, and a monitor on top."""

from __future__ import annotations

from pydamon.kernel.applied import KernelScheme, KernelSchemes
from pydamon.kernel.claim import Claim, check_free, leftover, remove_leftover
from pydamon.kernel.kdamond import Kdamond, KernelTarget, Settings
from pydamon.kernel.modules import (
    LruSortModule,
    ModuleStatus,
    ReclaimModule,
    StatModule,
    StatStatus,
)
from pydamon.kernel.monitor import KernelMonitor
from pydamon.kernel.open import kernel_monitor
from pydamon.kernel.owner import Record
from pydamon.kernel.parameters import LruSortParameters, ReclaimParameters

__all__ = [
    "Claim",
    "Kdamond",
    "KernelMonitor",
    "KernelScheme",
    "KernelSchemes",
    "KernelTarget",
    "LruSortModule",
    "LruSortParameters",
    "ModuleStatus",
    "ReclaimModule",
    "ReclaimParameters",
    "Record",
    "Settings",
    "StatModule",
    "StatStatus",
    "check_free",
    "kernel_monitor",
    "leftover",
    "remove_leftover",
]
