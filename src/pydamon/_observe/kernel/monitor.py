"""A monitor whose samples the kernel's DAMON takes, and its start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from pydamon._model.attrs import Attrs
from pydamon._model.errors import ProbeUnavailable
from pydamon._model.snapshot import Cost, Snapshot
from pydamon._observe.kernel.claim import STATE, Claim, check_free
from pydamon._observe.kernel.driver import Driver
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN, KernelTargets
from pydamon._observe.kernel.passed import (
    SchemeLooks,
    can_probe,
    scheme_of_kind,
)
from pydamon._observe.kernel.reader import Aggregation, cut_at
from pydamon._observe.kernel.snapshots import snapshot_of
from pydamon._observe.linux.procfs import Rule
from pydamon._observe.monitor import Monitor, PhysicalMemory, Selection
from pydamon._observe.options import MonitorOptions
from pydamon._observe.pace import Pacer
from pydamon._observe.pages.passed import looks_at_pages
from pydamon._observe.probes.base import RealClock
from pydamon._observe.targets import Layout, Space
from pydamon._observe.targets.physical import CgroupPages

__all__ = ["KernelMonitor", "open_monitor"]

_NOTICEABLE = 1.25
"""Intervals that would differ by less stay: each change costs the kernel a moment."""
_CHANGE_REST_NS = 10**9


class KernelMonitor(Monitor):
    """Has the kernel's DAMON monitor the targets of a driver, and yields its counts.

    The kernel counts all the time; counts from before the iteration are dropped. *pages* are those
    of a cgroup, if only these count. *resources* are closed with the monitor. Raises
    `ProbeUnavailable` where this kernel cannot monitor this way.
    """

    engine = "kernel"
    probe_name = "kernel"

    def __init__(
        self,
        targets: KernelTargets,
        driver: Driver,
        pacer: Pacer,
        resources: ExitStack,
        *,
        pages: CgroupPages | None = None,
    ) -> None:
        self.fallback_reasons: dict[str, ProbeUnavailable] = {}
        self._targets = targets
        self._driver = driver
        self._pacer = pacer
        self._pages = pages
        self._clock = RealClock()
        self._stopped = False
        self._pages_due_ns = 0
        with resources:
            driver.start(self._begin_window)
            self._resources = resources.pop_all()

    @property
    def attrs(self) -> Attrs:
        return self._driver.attrs

    @property
    def layout(self) -> Layout:
        return self._targets.layout

    @property
    def scheme_runner(self) -> Driver:
        return self._driver

    @property
    def kdamond_cpu_ns(self) -> int:
        return self._driver.cpu_ns

    def change(self, attrs: Attrs) -> None:
        self._pacer.change(attrs)
        self._driver.change(self._pacer.effective)

    def pause(self, paused: bool = True) -> None:
        """Let the kernel's thread rest, with regions and ages as they are, or go on.

        Raises `ProbeUnavailable` before Linux 7.2.
        """
        self._driver.pause(paused)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Switch the kernel's monitoring off; harmless when done twice."""
        self._stopped = True
        if self.passed_looks is not None:
            self.passed_looks.close()
        self._resources.close()

    def _run(self, duration_ns: int | None) -> Iterator[Snapshot]:
        until_ns = duration_ns and time.monotonic_ns() + duration_ns
        self._driver.forget()
        begun = False
        while not self._stopped:
            begin_ns = time.thread_time_ns()
            self._look()
            while (aggregation := self._driver.next()) is not None:
                yield self._snapshot(aggregation, time.thread_time_ns() - begin_ns)
                begun = True
                begin_ns = time.thread_time_ns()
                # At least one snapshot, however short the time is.
                if until_ns and self._window_end_ns + self.attrs.aggregation_ns // 2 > until_ns:
                    return
            is_late = begun and until_ns and time.monotonic_ns() > until_ns
            if not self._targets.alive or is_late:
                return
            self._wait()

    def _begin_window(self) -> None:
        """Start a window now."""
        self._window_end_ns = self._updated_ns = time.monotonic_ns()
        self._cpu_ns = self.kdamond_cpu_ns
        self._period_ns = self.attrs.aggregation_ns

    def _look(self) -> None:
        """Read new results, and keep the kernel's targets and intervals up to date."""
        now_ns = time.monotonic_ns()
        if now_ns - self._updated_ns >= self.attrs.update_ns:
            self._updated_ns = now_ns
            self._refresh_pages()
            self._driver.update()
        self._driver.poll()

    def _refresh_pages(self) -> None:
        """Look again at the cgroup's pages, if the CPU budget allows it by now."""
        if self._pages and time.monotonic_ns() >= self._pages_due_ns:
            begin_ns = time.thread_time_ns()
            self._pages.refresh()
            rest_ns = self._pacer.rest_ns(time.thread_time_ns() - begin_ns)
            self._pages_due_ns = time.monotonic_ns() + rest_ns

    def _wait(self) -> None:
        """Sleep until the next aggregation should be over, but not for long."""
        if self._driver.waits:
            return
        due_ns = self._window_end_ns + self._period_ns
        # An aggregation may take longer than the one before: look again soon then.
        late_ns = max(10**6, self.attrs.aggregation_ns // 20)
        left_ns = due_ns + late_ns // 2 - time.monotonic_ns()
        time.sleep(min(max(left_ns, late_ns), 10**8) / 1e9)

    def _snapshot(self, aggregation: Aggregation, cpu_ns: int) -> Snapshot:
        """Make a snapshot of an aggregation whose reading took *cpu_ns*, and follow the pace."""
        targets, samples = self._targets, self.attrs.samples_per_aggregation
        start_ns, kernel_ns = self._end_window(aggregation)
        snapshot = snapshot_of(
            cut_at(aggregation, targets.node_borders),
            self.attrs,
            (self._clock.unix_ns(start_ns), self._clock.unix_ns(aggregation.end_ns)),
            targets=targets.numbered,
            footprints=targets.footprints,
            cost=Cost(kernel_ns + cpu_ns, 0, aggregation.lost * samples),
            probes=self._driver.probes,
        )
        self._pacer.observe(samples, kernel_ns, cpu_ns, 0)
        self._follow_pace()
        return self._of_cgroup(snapshot) if self._pages else snapshot

    def _end_window(self, aggregation: Aggregation) -> tuple[int, int]:
        """End a window; return when it started and the CPU time of the kernel's thread in it."""
        nominal_ns = self.attrs.aggregation_ns
        start_ns = self._window_end_ns
        if aggregation.lost or aggregation.end_ns <= start_ns:
            start_ns = aggregation.end_ns - nominal_ns
        cpu_ns = self.kdamond_cpu_ns
        spent_ns, self._cpu_ns = cpu_ns - self._cpu_ns, cpu_ns
        # Each sample of the kernel's is a little late, and so is their sum.
        self._period_ns = min(max(aggregation.end_ns - start_ns, nominal_ns), 2 * nominal_ns)
        self._window_end_ns = aggregation.end_ns
        return start_ns, max(0, spent_ns)

    def _of_cgroup(self, snapshot: Snapshot) -> Snapshot:
        """Keep the regions in which the cgroup has pages; only its share of them is touched."""
        assert self._pages is not None
        owned = self._pages.bytes_in(snapshot.start, snapshot.end)
        touched = np.minimum(snapshot.touched_bytes, owned)
        return replace(snapshot, touched_bytes=touched, resident_bytes=owned).pick(owned > 0)

    def _follow_pace(self) -> None:
        """Stretch the kernel's intervals as the CPU budget asks, now and then."""
        driver = self._driver
        if driver.goal or time.monotonic_ns() - driver.changed_ns < _CHANGE_REST_NS:
            return
        wanted = self._pacer.effective
        ratios = (
            wanted.sampling_ns / driver.attrs.sampling_ns,
            wanted.aggregation_ns / driver.attrs.aggregation_ns,
        )
        if any(not 1 / _NOTICEABLE < ratio < _NOTICEABLE for ratio in ratios):
            driver.change(wanted)


_MIN_SAMPLES = 5


def open_monitor(
    selection: Selection,
    options: MonitorOptions,
    *,
    files: Files | None = None,
    state: Path | None = None,
    events: bool = True,
) -> KernelMonitor:
    """Take the kernel's DAMON and start it; see `KernelEngine`."""
    files, state = files or Files(ADMIN), state or STATE
    pacer = Pacer(
        options.attrs,
        options.budget,
        sampling_is_named=options.sample is not None,
        aggregation_is_named=options.aggr is not None,
        min_samples=_MIN_SAMPLES,
    )
    check_free(files, state)
    with ExitStack() as stack:
        space, operations = _opened(selection)
        stack.callback(space.close)
        claim = stack.enter_context(Claim(files, state=state))
        targets = KernelTargets(space, operations)
        pages = None
        if isinstance(selection, PhysicalMemory) and selection.cgroup:
            pages = CgroupPages(selection.cgroup, targets.layout.ranges[0])
        probes = _probes(selection, options, pacer.effective) if events else ()
        driver = Driver(
            claim,
            targets,
            pacer.effective,
            options.goal,
            events=events,
            probes=probes,
            address_unit=options.address_unit,
            refresh_ns=options.refresh_ns,
        )
        stack.callback(driver.close)
        mon = KernelMonitor(targets, driver, pacer, stack.pop_all(), pages=pages)
        try:
            _look_for_kinds(mon, driver, options, physical=operations == "paddr")
        except BaseException:
            mon.close()
            raise
        return mon


def _probes(selection: Selection, options: MonitorOptions, attrs: Attrs) -> tuple[str, ...]:
    """The kinds of pages that the kernel may probe for: in physical memory only."""
    can = can_probe(options.kinds, attrs.samples_per_aggregation)
    return options.kinds if can and isinstance(selection, PhysicalMemory) else ()


def _look_for_kinds(
    mon: KernelMonitor, driver: Driver, options: MonitorOptions, *, physical: bool
) -> None:
    """Choose how to learn about kinds of pages, unless the kernel probes for them."""
    if not options.kinds or driver.probes:
        return
    if "young" in options.kinds:  # only the kernel can tell
        looks = SchemeLooks(options.kinds, driver, options.attrs.update_ns, options.passed_share)
        driver.passed_regions([scheme_of_kind(kind) for kind in options.kinds])
        mon.passed_looks = looks
    else:
        mon.passed_looks = looks_at_pages(mon, options, physical=physical)


def _opened(selection: Selection) -> tuple[Space, str]:
    """The memory of a selection, and the kernel's name for the operations on it."""
    if isinstance(selection, PhysicalMemory):
        return selection.open(), "paddr"
    operations = "vaddr" if selection.ranges is None else "fvaddr"
    return selection.open(Rule.THREE), operations
