"""When a scheme does nothing: the states of its watermarks and its guard, and the cooldown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._act.actions.base import Effect
from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.candidates import Candidates
from pydamon._act.runtime.metrics import stalled_ns
from pydamon._model.errors import SchemeError
from pydamon._model.ranges import size_of, union
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.limits import Guard, Watermarks
from pydamon._model.schemes.matching import Bounds
from pydamon._observe.linux.cgroups import cgroup_file_of
from pydamon._observe.linux.pagemap import PRESENT

__all__ = ["Cooldown", "GuardState", "WatermarkState"]


class WatermarkState:
    """Reads the metric of watermarks once an interval, and remembers whether the scheme is on."""

    def __init__(self, marks: Watermarks, metric: Callable[[], float]) -> None:
        self._marks = marks
        self._metric = metric
        self._on = True
        self._next_ns = 0
        self._value = 0.0

    def is_on(self, now_ns: int) -> bool:
        """Whether the scheme may act now."""
        marks = self._marks
        if marks.metric == "none":
            return True
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + marks.interval_ns
            self._value = self._metric()
            highest = marks.high_share if self._on else marks.mid_share
            self._on = marks.low_share <= self._value <= highest
        return self._on

    @property
    def value_text(self) -> str:
        """The metric when it was last read, for people."""
        return f"{100 * self._value:.1f} % of memory is free"

    @property
    def on_text(self) -> str:
        """Where the metric must be for the scheme to be on again, for people."""
        low, mid = 100 * self._marks.low_share, 100 * self._marks.mid_share
        return f"between {low:g} and {mid:g} %"


_WINDOW_NS = 10 * 10**9
"""How long taken memory is watched for refaults."""
_CHECK_NS = 10**9
_FEW_BYTES = 1 << 20
"""Refaults of less than this say nothing."""
_MAX_CHECKED_BYTES = 16 << 20
"""How much of the taken memory one check looks at."""
_MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class _Taken:
    at_ns: int
    memory: TargetMemory
    effect: Effect


class GuardState:
    """Watches the memory that a scheme took for 10 s, and makes the scheme rest where it harms."""

    def __init__(self, guard: Guard, *, seed: int | None = None) -> None:
        self.rests = 0
        """How often it made the scheme rest."""
        self.reason = ""
        """Why the scheme rests; empty while it does not."""
        self._guard = guard
        self._taken: deque[_Taken] = deque()
        self._rests_until_ns = 0
        self._doublings = 0
        self._checked_ns = 0
        self._stalled_ns: dict[Path | None, int] = {}
        self._rng = np.random.default_rng(seed)

    def add(self, now_ns: int, memory: TargetMemory, effect: Effect) -> None:
        """Remember memory that the scheme took."""
        if effect.size_bytes:
            self._taken.append(_Taken(now_ns, memory, effect))

    def allows(self, now_ns: int, memories: Iterable[TargetMemory]) -> bool:
        """Whether the scheme may act now."""
        if now_ns < self._rests_until_ns:
            return False
        self.reason = ""
        since_ns = now_ns - self._checked_ns
        if since_ns >= _CHECK_NS:
            self._checked_ns = now_ns
            targets = list(memories)
            self._forget(now_ns, targets)
            self.reason = self._harm(self._refault_share(), self._stall_share(targets, since_ns))
            self._rest_or_recover(now_ns)
        return not self.reason

    def _forget(self, now_ns: int, targets: list[TargetMemory]) -> None:
        """Forget memory that was taken long ago, or from a process that is gone."""
        while self._taken and (
            now_ns - self._taken[0].at_ns > _WINDOW_NS or self._taken[0].memory not in targets
        ):
            self._taken.popleft()

    def _harm(self, refault_share: float, stall_share: float) -> str:
        if refault_share > self._guard.refault_share:
            return f"{100 * refault_share:.0f} % of what was taken was asked for again"
        if self._taken and stall_share > self._guard.stall_share:
            return f"tasks stall for memory {100 * stall_share:.0f} % of the time"
        return ""

    def _rest_or_recover(self, now_ns: int) -> None:
        """Begin a rest where there is harm; 10 s after one without harm, rests are short again."""
        if self.reason:
            self._rests_until_ns = now_ns + (self._guard.rest_ns << self._doublings)
            self._doublings = min(self._doublings + 1, _MAX_DOUBLINGS)
            self._taken.clear()
            self.rests += 1
        elif now_ns - self._rests_until_ns > _WINDOW_NS:
            self._doublings = 0

    def _refault_share(self) -> float:
        """The share of the taken memory that is resident again, from a random sample of it."""
        if sum(taken.effect.size_bytes for taken in self._taken) < _FEW_BYTES:
            return 0.0
        checked_bytes = refault_bytes = 0
        for index in self._rng.permutation(len(self._taken)).tolist():
            memory, effect = self._taken[index].memory, self._taken[index].effect
            resident_bytes = memory.runs(effect.ranges).bytes_with(PRESENT)
            # What the action could not take was resident all the time.
            kept_bytes = size_of(effect.ranges) - effect.size_bytes
            refault_bytes += max(0, resident_bytes - kept_bytes)
            checked_bytes += effect.size_bytes
            if checked_bytes >= _MAX_CHECKED_BYTES:
                break
        return refault_bytes / max(PAGE_SIZE, checked_bytes)

    def _stall_share(self, targets: list[TargetMemory], since_ns: int) -> float:
        """The share of the time that tasks stalled, in the worst of the targets' cgroups."""
        worst = 0.0
        for pressure in {_pressure(memory) for memory in targets}:
            try:
                now_ns = stalled_ns(pressure) if pressure else stalled_ns()
            except SchemeError:
                continue
            if pressure in self._stalled_ns:
                stalls_ns = now_ns - self._stalled_ns[pressure]
                worst = max(worst, stalls_ns / max(1, since_ns))
            self._stalled_ns[pressure] = now_ns
        return worst


def _pressure(memory: TargetMemory) -> Path | None:
    """The pressure file of the process's cgroup; `None` is the machine's."""
    return cgroup_file_of(memory.process.pid, "memory.pressure")


class Cooldown:
    """Memory that was acted on is left alone for the minimum age of the scheme.

    The kernel's DAMON sets the age of such a region to 0 instead. Where a quota leaves a part of an
    idle region for later, the two parts merge and their ages are averaged, which makes that part
    too young as well.
    """

    def __init__(self) -> None:
        self._rows: dict[int, NDArray[np.int64]] = {}
        """(time, start, end) by pid."""

    def add(self, now_ns: int, pid: int, ranges: Ranges) -> None:
        """Take note of ranges of a process, without overlap."""
        rows = np.column_stack([np.full(len(ranges), now_ns), ranges])
        before = self._rows.get(pid)
        self._rows[pid] = rows if before is None else np.concatenate([before, rows])

    def leave_out(
        self, candidates: Candidates, bounds: Bounds, memories: Mapping[int, TargetMemory]
    ) -> Candidates:
        """The candidates outside their cooldown; what has cooled down is forgotten."""
        del memories
        snapshot = candidates.snapshot
        since_ns = snapshot.end_ns - bounds.least_age_ns(snapshot.window_ns)
        targets = {target.pid: index for index, target in enumerate(snapshot.targets)}
        recent = {pid: rows[rows[:, 0] > since_ns] for pid, rows in self._rows.items()}
        self._rows = {pid: rows for pid, rows in recent.items() if pid in targets and len(rows)}
        return candidates.without(
            {targets[pid]: union(rows[:, 1:]) for pid, rows in self._rows.items()}
        )
