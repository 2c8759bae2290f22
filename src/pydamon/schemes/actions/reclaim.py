"""`pageout`: take memory from a process now. `cold`, `lru_deprio`: let the kernel take it first."""

from __future__ import annotations

import time
from typing import ClassVar
from weakref import WeakKeyDictionary

from pydamon.core.ranges import size_of
from pydamon.core.regions import Ranges
from pydamon.probes.madvise import MADV_COLD, MADV_PAGEOUT
from pydamon.probes.pagestate import PRESENT
from pydamon.schemes.actions.base import Action, advice_refusal, advise, mapped_here_only
from pydamon.schemes.actions.huge import HUGE_BYTES
from pydamon.schemes.memory import TargetMemory, holds_swap
from pydamon.schemes.refusal import Refusal
from pydamon.schemes.scheme import Scheme

__all__ = ["Cold", "LruDeprio", "Pageout"]


class Pageout(Action):
    """Writes pages to swap, or to their file, and frees them.

    Anonymous memory is left alone where there is no swap: the kernel would keep its pages, but
    split huge ones. What counts as done are bytes that were resident before and are not after.
    """

    name = "pageout"
    takes: ClassVar[bool] = True
    grain_bytes: ClassVar[int] = HUGE_BYTES

    def __init__(self, scheme: Scheme) -> None:
        super().__init__(scheme)
        self._looked = WeakKeyDictionary[TargetMemory, tuple[float, bool]]()

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_PAGEOUT)

    def _holds_swap(self, memory: TargetMemory) -> bool:
        """Whether there is swap; looked up once a second."""
        now = time.monotonic()
        if memory not in self._looked or now - self._looked[memory][0] > 1:
            self._looked[memory] = (now, holds_swap(memory.process.pid))
        return self._looked[memory][1]

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        resident = (runs.flags & PRESENT) != 0
        self.note = ""
        if not self._holds_swap(memory):
            resident &= memory.of_file(runs)
            self.note = "without swap only memory of files is taken"
        return runs.ranges(resident)

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        advise(memory, ranges, MADV_PAGEOUT)
        return size_of(ranges) - memory.pages.runs(ranges).bytes_with(PRESENT)


class Cold(Action):
    """Moves resident pages to where the kernel looks first when it needs memory.

    It takes nothing by itself. What counts as done are resident bytes that the kernel took the
    advice for; it passes over pages that other processes map too.
    """

    name = "cold"
    grain_bytes: ClassVar[int] = HUGE_BYTES

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        return advice_refusal(memory, MADV_COLD)

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        runs = memory.pages.runs(ranges)
        return runs.ranges((runs.flags & PRESENT) != 0)

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        return mapped_here_only(memory, ranges)

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return advise(memory, ranges, MADV_COLD)


class LruDeprio(Cold):
    """The same, by the name that the kernel's DAMON has for it in physical memory."""

    name = "lru_deprio"
