"""One scheme at work: match, filter, cool down, select within the quota, act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np

from pydamon._act.actions import action_of
from pydamon._act.applied import Tried
from pydamon._act.memory import Refusal, TargetMemory
from pydamon._act.runtime.acting import REGION_STEPS, Actor, PageLooks, Step, View
from pydamon._act.runtime.candidates import Candidates, Run, filtered, matching
from pydamon._act.runtime.dry_run import DryRun
from pydamon._act.runtime.metrics import GoalScore, free_memory_share
from pydamon._act.runtime.page_pass import PagePass
from pydamon._act.runtime.pauses import Cooldown, GuardState, WatermarkState
from pydamon._act.runtime.quota import QuotaState
from pydamon._model.display import Displayable
from pydamon._model.errors import PydamonError
from pydamon._model.ranges import EMPTY, PAGE_SIZE
from pydamon._model.schemes.matching import UNBOUNDED
from pydamon._model.schemes.scheme import Scheme, SchemeStats
from pydamon._model.snapshot import Snapshot
from pydamon._model.units import format_duration

__all__ = ["SchemePipeline"]


class SchemePipeline(Displayable):
    """A scheme at work, with everything that it remembers between snapshots.

    `pydamon.apply` makes it. In a dry run nothing is done and watermarks do not keep it off: the
    statistics say what would have been done by now. Only resident memory counts there, each page
    once, for as long as its access rate fits.

    Parameters
    ----------
    scheme
        The scheme.
    dry_run
        Only count what would be done.

    Raises
    ------
    SchemeError
        For what this machine cannot do.

    Attributes
    ----------
    scheme : Scheme
        The scheme.
    stats : SchemeStats
        What it has done.
    state : str
        Whether it is on, for people; if not, why.
    grain : str
        What it acts on: the scheme's grain, or `"region"` where the monitor keeps no ages of pages.

    Examples
    --------
    >>> import pydamon
    >>> from pydamon import Access, AccessPattern, Phase, Scheme, Trace
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 16 * MIB, rate_hz=1000),)),))
    >>> hot = Scheme("stat", AccessPattern(min_rate="50%", min_age="1s"))
    >>> mon = pydamon.simulate(trace, [(0, 64 * MIB)], seed=1)
    >>> with mon, pydamon.apply(mon, hot) as applied:
    ...     for snapshot in applied.run("3s"):
    ...         pass
    >>> applied[0].state
    'on'
    >>> round(sum(part.end - part.start for part in applied[0].tried) / MIB)
    16
    """

    def __init__(self, scheme: Scheme, *, dry_run: bool = False) -> None:
        self.scheme = scheme
        self.state = "no aggregation has ended yet"
        self.grain = scheme.grain
        action = action_of(scheme)
        self._dry_run = DryRun(action) if dry_run else None
        self._action = self._dry_run or action
        score = GoalScore(scheme.quota.goals) if scheme.quota.goals else None
        self._quota = QuotaState(scheme.quota, score)
        self._watermarks = WatermarkState(scheme.watermarks, free_memory_share)
        takes = self._action.takes
        self._guard = GuardState(scheme.guard) if takes and scheme.guard is not None else None
        self._cooldown = Cooldown() if takes else None
        self._actor = Actor(scheme, self._action, self._quota, self._guard)
        self._pages = PagePass(scheme, self._action, self._actor, self._quota)
        self._has_page_ages = False
        self._next_ns = 0
        self._watched_since_ns: int | None = None

    @property
    def stats(self) -> SchemeStats:
        """What it has done."""
        return self._actor.stats

    @property
    def tried(self) -> list[Tried]:
        """What it was applied to the last time."""
        return self._actor.tried

    @property
    def effective_bytes(self) -> int | None:
        """What the quota allows in the reset interval that is running; `None` is no limit."""
        return self._quota.limit_bytes if self.scheme.quota.limits else None

    @property
    def done(self) -> bool:
        """Whether it was applied to as many snapshots as it should be."""
        return 0 < self.scheme.max_snapshots <= self.stats.nr_snapshots

    @property
    def complaints(self) -> list[str]:
        """Which processes it leaves alone and why, for people; each is told once."""
        return self._actor.refusals.complaints

    @property
    def resets_age(self) -> bool:
        """Whether regions count as new after it; a cooldown does without.

        With the grain "page" only some pages of a region are acted on: they have a cooldown.
        """
        return self._action.changes and self._cooldown is None and self.grain == "region"

    def refusal(self, memory: TargetMemory) -> Refusal | None:
        """Why it cannot be applied to a process now; `None` where it can."""
        return self._actor.refusals.of(memory)

    def apply(
        self, snapshot: Snapshot, memories: Mapping[int, TargetMemory], looks: PageLooks
    ) -> list[Tried]:
        """Apply the scheme to a snapshot, if it is time: to what, and with which success."""
        self._actor.tried = []
        self._pages.note(snapshot)
        if snapshot.end_ns < self._next_ns or not self._may_act(snapshot.end_ns, memories):
            return self.tried
        self._begin(snapshot)
        bounds = self.scheme.pattern.bounds(
            snapshot.max_nr_accesses, snapshot.sampling_ns, snapshot.window_ns
        )
        view = View(snapshot, bounds, memories, looks)
        self._choose_grain(view)
        if self.grain == "page":
            self._pages.apply(view)
        else:
            self._apply_to_regions(view)
        self._report(view)
        return self.tried

    def _choose_grain(self, view: View) -> None:
        """Act on regions where the monitor keeps no ages of pages, and say so once."""
        if self.scheme.grain == "region" or self._has_page_ages:
            return
        has_page_ages = _has_page_ages(view)
        if has_page_ages is None:
            return
        self._has_page_ages = has_page_ages
        if not has_page_ages and self.grain == "page":
            self.complaints.append(
                f"{self.scheme.label}: acts on regions, because this monitor keeps no ages of pages"
            )
        self.grain = "page" if has_page_ages else "region"

    def _apply_to_regions(self, view: View) -> None:
        """Act on the regions that match."""
        candidates = matching(Candidates.all_of(view.snapshot), view.bounds)
        candidates = filtered(candidates, self.scheme.filters)
        candidates = self._cooled_down(candidates, view)
        for selected in self._quota.selections(candidates, hot_first=self._action.hot_first):
            runs = selected.runs(by_region=self._action.by_region)
            if not all(self._act_on(run, view) for run in runs):
                break

    def _may_act(self, now_ns: int, memories: Mapping[int, TargetMemory]) -> bool:
        """Whether it is on; `state` says why not."""
        if self.done:
            self.state = f"done, after {self.stats.nr_snapshots} snapshots"
            return False
        self.state = "on"
        if not self._watermarks.is_on(now_ns):
            value, on = self._watermarks.value_text, self._watermarks.on_text
            if self._dry_run is None:
                self.state = f"off: {value}, and it is on {on}"
                return False
            self.state = f"off now: {value}; it would act {on}"
        if self._guard is not None and not self._guard.allows(now_ns, memories.values()):
            self.stats.rests = self._guard.rests
            self.state = f"resting: {self._guard.reason}"
            return False
        return True

    def _begin(self, snapshot: Snapshot) -> None:
        """Begin with a snapshot, in step with the apply interval unless that is far behind."""
        interval_ns = self.scheme.apply_interval_ns
        is_far_behind = snapshot.end_ns - self._next_ns >= interval_ns
        self._next_ns = (snapshot.end_ns if is_far_behind else self._next_ns) + interval_ns
        self.stats.nr_snapshots += 1
        self._quota.begin(snapshot.end_ns)
        self.stats.qt_exceeds = self._quota.exceeded
        if self._watched_since_ns is None:
            self._watched_since_ns = snapshot.start_ns

    def _cooled_down(self, candidates: Candidates, view: View) -> Candidates:
        """The candidates that were not acted on lately, nor counted in a dry run."""
        cooldown = self._dry_run or self._cooldown
        if cooldown is None:
            return candidates
        return cooldown.leave_out(candidates, view.bounds, view.memories)

    def _act_on(self, run: Run, view: View) -> bool:
        """Act on a run, step by step; false where the quota is spent before its end."""
        memory = view.memories.get(run.pid)
        if not self._actor.allows(memory):
            return True
        reached, applied_bytes = run.start, 0
        for start, end in self._steps(run):
            if self._quota.is_spent:
                self._quota.stop_at(view.snapshot, run.target, start)
                break
            ranges = np.array([[start, end]], np.int64)
            step = Step(run.target, run.pid, ranges, run.allowed, memory, run.region, EMPTY)
            effect = self._actor.act(step, view)
            if effect is None:
                break
            reached, applied_bytes = end, applied_bytes + effect.size_bytes
        self._record(run, reached, applied_bytes, view.snapshot.end_ns)
        return reached == run.end or not self._quota.is_spent

    def _steps(self, run: Run) -> Iterator[tuple[int, int]]:
        """Cut a run so that the time quota is looked at often enough."""
        if self._action.by_region:
            yield run.start, run.end
            return
        step_bytes = self._actor.step_bytes(REGION_STEPS)
        start = run.start
        while start < run.end:
            end = min(run.end, start // step_bytes * step_bytes + step_bytes)
            yield start, end
            start = end

    def _record(self, run: Run, reached: int, applied_bytes: int, now_ns: int) -> None:
        """Count what was done to a run until the address that was reached."""
        if reached == run.start:
            return
        tried = Tried(run.target, run.start, reached, applied_bytes, reached - run.start)
        self._actor.record(tried, run.count_before(reached))
        if self._cooldown is not None:
            self._cooldown.add(now_ns, run.pid, np.array([[run.start, reached]], np.int64))

    def _report(self, view: View) -> None:
        """Complete the state and, in a dry run, the statistics."""
        if self.grain == "page" and not self._pages.has_looked:
            self.state += "; nobody has looked at the ages of pages yet"
        if self._action.note:
            self.state += f"; {self._action.note}"
        if self._dry_run is not None:
            self._dry_run.report(self.stats)
            self.state += self._too_early(view)

    def _too_early(self, view: View) -> str:
        """Why a dry run may have counted nothing yet."""
        snapshot = view.snapshot
        watched_ns = snapshot.end_ns - (self._watched_since_ns or 0)
        if not watched_ns < view.bounds.least_age_ns(snapshot.window_ns) < UNBOUNDED:
            return ""
        age = self.scheme.pattern.min_age
        unit = "" if age.unit == "ns" else " aggregations"
        watched = format_duration(watched_ns)
        return f"; too early to tell: watched for {watched}, and it asks for an age of {age}{unit}"


def _has_page_ages(view: View) -> bool | None:
    """Whether the monitor keeps ages of pages: a page of any process tells; `None`: none does."""
    if not view.memories:
        return False
    snapshot = view.snapshot
    for index, target in enumerate(snapshot.targets):
        memory, row = view.memories.get(target.pid), int(np.searchsorted(snapshot.target, index))
        if memory is None or row == len(snapshot) or snapshot.target[row] != index:
            continue
        start = int(snapshot.start[row])
        with suppress(PydamonError):  # the process may be gone
            return view.looks.idle(memory, start, start + PAGE_SIZE, 0) is not None
    return None
