"""One scheme at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from pydamon._act.actions import ACTION_TYPES, Action
from pydamon._act.memory import PRIVILEGES, Refusal, TargetMemory
from pydamon._act.runtime.backoff import Backoff, Cooldown, WatermarkState
from pydamon._act.runtime.candidates import Candidates, filtered, matching
from pydamon._act.runtime.dry_run import DryRun
from pydamon._act.runtime.metrics import GoalScore, free_mem_rate
from pydamon._act.runtime.page_filters import Young, passing
from pydamon._act.runtime.quota import QuotaState
from pydamon._model.display import Displayable
from pydamon._model.errors import PydamonError, SchemeError
from pydamon._model.ranges import size_of
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.schemes.pattern import UNBOUNDED, Bounds
from pydamon._model.schemes.scheme import Scheme, SchemeStats
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_duration

__all__ = ["AppliedScheme", "Tried"]

_MOST_BYTES = 64 << 20
"""What is done between two looks at the clock, at most."""
_ASK_AGAIN_S = 5.0
_STEPS = 16
"""In so many steps at least a window's limit is spent, so that the time quota holds."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A part of a target that a scheme was applied to, and how many of its bytes it was done to."""

    target: int
    start: int
    end: int
    applied_bytes: int


class AppliedScheme(Displayable):
    """A scheme with all that it remembers between snapshots.

    With *dry_run* nothing is done, and watermarks do not keep it off: the statistics say what would
    have been done by now. Only resident memory counts there, each page once, for as long as it is
    accessed at a rate that fits. Raises `SchemeError` for what this machine cannot do.
    """

    def __init__(
        self,
        scheme: Scheme,
        *,
        dry_run: bool = False,
        free_memory: Callable[[], float] = free_mem_rate,
    ) -> None:
        self.scheme = scheme
        self.stats = SchemeStats()
        self.state = "no aggregation has ended yet"
        """Whether it is on, for people; if not, why."""
        self.tried: list[Tried] = []
        """What it was applied to the last time."""
        self.complaints: list[str] = []
        """What people are to be told, each once: processes that cannot be acted on."""
        self._refusals = WeakKeyDictionary[TargetMemory, tuple[Refusal | None, float]]()
        self._told = WeakKeyDictionary[TargetMemory, str]()
        self._action: Action | None = None
        if isinstance(scheme.action, str):
            self._action = ACTION_TYPES[scheme.action](scheme)
        elif not all(rule.is_core for rule in scheme.filters):
            raise SchemeError(
                "filters: a function is called with regions, and only addr and target go by those"
            )
        self._rehearsal: DryRun | None = None
        if dry_run:
            self._rehearsal = DryRun(of_resident=not self._action or self._action.of_resident)
        score = GoalScore(scheme.quota.goals) if scheme.quota.goals else None
        self._charge = QuotaState(scheme.quota, score)
        self._switch = WatermarkState(scheme.watermarks, free_memory)
        takes = self._action is not None and self._action.takes
        self._guarding = Backoff(scheme.guard) if takes and scheme.guard else None
        self._resting = Cooldown() if takes else None
        self._now_ns = self._next_ns = 0
        self._first_ns: int | None = None

    @property
    def effective_bytes(self) -> int | None:
        """What the quota allows in the charge window that is open; `None` is no limit."""
        return self._charge.limit_bytes if self.scheme.quota.limits else None

    @property
    def done(self) -> bool:
        """Whether it has seen as many snapshots as it was to be applied to."""
        return 0 < self.scheme.max_snapshots <= self.stats.nr_snapshots

    @property
    def resets_age(self) -> bool:
        """Whether what it was applied to counts as new."""
        if self._rehearsal is not None or self._resting is not None:
            return False
        return self._action is None or self._action.changes

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        """Why it cannot be applied to a process now; `None` where it can."""
        now_s = time.monotonic()
        refusal, asked_s = self._refusals.get(memory, (None, -_ASK_AGAIN_S))
        # Programs change what they are when they start others: who refused may not for ever.
        if memory not in self._refusals or (refusal and now_s - asked_s >= _ASK_AGAIN_S):
            refusal = self._action.refusal(memory) if self._action is not None else None
            refusal = refusal or self._sight(memory)
            self._refusals[memory] = refusal, now_s
        return refusal

    def _sight(self, memory: TargetMemory) -> Refusal | None:
        """Why the pages of a process cannot be seen, where that is needed."""
        of_pages = any(not rule.is_core for rule in self.scheme.filters)
        changes = self._action is not None and self._action.changes
        if memory.pages.refusal and (changes or of_pages or self._rehearsal is not None):
            return Refusal(f"its pages cannot be looked at: {memory.pages.refusal}", PRIVILEGES)
        return None

    def _leave_alone(self, memory: TargetMemory, refusal: Refusal) -> None:
        """Do nothing to a process any more, and say so once."""
        self._refusals[memory] = refusal, time.monotonic()
        if not refusal.gone and self._told.get(memory) != refusal.why and memory.process.alive:
            self._told[memory] = refusal.why
            pid = memory.process.pid
            self.complaints.append(f"{self.scheme.label}: pid {pid} is left alone: {refusal.why}")

    def apply(
        self, snapshot: Snapshot, memories: Mapping[int, TargetMemory], young: Young
    ) -> list[Tried]:
        """Apply the scheme to a snapshot, if it is time: to what, and with which success."""
        self.tried = []
        now_ns = self._now_ns = snapshot.end_ns
        if now_ns < self._next_ns or not self._may(now_ns, memories):
            return self.tried
        interval_ns = self.scheme.apply_interval_ns
        # In step with the interval, unless that is far behind.
        late = now_ns - self._next_ns >= interval_ns
        self._next_ns = (now_ns if late else self._next_ns) + interval_ns
        self.stats.nr_snapshots += 1
        self._charge.begin(now_ns)
        self.stats.qt_exceeds = self._charge.exceeded
        bounds = self.scheme.pattern.bounds(
            snapshot.max_nr_accesses, snapshot.sampling_ns, snapshot.window_ns
        )
        chosen = matching(Candidates.all_of(snapshot), bounds)
        if self._rehearsal is not None:
            self._rehearsal.forget(snapshot, bounds, memories)
            chosen = self._rehearsal.others(chosen)
        elif self._resting is not None:
            rest_ns = bounds.min_age_ns
            if rest_ns is None:
                rest_ns = bounds.min_age * snapshot.window_ns
            chosen = self._resting.others(chosen, now_ns - rest_ns)
        chosen = filtered(chosen, self.scheme.filters)
        hot_first = self._action is None or self._action.hot_first
        todo = chosen.size_bytes
        while todo > 0:
            served = self._charge.served(chosen, hot_first=hot_first)
            todo -= served.size_bytes
            in_time = self._apply_to_all(served, memories, young)
            # What could not be acted on may not have been charged: then there is more to serve.
            if not (in_time and len(served) and self._charge.goes_on):
                break
        if self._action is not None and self._action.note:
            self.state += f"; {self._action.note}"
        if self._rehearsal is not None:
            self._tell(self._rehearsal, snapshot, bounds)
        return self.tried

    def _tell(self, rehearsal: DryRun, snapshot: Snapshot, bounds: Bounds) -> None:
        """The statistics of a dry run, and why it may find nothing yet."""
        self.stats.sz_tried = rehearsal.tried_bytes
        self.stats.sz_ops_filter_passed = rehearsal.passed_bytes
        self.stats.sz_applied = rehearsal.applied_bytes
        if self._first_ns is None:
            self._first_ns = snapshot.start_ns
        watched_ns, wanted_ns = snapshot.end_ns - self._first_ns, bounds.min_age_ns
        if wanted_ns is None:
            wanted_ns = bounds.min_age * snapshot.window_ns
        if watched_ns < wanted_ns < UNBOUNDED:
            age = self.scheme.pattern.min_age
            unit = "" if age.unit == "ns" else " aggregations"
            self.state += (
                f"; too early to tell: watched for {format_duration(watched_ns)}, and it asks for "
                f"an age of {age}{unit}"
            )

    def _apply_to_all(
        self, chosen: Candidates, memories: Mapping[int, TargetMemory], young: Young
    ) -> bool:
        """Apply it to regions; false where the time is over before the end."""
        # A huge page may lie across the border of two regions: an action is given runs of them.
        heads = chosen.heads() if self._action is not None else np.arange(len(chosen))
        tails = np.append(heads[1:], len(chosen))[: len(heads)]
        return all(
            self._apply_to(chosen, first, behind, memories, young)
            for first, behind in zip(heads.tolist(), tails.tolist(), strict=True)
        )

    def _may(self, now_ns: int, memories: Mapping[int, TargetMemory]) -> bool:
        if self.done:
            self.state = f"done, after {self.stats.nr_snapshots} snapshots"
            return False
        self.state = "on"
        if not self._switch.is_on(now_ns):
            marks = self.scheme.watermarks
            free = f"{self._switch.value / 10:.1f} % of memory is free"
            between = f"between {marks.low / 10:g} and {marks.mid / 10:g} %"
            if self._rehearsal is None:
                self.state = f"off: {free}, and it is on {between}"
                return False
            self.state = f"off now: {free}; it would act {between}"
        if self._guarding is not None and not self._guarding.allows(now_ns, memories.values()):
            self.stats.rests = self._guarding.rests
            self.state = f"resting: {self._guarding.why}"
            return False
        return True

    def _apply_to(
        self,
        chosen: Candidates,
        first: int,
        behind: int,
        memories: Mapping[int, TargetMemory],
        young: Young,
    ) -> bool:
        """Apply it to a run of regions in steps; false where the time is over before the end."""
        snapshot, target = chosen.snapshot, int(chosen.target[first])
        pid = snapshot.targets[target].pid
        memory = memories.get(pid)
        if memory is None:
            # Made-up memory can be counted, or shown to a function.
            if self._action is not None and self._action.changes:
                return True
        elif refusal := self.refusal(memory):
            self._leave_alone(memory, refusal)
            return True
        start, end, applied = int(chosen.start[first]), int(chosen.end[behind - 1]), 0
        reached, in_time = start, True
        for step_start, step_end in self._steps(start, end):
            if self._charge.left_bytes == 0:
                in_time = False
                self._charge.stop_at(snapshot, target, step_start)
                break
            begin_ns = time.thread_time_ns()
            step = (step_start, step_end)
            if self._action is None:
                done = self._call(chosen, first, step, memory)
            else:
                allowed = bool(chosen.allowed[first])
                try:
                    done = self._act(self._action, snapshot, target, memory, step, young, allowed)
                except (PydamonError, OSError) as error:
                    if memory is None:
                        raise
                    # Whatever a process does, others are acted on all the same.
                    hint = getattr(error, "hint", "")
                    self._leave_alone(memory, Refusal(str(error), hint))
                    break
            took_ns = time.thread_time_ns() - begin_ns
            self._charge.pay(step_end - step_start, done, took_ns)
            self.stats.time_ns += took_ns
            reached, applied = step_end, applied + done
        if reached > start:
            regions = int(np.searchsorted(chosen.start[first:behind], reached))
            self.stats.nr_tried += regions
            self.stats.nr_applied += regions if applied else 0
            if self._rehearsal is None:
                self.stats.sz_tried += reached - start
                self.stats.sz_applied += applied
            self.tried.append(Tried(target, start, reached, applied))
            if self._resting is not None and self._rehearsal is None:
                self._resting.add(self._now_ns, pid, np.array([[start, reached]], np.int64))
        return in_time

    def _steps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Cut a range so that the time quota is looked at often enough."""
        if self._action is None:
            yield start, end
            return
        step = _MOST_BYTES
        if self.scheme.quota.time_ns:
            step = max(16 * PAGE_SIZE, self._charge.limit_bytes // _STEPS)
        grain = self._action.grain_bytes
        step = max(grain, step // grain * grain)
        while start < end:
            until = min(end, start // step * step + step)
            yield start, until
            start = until

    def _act(
        self,
        action: Action,
        snapshot: Snapshot,
        target: int,
        memory: TargetMemory | None,
        step: tuple[int, int],
        young: Young,
        allowed: bool,
    ) -> int:
        if memory is None:
            return self._note(snapshot, target, step)
        ranges: Ranges = np.array([step], np.int64)
        if not allowed and any(not rule.is_core for rule in self.scheme.filters):
            ranges = passing(self.scheme.filters, memory, *step, young)
        passed, ranges = ranges, action.doable(memory, ranges)
        if self._rehearsal is not None:
            done = action.foreseen(memory, ranges)
            self._rehearsal.count(snapshot, target, step, memory, passed, (ranges, done))
            return done
        self.stats.sz_ops_filter_passed += size_of(passed)
        if not len(ranges):
            return 0
        done = action.act(memory, ranges)
        if self._guarding is not None:
            self._guarding.take(self._now_ns, memory, ranges, done)
        return done

    def _note(
        self,
        snapshot: Snapshot,
        target: int,
        step: tuple[int, int],
        memory: TargetMemory | None = None,
    ) -> int:
        """Count all of a range: nothing is to be found out about its pages."""
        size = step[1] - step[0]
        if self._rehearsal is None:
            self.stats.sz_ops_filter_passed += size
        else:
            whole: Ranges = np.array([step], np.int64)
            self._rehearsal.count(snapshot, target, step, memory, whole, (whole, size))
        return size

    def _call(
        self, chosen: Candidates, index: int, step: tuple[int, int], memory: TargetMemory | None
    ) -> int:
        """Call the user's function with a region."""
        size = self._note(chosen.snapshot, int(chosen.target[index]), step, memory)
        if self._rehearsal is not None or not callable(self.scheme.action):
            return size
        done = self.scheme.action(chosen.at(index))
        return size if done is None else int(done)
