"""What an action is; and `stat`, which does nothing but count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from pydamon._act.memory import Refusal, TargetMemory, refusal_of
from pydamon._model.ranges import size_of
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.scheme import Scheme
from pydamon._observe.linux import madvise

__all__ = ["Action", "Stat", "advice_refusal", "advise", "mapped_here_only"]

_ADVICE = {madvise.MADV_COLLAPSE: ("MADV_COLLAPSE", "6.1")}
"""What advice is called that came later than the call, and with which Linux."""


class Action(ABC):
    """Does one thing to ranges of memory, and finds out whether it happened.

    Raises `SchemeError` when it is made, where this machine cannot do it at all.
    """

    name: ClassVar[str]
    hot_first: ClassVar[bool] = False
    """Which regions are served first where a quota is too small for all."""
    takes: ClassVar[bool] = False
    """Takes memory from the target, so that a guard has to watch the consequences."""
    changes: ClassVar[bool] = True
    """Does something at all; regions then count as new, so that it is not done again at once."""
    of_resident: ClassVar[bool] = True
    """Is done to memory that is resident, and to no other."""
    grain_bytes: ClassVar[int] = PAGE_SIZE
    """What it should not be given parts of."""

    note = ""
    """What people should know about what it does now."""

    def __init__(self, scheme: Scheme) -> None:
        del scheme

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        """Why it cannot be done to this process; `None` where it can.

        To try that must not depend on what the process has mapped.
        """
        del memory
        return None

    @abstractmethod
    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        """The parts of *ranges* that there is something to do about."""

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        """For how many bytes of *ranges*, as `doable` gave them, it would happen."""
        del memory
        return size_of(ranges)

    @abstractmethod
    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        """Do it to *ranges*, as `doable` gave them: for how many bytes it has happened."""


def mapped_here_only(memory: TargetMemory, ranges: Ranges) -> int:
    """How many bytes of *ranges* no other process maps: the kernel passes over the others."""
    pages = [
        memory.pages.exclusive(start, (end - start) // PAGE_SIZE).sum()
        for start, end in ranges.tolist()
    ]
    return int(sum(pages)) * PAGE_SIZE


def advice_refusal(memory: TargetMemory, advice: int) -> Refusal | None:
    """Why advice about the process is refused. None of its memory is tried: no range is given."""
    done = madvise.advise_at(memory.process.pidfd, 0, 0, advice)
    name, since = _ADVICE.get(advice, ("process_madvise", "5.10"))
    return refusal_of(max(0, -done), name, since=since)


def advise(memory: TargetMemory, ranges: Ranges, advice: int) -> int:
    """Advise the kernel about ranges of the process: how many bytes it did not refuse."""
    if not len(ranges):
        return 0
    rows = np.stack([ranges[:, 0], ranges[:, 1] - ranges[:, 0]], axis=1).astype(np.uint64)
    refused = madvise.advise(memory.process.pidfd, rows, advice)
    return size_of(ranges) - size_of(ranges[refused])


class Stat(Action):
    """Counts what the scheme is about; regions keep their age."""

    name = "stat"
    hot_first: ClassVar[bool] = True
    changes: ClassVar[bool] = False

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        return ranges

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return size_of(ranges)
