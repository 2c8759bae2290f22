"""The kernel acts: its own modules that use DAMON."""

from __future__ import annotations

from pydamon._act.kernel.kdamonds import Kdamonds
from pydamon._act.kernel.modules import (
    LruSortModule,
    ModuleStatus,
    ReclaimModule,
    StatModule,
    StatStatus,
)
from pydamon._act.kernel.parameters import LruSortParameters, ReclaimParameters

__all__ = [
    "Kdamonds",
    "LruSortModule",
    "LruSortParameters",
    "ModuleStatus",
    "ReclaimModule",
    "ReclaimParameters",
    "StatModule",
    "StatStatus",
]
