"""What an action is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from pydamon.core.regions import PAGE_SIZE, Ranges
from pydamon.probes import madvise
from pydamon.schemes.memory import TargetMemory
from pydamon.schemes.scheme import Scheme

__all__ = ["Action", "advise", "size_of"]


class Action(ABC):
    """Does one thing to ranges of memory, and finds out whether it happened.

    Raises `SchemeError` when it is made, where this machine cannot do it at all.
    """

    name: ClassVar[str]
    hot_first: ClassVar[bool] = False
    """Which regions are served first where a quota is too small for all."""
    takes: ClassVar[bool] = False
    """Takes memory from the target, so that a guard has to watch the consequences."""
    resets_age: ClassVar[bool] = True
    """Regions count as new after it, so that they are not acted on again at once."""
    grain_bytes: ClassVar[int] = PAGE_SIZE
    """What it should not be given parts of."""

    def __init__(self, scheme: Scheme) -> None:
        del scheme

    def refusal(self, memory: TargetMemory) -> str:
        """Why it cannot be done to this process; empty where it can."""
        del memory
        return ""

    @abstractmethod
    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        """The parts of *ranges* that there is something to do about."""

    @abstractmethod
    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        """Do it to *ranges*, as `doable` gave them: for how many bytes it has happened."""


def size_of(ranges: Ranges) -> int:
    """Bytes of all together."""
    return int((ranges[:, 1] - ranges[:, 0]).sum())


def advise(memory: TargetMemory, ranges: Ranges, advice: int) -> int:
    """Advise the kernel about ranges of the process: how many bytes it did not refuse."""
    if not len(ranges):
        return 0
    rows = np.stack([ranges[:, 0], ranges[:, 1] - ranges[:, 0]], axis=1).astype(np.uint64)
    refused = madvise.advise(memory.process.pidfd, rows, advice)
    return size_of(ranges) - size_of(ranges[refused])
