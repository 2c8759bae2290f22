"""When a scheme leaves memory alone: watermarks, the guard's backoff, and the cooldown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import Candidates
from pydamon._act.runtime.metrics import stalled_ns
from pydamon._model.errors import SchemeError
from pydamon._model.ranges import union
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.quota import Watermarks
from pydamon._model.schemes.scheme import Guard
from pydamon._observe.linux.pages import PRESENT
from pydamon._observe.targets.members import CGROUPS, cgroup_of

__all__ = ["Backoff", "Cooldown", "WatermarkState"]


class WatermarkState:
    """Looks at the metric (thousandths) once an interval; see `Watermarks` for when it is on."""

    def __init__(self, marks: Watermarks, metric: Callable[[], float]) -> None:
        self._marks = marks
        self._metric = metric
        self._on = True
        self._next_ns = 0
        self.value = 0.0
        """What the metric was at the last look."""

    def is_on(self, now_ns: int) -> bool:
        """Whether the scheme may act now."""
        marks = self._marks
        if marks.metric == "none":
            return True
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + marks.interval_ns
            self.value = self._metric()
            highest = marks.high if self._on else marks.mid
            self._on = marks.low <= self.value <= highest
        return self._on


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


class Cooldown:
    """Ranges of memory by process, each with the time when something was done about it.

    DAMON sets the age of a region to 0 then. Where a quota leaves the rest for later, that makes
    the rest younger as well: both are idle, so that they merge, and their ages are averaged.
    """

    def __init__(self) -> None:
        self._rows: dict[int, NDArray[np.int64]] = {}
        """(time, start, end) by pid."""

    def add(self, now_ns: int, pid: int, ranges: Ranges) -> None:
        """Take note of disjoint ranges of a process."""
        rows = np.column_stack([np.full(len(ranges), now_ns), ranges])
        before = self._rows.get(pid)
        self._rows[pid] = rows if before is None else np.concatenate([before, rows])

    def others(self, chosen: Candidates, since_ns: int) -> Candidates:
        """What is not resting since then; what has rested for longer is forgotten."""
        pids = {target.pid: index for index, target in enumerate(chosen.snapshot.targets)}
        young = {pid: rows[rows[:, 0] > since_ns] for pid, rows in self._rows.items()}
        self._rows = {pid: rows for pid, rows in young.items() if pid in pids and len(rows)}
        resting = {pids[pid]: union(rows[:, 1:]) for pid, rows in self._rows.items()}
        if not resting:
            return chosen
        chosen = chosen.cut_at({index: rows.ravel() for index, rows in resting.items()})
        rests = np.zeros(len(chosen), np.bool_)
        for index, rows in resting.items():
            at = np.searchsorted(rows[:, 0], chosen.start, side="right") - 1
            rests |= (chosen.target == index) & (at >= 0) & (chosen.start < rows[at, 1])
        return chosen.take(~rests)
