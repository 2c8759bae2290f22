"""A guard at work: whether what a scheme takes is asked for again, and what that costs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pydamon.core.errors import SchemeError
from pydamon.core.regions import PAGE_SIZE, Ranges
from pydamon.probes.pagestate import PRESENT
from pydamon.schemes.memory import TargetMemory
from pydamon.schemes.metrics import stalled_ns
from pydamon.schemes.scheme import Guard
from pydamon.spaces.members import CGROUPS, cgroup_of

__all__ = ["Backoff"]

_WINDOW_NS = 10 * 10**9
_CHECK_NS = 10**9
_FEW_BYTES = 1 << 20
"""Of less than that, the share that comes back says nothing."""
_LOOK_BYTES = 16 << 20
"""How much of what was taken one check looks at, at most."""
_LONGEST = 6
"""A rest doubles at most so often."""


@dataclass(frozen=True, slots=True)
class _Taken:
    at_ns: int
    memory: TargetMemory
    ranges: Ranges
    size_bytes: int


class Backoff:
    """Watches for 10 s what was taken, and says when to back off."""

    def __init__(self, guard: Guard, *, seed: int | None = None) -> None:
        self.rests = 0
        """How often it made the scheme rest."""
        self.why = ""
        """Why it does, while it does."""
        self._guard = guard
        self._taken: deque[_Taken] = deque()
        self._until_ns = 0
        self._doubled = 0
        self._checked_ns = 0
        self._stalls: dict[Path | None, int] = {}
        self._rng = np.random.default_rng(seed)

    def take(self, now_ns: int, memory: TargetMemory, ranges: Ranges, size_bytes: int) -> None:
        """Remember what was taken."""
        if size_bytes:
            self._taken.append(_Taken(now_ns, memory, ranges, size_bytes))

    def allows(self, now_ns: int, memories: Iterable[TargetMemory]) -> bool:
        """Whether the scheme may act now."""
        if now_ns < self._until_ns:
            return False
        self.why = ""
        if now_ns - self._checked_ns < _CHECK_NS:
            return True
        since_ns = now_ns - self._checked_ns
        self._checked_ns = now_ns
        known = list(memories)
        while self._taken and (
            now_ns - self._taken[0].at_ns > _WINDOW_NS or self._taken[0].memory not in known
        ):
            self._taken.popleft()
        back, stalled = self._refaults(), self._stalled(known, since_ns)
        if back > self._guard.refaults:
            self.why = f"{100 * back:.0f} % of what was taken was asked for again"
        elif self._taken and stalled > self._guard.stalls:
            self.why = f"tasks stall for memory {100 * stalled:.0f} % of the time"
        else:
            if not self._taken or now_ns - self._taken[0].at_ns > _WINDOW_NS // 2:
                self._doubled = 0
            return True
        self._until_ns = now_ns + (self._guard.rest_ns << self._doubled)
        self._doubled = min(self._doubled + 1, _LONGEST)
        self._taken.clear()
        self.rests += 1
        return False

    def _refaults(self) -> float:
        """The share of what was taken that is resident again."""
        total = sum(taken.size_bytes for taken in self._taken)
        if total < _FEW_BYTES:
            return 0.0
        looked = back = 0
        for index in self._rng.permutation(len(self._taken)).tolist():
            taken = self._taken[index]
            runs = taken.memory.pages.runs(taken.ranges)
            # What could not be taken was resident all the time.
            size = int((taken.ranges[:, 1] - taken.ranges[:, 0]).sum())
            stayed = size - taken.size_bytes
            back += max(0, runs.bytes_with(PRESENT) - stayed)
            looked += taken.size_bytes
            if looked >= _LOOK_BYTES:
                break
        return back / max(PAGE_SIZE, looked)

    def _stalled(self, memories: list[TargetMemory], since_ns: int) -> float:
        """The share of time that tasks of the worst of the targets' cgroups stalled."""
        worst = 0.0
        for place in {_pressure(memory) for memory in memories}:
            try:
                now_ns = stalled_ns(place) if place else stalled_ns()
            except SchemeError:
                continue
            if place in self._stalls:
                worst = max(worst, (now_ns - self._stalls[place]) / max(1, since_ns))
            self._stalls[place] = now_ns
        return worst


def _pressure(memory: TargetMemory) -> Path | None:
    """The pressure file of the process's cgroup; `None` is the machine's."""
    path = CGROUPS / cgroup_of(memory.process.pid).lstrip("/") / "memory.pressure"
    return path if path.exists() else None
