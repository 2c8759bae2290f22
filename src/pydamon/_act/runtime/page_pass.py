"""A scheme with the grain "page" on one snapshot: its turns at the cells with idle pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pydamon._act.actions import Action
from pydamon._act.applied import Tried
from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.acting import PAGE_STEPS, Actor, Step, View
from pydamon._act.runtime.candidates import Candidates, filtered, of_size
from pydamon._act.runtime.dry_run import DryRun
from pydamon._act.runtime.page_grain import (
    AgeBounds,
    Cell,
    IdleCells,
    IdleMemory,
    RecentlyTried,
    batches,
    idle_memory,
    idle_ranges,
    still_idle,
)
from pydamon._act.runtime.quota import QuotaState, fitting
from pydamon._model.ranges import Ranges
from pydamon._model.schemes.scheme import Scheme
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.arch import HUGE_BYTES

__all__ = ["PagePass"]


@dataclass(frozen=True, slots=True, eq=False)
class _CellView:
    """A view, the ages to act on, and the process of a cell: its memory, and its target's index."""

    view: View
    ages: AgeBounds
    memory: TargetMemory
    target: int


class PagePass:
    """Finds the idle pages that a scheme is about, and has them acted on within the quota.

    Pages that an action changes are left alone for the minimum age, and all others until the next
    look. A dry run leaves out pages that it has counted, until they are accessed.
    """

    def __init__(self, scheme: Scheme, action: Action, actor: Actor, quota: QuotaState) -> None:
        self._scheme = scheme
        self._action = action
        self._actor = actor
        self._quota = quota
        self._cells = IdleCells(
            oldest_first=bool(scheme.quota.weights.age and not action.hot_first)
        )
        self._recent = RecentlyTried()

    @property
    def has_looked(self) -> bool:
        """Whether anybody has looked at the ages of pages yet."""
        return self._cells.has_looked

    def note(self, snapshot: Snapshot) -> None:
        """Remember what a snapshot says about ages of pages, also while the scheme is off."""
        self._cells.note(snapshot)

    def apply(self, view: View) -> None:
        """Act on idle pages until the quota is spent, or nothing is left until the next look."""
        ages = AgeBounds.of(view.bounds, view.snapshot.window_ns)
        now_ns, limit_bytes = view.snapshot.end_ns, self._quota.limit_bytes
        limited = self._scheme.quota.limits
        if self._cells.begin(now_ns, ages.min_ns, limit_bytes if limited else None):
            self._recent.forget_others(set(view.memories))
            self._forget_accessed(view, ages)
        indices = {target.pid: index for index, target in enumerate(view.snapshot.targets)}
        for cell in self._cells:
            if self._quota.is_spent:
                self._cells.put_back(cell)
                return
            memory, target = view.memories.get(cell.pid), indices.get(cell.pid)
            if memory is None or target is None or not self._actor.allows(memory):
                continue
            if not self._serve(cell, _CellView(view, ages, memory, target)):
                self._cells.put_back(cell)
                return

    def _serve(self, cell: Cell, here: _CellView) -> bool:
        """Act on the idle pages of a cell; false where the quota is spent before their end."""
        idle = None
        # Looking may take all of the time quota: what is found is acted on all the same, once.
        left_bytes = self._quota.left_bytes
        with self._actor.refusing(here.memory), self._actor.charging():
            idle, candidates = self._candidates(cell, here)
        while idle is not None and len(candidates):
            with self._actor.charging():
                selected = fitting(candidates, idle.is_huge(candidates), left_bytes)
                steps = self._steps(selected, idle.huge, here)
            if not steps:
                # Where only huge pages are left, and no interval has room for one, others go on.
                return 0 < self._quota.limit_bytes < HUGE_BYTES and not self._quota.is_spent
            for number, step in enumerate(steps):
                if number and self._quota.is_spent:
                    return False
                if not self._act_on(step, cell, here.view):
                    return True
            with self._actor.charging():
                ranges = np.stack([selected.start, selected.end], axis=1)
                candidates = candidates.without({here.target: ranges})
            left_bytes = self._quota.left_bytes
        return True

    def _candidates(self, cell: Cell, here: _CellView) -> tuple[IdleMemory, Candidates]:
        """The idle memory of a cell, and what of it to act on."""
        snapshot, looks = here.view.snapshot, here.view.looks
        ranges = idle_ranges(cell, here.memory, here.ages, looks.idle)
        idle = idle_memory(cell, here.memory, here.target, snapshot, ranges)
        candidates = filtered(of_size(idle.candidates, here.view.bounds), self._scheme.filters)
        if isinstance(self._action, DryRun):
            candidates = self._action.uncounted(candidates)
        else:
            since_ns = self._cells.began_ns
            if self._action.changes:
                since_ns = min(since_ns, snapshot.end_ns - here.ages.min_ns)
            recent = self._recent.ranges(cell, since_ns)
            candidates = candidates.without({here.target: recent} if len(recent) else {})
        return idle, idle.whole(candidates)

    def _steps(self, selected: Candidates, huge: Ranges, here: _CellView) -> list[Step]:
        step_bytes = self._actor.step_bytes(PAGE_STEPS) // HUGE_BYTES * HUGE_BYTES
        step_bytes = max(HUGE_BYTES, step_bytes)
        pid, memory = here.memory.process.pid, here.memory
        return [
            Step(
                here.target,
                pid,
                batch.ranges,
                allowed=bool(batch.candidates.allowed[0]),
                memory=memory,
                region=batch.region,
                huge=huge,
            )
            for batch in batches(selected, step_bytes)
        ]

    def _act_on(self, step: Step, cell: Cell, view: View) -> bool:
        """Act on a step; false where the process cannot be acted on."""
        effect = self._actor.act(step, view)
        if effect is None:
            return False
        start, end = int(step.ranges[0, 0]), int(step.ranges[-1, 1])
        tried = Tried(step.target, start, end, effect.size_bytes, step.size)
        self._actor.record(tried, len(step.ranges))
        if not isinstance(self._action, DryRun):  # which knows what it has counted
            self._recent.add(view.snapshot.end_ns, cell, step.ranges)
        return True

    def _forget_accessed(self, view: View, ages: AgeBounds) -> None:
        """In a dry run, count pages no longer that were accessed since they were counted."""
        if not isinstance(self._action, DryRun):
            return
        targets, memories = view.snapshot.targets, view.memories

        def still_fitting(index: int, ranges: Ranges) -> Ranges:
            pid = targets[index].pid
            memory = memories.get(pid)
            if memory is None:
                return ranges[:0]
            with self._actor.refusing(memory):
                return still_idle(memory, pid, ranges, ages, view.looks.idle)
            return ranges

        self._action.forget(view.snapshot, memories, still_fitting)
