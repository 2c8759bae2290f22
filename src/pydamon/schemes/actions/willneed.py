"""`willneed`: have memory read back before the process asks for it."""

from __future__ import annotations

from typing import ClassVar

from pydamon.core.regions import Ranges
from pydamon.probes import madvise
from pydamon.probes.madvise import MADV_WILLNEED
from pydamon.probes.pagestate import PRESENT
from pydamon.schemes.actions.base import Action, advise, without
from pydamon.schemes.memory import TargetMemory

__all__ = ["Willneed"]


class Willneed(Action):
    """Starts to read what is swapped or in files into memory.

    The kernel reads into its caches, behind the process's back, so that nothing in the process
    shows it yet: what counts as done are bytes, not resident before, that the kernel took the
    advice for.
    """

    name = "willneed"
    hot_first: ClassVar[bool] = True

    def refusal(self, memory: TargetMemory) -> str:
        return madvise.may_advise(memory.process.pidfd, MADV_WILLNEED)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        return without(ranges, runs.ranges((runs.flags & PRESENT) != 0))

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_WILLNEED)
