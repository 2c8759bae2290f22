"""Actions: what a scheme does to a part of a target's memory, also by a user's function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pydamon._act.memory import Refusal, TargetMemory, refusal_of
from pydamon._model.errors import PydamonError, SchemeError
from pydamon._model.ranges import size_of
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.scheme import ActionFunction, Scheme
from pydamon._model.snapshot import SnapshotRegion
from pydamon._observe.linux import madvise

__all__ = [
    "Action",
    "Call",
    "Effect",
    "MemoryAction",
    "Part",
    "Stat",
    "advice_refusal",
    "advise",
    "mapped_here_only",
]

_ADVICE = {madvise.MADV_COLLAPSE: ("MADV_COLLAPSE", "6.1")}
"""Advice that came later than the system call: its name, and the Linux that brought it."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Ranges of a target that an action is given at once, sorted by address.

    `passed` are the ranges in them that the filters of pages let pass. `target` is the index of the
    target in the snapshot; made-up memory has a `pid` of 0 and no `memory`.
    """

    target: int
    pid: int
    ranges: Ranges
    passed: Ranges
    memory: TargetMemory | None
    region: Callable[[], SnapshotRegion]
    """Returns the first region of the part."""

    @property
    def size(self) -> int:
        """Bytes."""
        return size_of(self.ranges)


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """The ranges that an action was done to, and for how many bytes of them it happened."""

    ranges: Ranges
    size_bytes: int


class Action(ABC):
    """Does one thing to parts of memory, and finds out whether it happened."""

    name: str
    hot_first: bool = False
    """Serve hot regions first where a quota is too small for all of them."""
    takes: bool = False
    """Takes memory from the target, so a guard has to watch the consequences."""
    changes: bool = True
    """Changes something, so regions count as new: it is not done to them again at once."""
    needs_process: bool = True
    """Cannot be done to made-up memory."""
    sees_pages: bool = True
    """Looks at single pages of the process."""
    of_resident: bool = True
    """Is done to resident memory only."""
    by_region: bool = False
    """Is given one region at a time, not the neighbours together."""
    grain_bytes: int = PAGE_SIZE
    """The smallest block that it should be given."""
    failures: tuple[type[Exception], ...] = (PydamonError, OSError)
    """The exceptions that say that a process cannot be acted on."""
    note = ""
    """What people should know about what it does now."""

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        """Why it cannot be done to this process; `None` where it can.

        The answer must not depend on what the process has mapped.
        """
        del memory
        return None

    @abstractmethod
    def apply(self, part: Part) -> Effect:
        """Do it to a part."""

    @abstractmethod
    def foresee(self, part: Part) -> Effect:
        """What `apply` would do to a part; nothing is done."""


class MemoryAction(Action):
    """An action on the memory of processes: subclasses say what to do to ranges of pages.

    Raises `SchemeError` when it is made, where this machine cannot do it at all.
    """

    def __init__(self, scheme: Scheme) -> None:
        del scheme

    @abstractmethod
    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        """The parts of *ranges* that there is something to do about."""

    def foreseen(self, memory: TargetMemory, ranges: Ranges) -> int:
        """For how many bytes of *ranges*, as `doable` returned them, it would happen."""
        del memory
        return size_of(ranges)

    @abstractmethod
    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        """Do it to *ranges*, as `doable` returned them: for how many bytes it happened."""

    def apply(self, part: Part) -> Effect:
        """Do it to what can be done of a part; made-up memory is only counted."""
        if part.memory is None:
            return Effect(part.passed, part.size)
        ranges = self.doable(part.memory, part.passed)
        return Effect(ranges, self.act(part.memory, ranges) if len(ranges) else 0)

    def foresee(self, part: Part) -> Effect:
        """What `apply` would do to a part."""
        if part.memory is None:
            return Effect(part.passed, part.size)
        ranges = self.doable(part.memory, part.passed)
        return Effect(ranges, self.foreseen(part.memory, ranges))


def mapped_here_only(memory: TargetMemory, ranges: Ranges) -> int:
    """How many bytes of *ranges* no other process maps: the kernel passes over shared pages."""
    _, frames = memory.frames(ranges)
    return int(frames.exclusive.sum()) * PAGE_SIZE


def advice_refusal(memory: TargetMemory, advice: int) -> Refusal | None:
    """Why the kernel refuses advice about the process; the call names no range, so it does nothing.

    `None` where it does not refuse.
    """
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


class Stat(MemoryAction):
    """Counts the memory that the scheme is about; regions keep their age."""

    name = "stat"
    hot_first = True
    changes = False
    needs_process = False
    sees_pages = False

    def doable(self, memory: TargetMemory, ranges: Ranges) -> Ranges:
        return ranges

    def act(self, memory: TargetMemory, ranges: Ranges) -> int:
        return size_of(ranges)


class Call(Action):
    """Calls a function with each region; the function says for how many bytes it did something.

    Raises `SchemeError` for a scheme whose filters decide about pages. Exceptions of the function
    end the scheme: they are the user's.
    """

    hot_first = True
    needs_process = False
    sees_pages = False
    by_region = True
    failures = ()

    def __init__(self, function: ActionFunction, scheme: Scheme) -> None:
        if not all(rule.is_core for rule in scheme.filters):
            raise SchemeError(
                "filters: a function is called with regions, and only addr and target decide "
                "about regions"
            )
        self.name = scheme.label
        self._function = function

    def apply(self, part: Part) -> Effect:
        """Call the function with the region of a part."""
        size_bytes = self._function(part.region())
        return Effect(part.passed, part.size if size_bytes is None else int(size_bytes))

    def foresee(self, part: Part) -> Effect:
        """All of the part: nobody knows what the function would do."""
        return Effect(part.passed, part.size)
