"""The kernel acts: schemes that its DAMON carries out, and its own modules that use DAMON."""

from __future__ import annotations

from pydamon._act.kernel.modules import (
    LruSortModule,
    ModuleStatus,
    ReclaimModule,
    StatModule,
    StatStatus,
)
from pydamon._act.kernel.parameters import LruSortParameters, ReclaimParameters
from pydamon._act.kernel.schemes import KernelScheme, KernelSchemes

__all__ = [
    "KernelScheme",
    "KernelSchemes",
    "LruSortModule",
    "LruSortParameters",
    "ModuleStatus",
    "ReclaimModule",
    "ReclaimParameters",
    "StatModule",
    "StatStatus",
]
