"""Acting on steps: filters of pages, the action, its cost, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydamon._act.actions import Action
from pydamon._act.actions.base import Effect, Part
from pydamon._act.applied import Tried
from pydamon._act.memory import PRIVILEGES, Refusal, Refusals, TargetMemory
from pydamon._act.runtime.candidates import Pages, Young, passing
from pydamon._act.runtime.page_grain import IdlePages, whole_huge_pages
from pydamon._act.runtime.pauses import GuardState
from pydamon._act.runtime.quota import QuotaState
from pydamon._model.ranges import PAGE_SIZE, Ranges, intersect, size_of
from pydamon._model.schemes.matching import Bounds
from pydamon._model.schemes.scheme import Scheme, SchemeStats
from pydamon._model.snapshot import Snapshot, SnapshotRegion

__all__ = ["PAGE_STEPS", "REGION_STEPS", "Actor", "PageLooks", "Step", "View"]

_MAX_STEP_BYTES = 64 << 20
"""The most that is acted on between two looks at the clock."""
REGION_STEPS = 16
"""A reset interval's limit takes at least so many steps, so that the time quota holds."""
PAGE_STEPS = 4
"""The same for single pages, of which each step costs more: time beyond the quota is paid back."""


@dataclass(frozen=True, slots=True)
class PageLooks:
    """How single pages are looked at."""

    young: Young
    idle: IdlePages


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One snapshot, the pattern's bounds in its units, and the memory of its targets."""

    snapshot: Snapshot
    bounds: Bounds
    memories: Mapping[int, TargetMemory]
    looks: PageLooks


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is acted on between two looks at the clock: sorted ranges of one target.

    `allowed` says that a core filter allowed them. `huge` are the huge pages among them, which are
    acted on as a whole or not at all.
    """

    target: int
    pid: int
    ranges: Ranges
    allowed: bool
    memory: TargetMemory | None
    region: Callable[[], SnapshotRegion]
    huge: Ranges

    @property
    def size(self) -> int:
        """Bytes."""
        return size_of(self.ranges)


class Actor:
    """Does the action of a scheme, and counts what it tried, did and cost."""

    def __init__(
        self, scheme: Scheme, action: Action, quota: QuotaState, guard: GuardState | None
    ) -> None:
        self.stats = SchemeStats()
        self.tried: list[Tried] = []
        self.refusals = Refusals(scheme.label, self._refusal)
        self._scheme = scheme
        self._action = action
        self._quota = quota
        self._guard = guard
        self._page_filters = [rule for rule in scheme.filters if not rule.is_core]

    def allows(self, memory: TargetMemory | None) -> bool:
        """Whether a process can be acted on; made-up memory can only be counted."""
        if memory is None:
            return not self._action.needs_process
        return self.refusals.allows(memory)

    def step_bytes(self, steps: int) -> int:
        """How much to act on between two looks at the clock, for so many *steps* an interval."""
        step_bytes = _MAX_STEP_BYTES
        if self._scheme.quota.time_ns:
            step_bytes = max(16 * PAGE_SIZE, self._quota.limit_bytes // steps)
        step_bytes = min(step_bytes, _MAX_STEP_BYTES)
        grain_bytes = self._action.grain_bytes
        return max(grain_bytes, step_bytes // grain_bytes * grain_bytes)

    def act(self, step: Step, view: View) -> Effect | None:
        """Act on a step, and charge it; `None` where the process cannot be acted on."""
        begin_ns = time.thread_time_ns()
        effect = None
        with self.refusing(step.memory):
            passed = self._passing(step, view)
            part = Part(step.target, step.pid, step.ranges, passed, step.memory, step.region)
            effect = self._action.apply(part)
        if effect is None:
            return None
        self._charge(begin_ns, part.size, effect.size_bytes)
        self.stats.sz_ops_filter_passed += size_of(passed)
        if self._guard is not None and step.memory is not None:
            self._guard.add(view.snapshot.end_ns, step.memory, effect)
        return effect

    @contextmanager
    def refusing(self, memory: TargetMemory | None) -> Iterator[None]:
        """Leave a process alone where something fails on it: the others are acted on."""
        try:
            yield
        except self._action.failures as error:
            if memory is None:
                raise
            self.refusals.add(memory, Refusal(str(error), getattr(error, "hint", "")))

    @contextmanager
    def charging(self) -> Iterator[None]:
        """Charge the CPU time of finding out what to act on."""
        begin_ns = time.thread_time_ns()
        yield
        self._charge(begin_ns, 0, 0)

    def record(self, tried: Tried, ranges: int) -> None:
        """Count what was done to a part of a target, which is regions or runs of pages."""
        self.stats.nr_tried += ranges
        self.stats.nr_applied += ranges if tried.applied_bytes else 0
        self.stats.sz_tried += tried.tried_bytes
        self.stats.sz_applied += tried.applied_bytes
        self.tried.append(tried)

    def _charge(self, begin_ns: int, tried_bytes: int, applied_bytes: int) -> None:
        took_ns = time.thread_time_ns() - begin_ns
        self._quota.charge(tried_bytes, applied_bytes, took_ns)
        self.stats.time_ns += took_ns

    def _passing(self, step: Step, view: View) -> Ranges:
        """The parts of a step that the filters of pages let pass."""
        if step.memory is None or step.allowed or not self._page_filters:
            return step.ranges
        start, end = int(step.ranges[0, 0]), int(step.ranges[-1, 1])
        pages = Pages(step.memory, start, end, view.looks.young)
        passed = intersect(step.ranges, passing(self._page_filters, pages))
        return whole_huge_pages(passed, step.huge)

    def _refusal(self, memory: TargetMemory) -> Refusal | None:
        """Why a process cannot be acted on: the action is refused, or pages cannot be seen."""
        refusal = self._action.refusal(memory)
        needs_pages = self._action.sees_pages or self._page_filters
        if refusal is None and needs_pages and memory.pages.refusal:
            return Refusal(f"its pages cannot be looked at: {memory.pages.refusal}", PRIVILEGES)
        return refusal
