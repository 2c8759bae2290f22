"""A monitor whose samples the kernel's DAMON takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import KernelError, ProbeError, ProbeUnavailable, TargetError, UsageError
from pydamon._model.schemes import Scheme, SchemeStats
from pydamon._model.snapshot import Cost, Footprint, Snapshot
from pydamon._observe.kernel.claim import Claim
from pydamon._observe.kernel.kdamond import KernelTarget, Settings
from pydamon._observe.kernel.reader import (
    Aggregation,
    EventReader,
    Reader,
    TriedReader,
    cut_at,
    without,
)
from pydamon._observe.monitor import Monitor
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.base import RealClock
from pydamon._observe.targets import Layout, Space
from pydamon._observe.targets.physical import CgroupPages

__all__ = ["KernelMonitor"]

_MAX_TARGETS = 1000
_NOTICED = 1.25
"""Intervals that would differ by less are left alone: each change costs the kernel a moment."""
_CHANGE_REST_NS = 10**9
_OVERDUE = 5
_MOST_RESTARTS = 3
_BREATH_S = 0.05
_ALL = Scheme("stat", name="everything")


class KernelMonitor(Monitor):
    """Lets the kernel's DAMON watch a space, and hands out what it counts.

    The kernel goes on all the time; of what it counted before the iteration began nothing is
    handed out. *operations* are `"vaddr"`, `"fvaddr"` or `"paddr"`. Raises `ProbeUnavailable` where
    the kernel's DAMON is not free, or lacks what is asked for.
    """

    engine = "kernel"
    probe_name = "kernel"

    def __init__(
        self,
        space: Space,
        operations: str,
        pacer: Pacer,
        claim: Claim,
        *,
        goal: IntervalGoal | None = None,
        schemes: tuple[Scheme, ...] = (),
        cgroup: str | None = None,
        events: bool = True,
    ) -> None:
        self.passed_over: dict[str, ProbeUnavailable] = {}
        self._space = space
        self._operations = operations
        self._pacer = pacer
        self._goal = goal
        self._schemes = schemes
        self._events = events
        self._stack = ExitStack()
        self._stack.callback(space.close)
        self._stack.callback(claim.close)
        self._claim = claim
        self._clock = RealClock()
        self._stopped = False
        self._attrs = pacer.effective
        self._reader: Reader | None = None
        self._pending: list[Aggregation] = []
        self._restarts = 0
        self._pages_due_ns = 0
        try:
            self._layout = space.update(_MAX_TARGETS)
            if not self._layout.targets:
                raise TargetError("there is nothing to watch: what was named has exited")
            self._targets = list(self._layout.targets)
            """The kernel's targets, in its order: who has exited keeps its place."""
            self._pages = CgroupPages(cgroup, self._layout.ranges[0]) if cgroup else None
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def attrs(self) -> Attrs:
        return self._attrs

    @property
    def layout(self) -> Layout:
        return self._layout

    @property
    def kdamond_cpu_ns(self) -> int:
        """CPU time of the kernel's thread; 0 where it cannot be seen."""
        try:
            return int(Path(f"/proc/{self._pid}/schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def change(self, attrs: Attrs) -> None:
        self._pacer.change(attrs)
        self._apply(self._pacer.effective)

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """What the kernel applies."""
        return self._schemes

    def set_schemes(self, schemes: Iterable[Scheme]) -> None:
        """Have the kernel apply these schemes, and no others, from now on.

        Raises `UsageError` for what only pydamon can do, and `ProbeUnavailable` for what this
        kernel lacks; the schemes stay as they were then.
        """
        before, self._schemes = self._schemes, tuple(schemes)
        if before == self._schemes or not self._claim.kdamond.running:
            return
        try:
            self._apply(self._attrs)
        except (ProbeError, UsageError):
            self._schemes = before
            self._apply(self._attrs)
            raise

    def stats(self) -> list[tuple[SchemeStats, int]]:
        """What each of the schemes did so far, and how many bytes its quota allows now.

        Empty once the targets are gone.
        """
        if not self._schemes or not self._claim.kdamond.running:
            return []
        return self._claim.kdamond.stats()[: len(self._schemes)]

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Switch the kernel's monitoring off; harmless when done twice."""
        self._stopped = True
        if self._reader:
            self._reader.close()
        self._stack.close()

    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        until_ns = duration_ns and time.monotonic_ns() + duration_ns
        self._drop()
        begun = False
        while not self._stopped:
            begin_ns = time.thread_time_ns()
            self._look()
            while self._pending:
                snapshot = self._snapshot(self._pending.pop(0), time.thread_time_ns() - begin_ns)
                yield snapshot
                begun = True
                begin_ns = time.thread_time_ns()
                # At least one, however short the time is.
                if until_ns and self._window_end_ns + self._attrs.aggregation_ns // 2 > until_ns:
                    return
            if not self._space.alive or (begun and until_ns and time.monotonic_ns() > until_ns):
                return
            self._wait()

    def _drop(self) -> None:
        """Forget what was counted while nobody waited."""
        if self._reader and not self._reader.waits:
            self._reader.read()
        self._pending.clear()
        self._window_end_ns = self._updated_ns = self._seen_ns = time.monotonic_ns()
        self._cpu_ns = self.kdamond_cpu_ns
        self._begin_ns = time.monotonic_ns()
        self._period_ns = self._attrs.aggregation_ns

    def _look(self) -> None:
        """Read what there is, and keep the kernel's targets and intervals up to date."""
        now_ns = time.monotonic_ns()
        if now_ns - self._updated_ns >= self._attrs.update_ns:
            self._updated_ns = now_ns
            self._update()
        if self._reader is None:
            return  # the last target has exited
        try:
            new = [one for one in self._reader.read() if one.end_ns > self._begin_ns]
        except KernelError:
            new = []  # it has ended meanwhile
        self._pending.extend(new)
        if new:
            self._seen_ns, self._restarts = now_ns, 0
        elif now_ns - self._seen_ns > _OVERDUE * self._attrs.aggregation_ns:
            self._check()

    def _wait(self) -> None:
        """Sleep until the next aggregation should be over, or everything else is."""
        if self._reader is None or self._reader.waits:
            return
        due_ns = self._window_end_ns + self._period_ns
        now_ns = time.monotonic_ns()
        # It may be later than it was; look again soon then.
        late_ns = max(10**6, self._attrs.aggregation_ns // 20)
        left_ns = due_ns + late_ns // 2 - now_ns
        time.sleep(min(max(left_ns, late_ns), 10**8) / 1e9)

    def _snapshot(self, aggregation: Aggregation, cpu_ns: int) -> Snapshot:
        samples = self._attrs.samples_per_aggregation
        if self._operations == "paddr":
            # The kernel's regions know no memory nodes.
            nodes = self._layout.mappings[0].mappings
            borders = [b.start for a, b in pairwise(nodes) if a.end == b.start]
            aggregation = cut_at(aggregation, np.array(borders, np.int64))
        known = aggregation.target < len(self._targets)
        nr_accesses = np.minimum(aggregation.nr_accesses[known], samples)
        start, end = aggregation.start[known], aggregation.end[known]
        touched = np.where(nr_accesses > 0, end - start, 0)
        start_ns = self._window_end_ns
        if aggregation.lost or aggregation.end_ns <= start_ns:
            start_ns = aggregation.end_ns - self._attrs.aggregation_ns
        kernel_ns = self.kdamond_cpu_ns
        spent_ns = kernel_ns - self._cpu_ns
        self._cpu_ns = kernel_ns
        # Each sample of the kernel's is a little late, and so is their sum.
        nominal_ns = self._attrs.aggregation_ns
        self._period_ns = min(max(aggregation.end_ns - start_ns, nominal_ns), 2 * nominal_ns)
        self._window_end_ns = aggregation.end_ns
        snapshot = Snapshot(
            start_ns=self._clock.unix_ns(start_ns),
            end_ns=self._clock.unix_ns(aggregation.end_ns),
            sampling_ns=self._attrs.sampling_ns,
            max_nr_accesses=samples,
            targets=tuple(self._targets),
            target=aggregation.target[known],
            start=start,
            end=end,
            nr_accesses=nr_accesses,
            age=aggregation.age[known],
            touched_bytes=touched,
            unobservable_bytes=np.zeros(len(start), np.int64),
            cost=Cost(max(0, spent_ns) + cpu_ns, 0, aggregation.lost * samples),
            footprints=self._footprints,
            age_ns=aggregation.age[known] * nominal_ns,
        )
        self._pacer.observe(samples, max(0, spent_ns), cpu_ns, 0)
        self._follow_pace()
        return self._of_cgroup(snapshot) if self._pages else snapshot

    def _of_cgroup(self, snapshot: Snapshot) -> Snapshot:
        """The regions in which the cgroup has pages; as touched counts its share of them."""
        assert self._pages is not None
        owned = self._pages.bytes_in(snapshot.start, snapshot.end)
        chosen = owned > 0
        touched = np.minimum(snapshot.touched_bytes, owned)
        return replace(snapshot, touched_bytes=touched, resident_bytes=owned).pick(chosen)

    def _follow_pace(self) -> None:
        """Stretch the kernel's intervals as the CPU budget asks, now and then."""
        wanted, now_ns = self._pacer.effective, time.monotonic_ns()
        if self._goal or now_ns - self._changed_ns < _CHANGE_REST_NS:
            return
        ratios = (
            wanted.sampling_ns / self._attrs.sampling_ns,
            wanted.aggregation_ns / self._attrs.aggregation_ns,
        )
        if any(not 1 / _NOTICED < ratio < _NOTICED for ratio in ratios):
            self._apply(wanted)

    def _update(self) -> None:
        """Tell the kernel about new processes; take its tuned intervals, and what is mapped now."""
        if self._claim.kdamond.running:
            self._claim.kdamond.feed_goals(self._schemes)
        if self._goal and self._claim.kdamond.running:
            self._attrs = self._claim.kdamond.tuned_attrs(self._attrs)
        if self._pages and time.monotonic_ns() >= self._pages_due_ns:
            begin_ns = time.thread_time_ns()
            self._pages.refresh()
            rest_ns = self._pacer.rest_ns(time.thread_time_ns() - begin_ns)
            self._pages_due_ns = time.monotonic_ns() + rest_ns
        layout = self._space.update(_MAX_TARGETS)
        if layout is not self._layout:
            self._follow(layout)
        self._measure_footprints()

    def _follow(self, layout: Layout) -> None:
        """Make new processes targets of the kernel's."""
        self._layout = layout
        now = {target.pid: target for target in layout.targets}
        known = {target.pid for target in self._targets}
        new = [target for target in layout.targets if target.pid not in known]
        self._targets = [now.get(target.pid, target) for target in self._targets]
        if not new:
            return
        self._targets += new
        try:
            self._apply(self._attrs)
        except KernelError:  # one of them exited just now
            self._restart()
        if isinstance(self._reader, EventReader):
            self._reader.expect(len(self._targets))

    def _settings(self) -> Settings:
        ranges: list[tuple[tuple[int, int], ...]] = [() for _ in self._targets]
        if self._operations != "vaddr":
            ranges = [tuple((int(a), int(b)) for a, b in r) for r in self._layout.ranges]
        targets = tuple(
            KernelTarget(target.pid, where)
            for target, where in zip(self._targets, ranges, strict=True)
        )
        schemes = self._schemes if self._events else (*self._schemes, _ALL)
        return Settings(self._operations, targets, self._attrs, self._goal, schemes)

    def _begin(self) -> None:
        """Switch it on for the first time, which tells whether this kernel can do it at all."""
        try:
            self._on()
        except KernelError as error:
            if not self._space.alive:
                raise
            raise ProbeUnavailable(
                f"the kernel's DAMON could not be started: {error}",
                hint=f"it may be built without what {self._operations} needs",
            ) from error

    def _on(self) -> None:
        self._changed_ns = time.monotonic_ns()
        self._claim.start(self._settings())
        self._pid = self._claim.kdamond.pid
        self._reader = self._opened()
        self._measure_footprints()
        self._drop()

    def _measure_footprints(self) -> None:
        """How large each of the kernel's targets is; who has exited is of no size."""
        found = {process.pid: process.footprint() for process in self._layout.processes}
        nothing = Footprint()
        self._footprints = tuple(
            found.get(target.pid, nothing) for target in self._targets if target.pid
        )

    def _opened(self) -> Reader:
        if self._events:
            try:
                return EventReader(self._pid, len(self._targets))
            except ProbeUnavailable:
                self._events = False
                self._claim.change(self._settings())
        return TriedReader(self._claim.kdamond, len(self._schemes))

    def _restart(self) -> None:
        """Begin anew with the processes that are there now."""
        if self._reader:
            self._reader.close()
            self._reader = None
        for attempt in range(_MOST_RESTARTS + 1):
            self._claim.kdamond.stop()
            self._layout = self._space.update(_MAX_TARGETS)
            self._targets = list(self._layout.targets)
            if not self._targets:
                return
            try:
                self._on()
                return
            except KernelError:  # one of them has exited meanwhile
                if attempt == _MOST_RESTARTS:
                    raise
                time.sleep(_BREATH_S)

    def _apply(self, attrs: Attrs) -> None:
        self._attrs = attrs
        self._changed_ns = time.monotonic_ns()
        try:
            gone = self._gone()
            if gone and not self._drop_targets(gone):
                self._restart()
            else:
                self._claim.change(self._settings())
        except KernelError:
            if not self._gone():
                raise
            self._restart()

    def _gone(self) -> list[int]:
        """The numbers of targets that have exited: the kernel takes no settings with them."""
        alive = {process.pid for process in self._layout.processes if process.alive}
        return [
            number
            for number, target in enumerate(self._targets)
            if target.pid and target.pid not in alive
        ]

    def _drop_targets(self, gone: list[int]) -> bool:
        """Have the kernel forget targets, and nothing else; whether it can."""
        if len(gone) == len(self._targets) or not self._claim.kdamond.drop_targets(gone):
            return False
        if self._reader and not self._reader.waits:
            self._pending.extend(self._reader.read())  # by the numbers that were before
        self._pending = [without(aggregation, gone) for aggregation in self._pending]
        self._targets = [one for n, one in enumerate(self._targets) if n not in gone]
        if isinstance(self._reader, EventReader):
            self._reader.renumber(len(self._targets))
        return True

    def _check(self) -> None:
        """Nothing has come for long: is the kernel still at it?"""
        self._seen_ns = time.monotonic_ns()
        if self._claim.kdamond.running or not self._space.alive:
            return
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise KernelError("the kernel's DAMON stops again and again, though its targets run")
        self._restart()
