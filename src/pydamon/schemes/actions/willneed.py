"""`willneed`: have memory read back before the process asks for it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pydamon.core.ranges import intersect, subtract, union
from pydamon.core.regions import Ranges
from pydamon.probes.madvise import MADV_WILLNEED
from pydamon.probes.pagestate import PRESENT, SWAPPED
from pydamon.schemes.actions.base import Action, advice_refusal, advise
from pydamon.schemes.memory import TargetMemory
from pydamon.schemes.refusal import Refusal

__all__ = ["Willneed"]


class Willneed(Action):
    """Starts to read what is swapped or in files into memory.

    The kernel reads into its caches, behind the process's back, so that nothing in the process
    shows it yet: what counts as done are bytes, not resident before, that the kernel took the
    advice for.
    """

    name = "willneed"
    hot_first: ClassVar[bool] = True
    of_resident: ClassVar[bool] = False

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_WILLNEED)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        absent = subtract(ranges, runs.ranges((runs.flags & PRESENT) != 0))
        # Elsewhere nothing was ever written: there is nothing to read.
        swapped = runs.ranges((runs.flags & (PRESENT | SWAPPED)) == SWAPPED)
        return intersect(absent, union(np.concatenate([memory.in_files, swapped])))

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_WILLNEED)
