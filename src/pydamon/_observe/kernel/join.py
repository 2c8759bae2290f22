"""Look on at a kdamond that somebody else runs, by its tracepoint: nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pydamon._model.attrs import Attrs
from pydamon._model.errors import ProbeUnavailable, TargetError, UsageError
from pydamon._model.snapshot import Cost, Footprint, Snapshot, Target
from pydamon._model.units import format_duration
from pydamon._observe.kernel.claim import started_at
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import node_borders
from pydamon._observe.kernel.reader import Aggregation, EventReader, Reader, cut_at
from pydamon._observe.kernel.running import Monitoring, RunningKdamond, running_kdamonds
from pydamon._observe.kernel.snapshots import snapshot_of
from pydamon._observe.linux.monitors import MODULES
from pydamon._observe.linux.procfs import Rule
from pydamon._observe.monitor import Monitor, PhysicalMemory, Selection
from pydamon._observe.options import MonitorOptions
from pydamon._observe.pages.passed import looks_at_pages
from pydamon._observe.probes.base import RealClock
from pydamon._observe.targets import Layout, PaddrSpace, VaddrSpace

__all__ = ["JoinedMonitor", "JoinedTargets", "choose_kdamond", "open_joined"]

_LOOK_AGAIN_NS = 10**9
"""How often the files of the kdamond's user are read: they change when the user changes them."""
_EVENTS_REST_NS = 25 * 10**6
"""The reader waits for such a pause, as only the kdamond knows how many targets it has."""
_SHORTEST_SLEEP_NS, _LONGEST_SLEEP_NS = 5 * 10**6, 10**8
_LONG_NS = 5 * 10**9
"""People wonder about aggregations that are longer."""
_FRESH_NS = 10 * 10**9
"""DAMON_STAT writes its interval every 5 s or less often: a younger kdamond has the last one's."""
_SAME = (0.75, 1.5)
"""A window of so many aggregation intervals had that interval: kdamonds are always a bit late."""
_MAX_RANGES = 1000


class JoinedTargets:
    """The targets of a kdamond of somebody else's, or those of them that are *chosen* by pid.

    Targets of processes that exit stay, as they do for the kdamond.
    """

    def __init__(self, monitoring: Monitoring, chosen: Sequence[int] = ()) -> None:
        self._chosen = frozenset(chosen)
        self._pids = monitoring.pids
        self._seen: dict[int, Target] = {}
        is_physical = monitoring.operations == "paddr"
        self._space = PaddrSpace() if is_physical else VaddrSpace(self._wanted, rule=Rule.THREE)
        self._borders = np.zeros(0, np.int64)
        self.refresh(monitoring.pids)
        if is_physical:
            self._borders = node_borders(self.layout)

    def refresh(self, pids: tuple[int, ...]) -> None:
        """Read the processes again; the kdamond has the targets *pids* by now."""
        self._pids = pids
        self.layout: Layout = self._space.update(_MAX_RANGES)
        """The targets that live."""
        self._seen |= {target.pid: target for target in self.layout.targets}
        kept = [not self._chosen or pid in self._chosen for pid in pids]
        places = np.where(kept, np.cumsum(kept) - 1, -1)
        self._places: NDArray[np.int32] = places.astype(np.int32)
        """The place in `numbered` of each target of the kdamond; -1 if it is not chosen."""
        numbered = [pid for pid, is_kept in zip(pids, kept, strict=True) if is_kept]
        self.numbered = tuple(self._seen.get(pid, Target(pid, f"pid {pid}")) for pid in numbered)
        """The chosen targets, by their place in snapshots."""
        sizes = {process.pid: process.footprint() for process in self.layout.processes}
        self.footprints = tuple(sizes.get(pid, Footprint()) for pid in numbered if pid)

    def pick(self, aggregation: Aggregation) -> Aggregation:
        """The results of the chosen targets, by their place in `numbered`."""
        known = aggregation.target < len(self._places)
        place = self._places[np.where(known, aggregation.target, 0)]
        kept = known & (place >= 0)
        return cut_at(
            replace(
                aggregation,
                target=place[kept],
                start=aggregation.start[kept],
                end=aggregation.end[kept],
                nr_accesses=aggregation.nr_accesses[kept],
                age=aggregation.age[kept],
            ),
            self._borders,
        )

    def close(self) -> None:
        """Release the processes."""
        self._space.close()

    def _wanted(self) -> list[int]:
        return [pid for pid in self._pids if not self._chosen or pid in self._chosen]


class JoinedMonitor(Monitor):
    """Yields what a kdamond of somebody else's counts, for as long as it runs.

    *reader* reads its events. The monitor reads files and never writes one, so that the kdamond is
    the same with it and without it. It has no schemes, and its attributes are the user's.
    """

    engine = "kernel"
    probe_name = "kernel"

    def __init__(self, kdamond: RunningKdamond, targets: JoinedTargets, reader: Reader) -> None:
        assert kdamond.monitoring is not None
        self.fallback_reasons: dict[str, ProbeUnavailable] = {}
        self._kdamond = kdamond
        self._monitoring: Monitoring = kdamond.monitoring
        self._attrs = kdamond.monitoring.attrs
        self._targets = targets
        self._reader = reader
        self._started = started_at(kdamond.pid)
        self._interval_is_known = _says_intervals(kdamond.monitoring, self._started)
        self._clock = RealClock()
        self._stopped = False
        self._window_end_ns = 0
        self._looked_ns = time.monotonic_ns()

    @property
    def joined(self) -> str:
        return self._kdamond.describe()

    @property
    def attrs(self) -> Attrs:
        return self._attrs

    @property
    def caveat(self) -> str:
        if self._interval_is_known and self._attrs.aggregation_ns > _LONG_NS:
            interval = format_duration(self._attrs.aggregation_ns)
            return f"a snapshot comes every {interval}, which is the kdamond's aggregation interval"
        return ""

    @property
    def layout(self) -> Layout:
        return self._targets.layout

    def change(self, attrs: Attrs) -> None:
        raise UsageError(
            "a kdamond that somebody else runs keeps its attributes",
            hint="ask who runs it, or monitor without joining",
        )

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Stop reading; the kdamond goes on."""
        self._stopped = True
        if self.passed_looks is not None:
            self.passed_looks.close()
        self._reader.close()
        self._targets.close()

    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        until_ns = duration_ns and time.monotonic_ns() + duration_ns
        self._reader.read()  # counts from before the iteration
        self._window_end_ns = 0
        begun = False
        while not self._stopped:
            begin_ns = time.thread_time_ns()
            runs = self._look()
            for aggregation in self._reader.read():
                snapshot = self._snapshot(aggregation, time.thread_time_ns() - begin_ns)
                if snapshot is None:
                    continue
                yield snapshot
                begun = True
                begin_ns = time.thread_time_ns()
                # At least one snapshot, however short the time is.
                if until_ns and self._window_end_ns + self.attrs.aggregation_ns // 2 > until_ns:
                    return
            is_late = begun and until_ns and time.monotonic_ns() > until_ns
            if not runs or is_late:
                return
            self._wait()

    def _look(self) -> bool:
        """Read now and then what the user has changed; return whether the kdamond still runs."""
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns < _LOOK_AGAIN_NS:
            return True
        self._looked_ns = now_ns
        monitoring = self._kdamond.read_again()
        if monitoring is not None and monitoring.operations == self._monitoring.operations:
            if monitoring != self._monitoring and (monitoring.is_current or not self._is_measured):
                self._attrs = monitoring.attrs
            self._monitoring = monitoring
        self._targets.refresh(self._monitoring.pids)
        return started_at(self._kdamond.pid) == self._started

    @property
    def _is_measured(self) -> bool:
        """Whether the intervals are known from the kdamond's events alone."""
        return self._monitoring.is_tuned and not self._monitoring.is_current

    def _snapshot(self, aggregation: Aggregation, cpu_ns: int) -> Snapshot | None:
        """Make a snapshot; `None` as long as nobody knows how long the aggregation was."""
        is_first = self._window_end_ns == 0
        # The kdamond may have been joined in the middle of its events.
        lost = 0 if is_first else aggregation.lost
        measured_ns = 0 if is_first or lost else aggregation.end_ns - self._window_end_ns
        self._window_end_ns = aggregation.end_ns
        if measured_ns and self._monitoring.is_tuned:
            self._follow_tuning(measured_ns)
        if not self._interval_is_known:
            return None
        start_ns = aggregation.end_ns - (measured_ns or self._attrs.aggregation_ns)
        unit = self._monitoring.address_unit
        if unit > 1:
            aggregation = replace(
                aggregation, start=aggregation.start * unit, end=aggregation.end * unit
            )
        return snapshot_of(
            self._targets.pick(aggregation),
            self._attrs,
            (self._clock.unix_ns(start_ns), self._clock.unix_ns(aggregation.end_ns)),
            targets=self._targets.numbered,
            footprints=self._targets.footprints,
            cost=Cost(cpu_ns, 0, lost * self._attrs.samples_per_aggregation),
        )

    def _follow_tuning(self, measured_ns: int) -> None:
        """Take over intervals that the kernel has tuned, as an aggregation's length shows them."""
        low, high = (factor * self._attrs.aggregation_ns for factor in _SAME)
        if not (self._interval_is_known and low < measured_ns < high):
            samples = self._attrs.samples_per_aggregation
            sampling_ns = max(1, measured_ns // samples)
            aggregation_ns = sampling_ns * samples
            update_ns = max(self._attrs.update_ns, aggregation_ns)
            self._attrs = replace(
                self._attrs,
                sampling_ns=sampling_ns,
                aggregation_ns=aggregation_ns,
                update_ns=update_ns,
            )
        self._interval_is_known = True

    def _wait(self) -> None:
        """Sleep until the next aggregation should be over, but not for long."""
        due_ns = self._window_end_ns + self._attrs.aggregation_ns + _EVENTS_REST_NS
        left_ns = due_ns - time.monotonic_ns()
        time.sleep(min(max(left_ns, _SHORTEST_SLEEP_NS), _LONGEST_SLEEP_NS) / 1e9)


def _says_intervals(monitoring: Monitoring, started_ticks: int) -> bool:
    """Whether the intervals in the files are those of now."""
    if not (monitoring.is_tuned and monitoring.is_current):
        return monitoring.is_current
    started_ns = started_ticks * (10**9 // os.sysconf("SC_CLK_TCK"))
    has_run_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started_ns
    return has_run_ns > _FRESH_NS + 2 * monitoring.attrs.aggregation_ns


def open_joined(
    selection: Selection,
    options: MonitorOptions,
    *,
    files: Files | None = None,
    modules: Path = MODULES,
    proc: Path = Path("/proc"),
) -> JoinedMonitor:
    """Join the kdamond that *options* name, or the only one; see `KernelEngine`.

    A selection of processes without pids is all that the kdamond monitors.
    """
    pids = _chosen_pids(selection)
    kdamond = choose_kdamond(
        running_kdamonds(files, modules, proc),
        options.join,
        pids,
        is_physical=isinstance(selection, PhysicalMemory),
    )
    if kdamond.monitoring is None:
        raise ProbeUnavailable(f"cannot join: {kdamond.describe()}")
    with ExitStack() as stack:
        targets = JoinedTargets(kdamond.monitoring, pids)
        stack.callback(targets.close)
        reader = EventReader(kdamond.pid, 0)
        stack.callback(reader.close)
        mon = JoinedMonitor(kdamond, targets, reader)
        if options.kinds:
            is_physical = isinstance(selection, PhysicalMemory)
            mon.passed_looks = looks_at_pages(mon, options, physical=is_physical)
        stack.pop_all()
        return mon


def choose_kdamond(
    kdamonds: Sequence[RunningKdamond],
    name: bool | int | str,
    pids: Sequence[int] = (),
    *,
    is_physical: bool = False,
) -> RunningKdamond:
    """The kdamond that a person means by *name* (True: there is only one) and by the targets.

    Raises `ProbeUnavailable` where none runs, `UsageError` for a choice among several, and
    `TargetError` where none monitors these targets.
    """
    if not kdamonds:
        raise ProbeUnavailable("nobody runs the kernel's DAMON now, so there is nothing to join")
    running = "\n".join(kdamond.describe() for kdamond in kdamonds)
    candidates = list(kdamonds)
    if not isinstance(name, bool):
        candidates = [kdamond for kdamond in kdamonds if kdamond.answers_to(str(name))]
        if not candidates:
            raise UsageError(f"no kdamond {name} runs", hint=running)
    candidates = [k for k in candidates if _watches(k, pids, is_physical)]
    if not candidates:
        what = "physical memory" if is_physical else f"pid {', '.join(map(str, pids))}"
        raise TargetError(f"no kdamond monitors {what}", hint=running)
    if len(candidates) > 1:
        raise UsageError(
            f"{len(candidates)} kdamonds run: name one of them by its pid, as in --join "
            f"{candidates[0].pid} or join={candidates[0].pid}",
            hint=running,
        )
    return candidates[0]


def _watches(kdamond: RunningKdamond, pids: Sequence[int], is_physical: bool) -> bool:
    monitoring = kdamond.monitoring
    if monitoring is None:
        return not pids and not is_physical
    if is_physical:
        return monitoring.operations == "paddr"
    return set(pids) <= set(monitoring.pids)


def _chosen_pids(selection: Selection) -> tuple[int, ...]:
    """The pids of a selection; raises `UsageError` for what only an own kdamond can do."""
    if isinstance(selection, PhysicalMemory):
        if selection.nodes or selection.cgroup:
            raise UsageError("a kdamond that is joined cannot be limited to a node or a cgroup")
        return ()
    if selection.ranges is not None:
        raise UsageError("a kdamond that is joined cannot be limited to address ranges")
    return tuple(selection.pids()) if callable(selection.pids) else selection.pids
