"""Idle pages of real programs, against the judge (`pydamon._bench.judge`), page by page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from pydamon._bench.judge import ExactTruth, judge, judged_parts
from pydamon._bench.programs import Program
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.pagemap import ProcessPages
from pydamon._observe.linux.process import Process
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import monitor

__all__ = ["QUICK", "IdleAccuracy", "Plan", "measure"]

QUICK = ("sqlite",)
_WINDOWS = 3
_SINCE_NS = 5e8
"""Intervals between looks are longer: pages accessed before the last one are not recent."""
_SETTLED_S = 8.0
"""The cost counts from here on."""

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plan:
    """Monitor for *watch_s*; then the judge tells which pages are idle for *idle_s*."""

    watch_s: float = 32.0
    idle_s: float = 10.0

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """Return the usual plan, or a short one."""
        return cls(12.0, 3.0) if quick else cls()


@dataclass(frozen=True, slots=True)
class IdleAccuracy:
    """How right the idle pages are that pydamon tells.

    `f1` is that of the pages that surely were idle when the monitor ended, `exact_f1` that of one
    window of the judge against the others, and `regions_f1` what the ages of regions tell. `error`
    is the relative error of the idle bytes in the last snapshot with ages. `hot_f1` is that of the
    pages that were accessed between the last two looks, and `exact_hot_f1` that of one window of
    the judge, which is as long. `look_ms` is the time between two looks, and `missing` says why a
    program did not run.
    """

    name: str
    missing: str
    resident_bytes: float
    idle_bytes: float
    true_idle_bytes: float
    error: float
    f1: float
    exact_f1: float
    regions_f1: float
    regions_idle_bytes: float
    hot_f1: float
    exact_hot_f1: float
    look_ms: float
    followed: float
    cpu: float


class _Told(NamedTuple):
    """Which pages the monitor calls idle, and not accessed since about the last look."""

    idle: Bits
    not_recent: Bits
    idle_regions: Bits


class _Judged(NamedTuple):
    """Which pages were accessed in windows of the idle time, and in as many of a look."""

    accessed: Bits
    accessed_recently: Bits
    resident: Bits


def measure(
    program: Program, plan: Plan, seed: int, say: Callable[[str], None]
) -> Iterator[IdleAccuracy]:
    """Start a program, monitor it, and ask the judge."""
    if reason := program.missing():
        yield IdleAccuracy(program.name, reason, *[math.nan] * (len(fields(IdleAccuracy)) - 2))
        return
    say(f"idle: {program.name} starts")
    with program.start(seed) as pid:
        pids = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        say(f"idle: {program.name} is watched for {plan.watch_s:g} s")
        with monitor(
            pid, engine="sampling", options=MonitorOptions(probe="ebpf", seed=seed)
        ) as mon:
            snapshots = _until_a_look(mon, plan.watch_s * 1e9)
            look_ns = _look_ns(snapshots)
            parts = judged_parts(pids)
            ages = snapshots[-1].page_ages
            assert ages is not None
            since_ns = time.time_ns() - ages.looked_ns + _SINCE_NS
            idle, recent = (
                _pages(mon, parts, time_ns) for time_ns in (plan.idle_s * 1e9, since_ns)
            )
        say(f"idle: {program.name} is judged")
        truth = judge(pids, plan.idle_s * 1e9, _WINDOWS)
        short = judge(pids, look_ns, 2 * _WINDOWS)
        judged = _Judged(truth.accessed, short.accessed, _resident(truth))
        regions = _by_regions(snapshots[-1], truth.parts, plan.idle_s * 1e9)
    yield _result(program.name, snapshots, _Told(idle, recent, regions), judged, plan)


def _until_a_look(mon: Monitor, watch_ns: float) -> list[Snapshot]:
    """The snapshots of a monitor, up to one that follows a look."""
    snapshots: list[Snapshot] = []
    for snapshot in mon:
        snapshots.append(snapshot)
        if snapshot.page_ages and snapshot.end_ns - snapshots[0].start_ns >= watch_ns:
            break
    return snapshots


def _look_ns(snapshots: list[Snapshot]) -> float:
    """The typical time between two looks."""
    ages = [snapshot.page_ages for snapshot in snapshots if snapshot.page_ages]
    return median([a.looked_ns - a.since_ns for a in ages[1:]] or [1e9])


def _pages(mon: Monitor, parts: tuple[tuple[int, int, int], ...], idle_ns: float) -> Bits:
    """Which pages of the parts were surely idle for so long."""
    processes = {process.pid: process for process in mon.layout.processes}
    control = mon.page_control
    assert control is not None
    marks = []
    for pid, start, count in parts:
        pages = None
        if pid in processes:
            end = start + count * PAGE_SIZE
            pages = control.idle_pages(processes[pid], start, end, int(idle_ns))
        marks.append(np.zeros(count, np.bool_) if pages is None else pages)
    return np.concatenate(marks)


def _by_regions(
    snapshot: Snapshot, parts: tuple[tuple[int, int, int], ...], idle_ns: float
) -> Bits:
    """Which pages lie in regions that were idle for so long."""
    marks = []
    idle = (snapshot.nr_accesses == 0) & (snapshot.age_ns >= idle_ns)
    pids = np.array([target.pid for target in snapshot.targets])[snapshot.target]
    for pid, start, count in parts:
        pages = np.zeros(count, np.bool_)
        for row in np.flatnonzero(idle & (pids == pid)).tolist():
            bounds = np.array([snapshot.start[row], snapshot.end[row]]) - start
            low, high = np.clip(bounds // PAGE_SIZE, 0, count).tolist()
            pages[low:high] = True
        marks.append(pages)
    return np.concatenate(marks)


def _result(
    name: str,
    snapshots: list[Snapshot],
    told: _Told,
    judged: _Judged,
    plan: Plan,
) -> IdleAccuracy:
    resident = judged.resident
    idle, regions = told.idle & resident, told.idle_regions & resident
    busy = ~told.not_recent & resident
    # Each window is a sample of the same steady state.
    true_idle = [~row & resident for row in judged.accessed]
    true_hot = [row & resident for row in judged.accessed_recently]
    last = snapshots[-1]
    assert last.page_ages is not None
    told_bytes = int(last.page_ages.idle_bytes(int(plan.idle_s * 1e9), len(last)).sum())
    true_bytes = float(np.mean([row.sum() for row in true_idle])) * PAGE_SIZE
    late = [s for s in snapshots if s.start_ns - snapshots[0].start_ns > _SETTLED_S * 1e9]
    late = late or snapshots[-1:]
    return IdleAccuracy(
        name,
        "",
        float(resident.sum()) * PAGE_SIZE,
        told_bytes,
        true_bytes,
        abs(told_bytes - true_bytes) / max(1.0, true_bytes),
        median(_f1(idle, row) for row in true_idle),
        _agreement(true_idle),
        median(_f1(regions, row) for row in true_idle),
        float(regions.sum()) * PAGE_SIZE,
        median(_f1(busy, row) for row in true_hot),
        _agreement(true_hot),
        _look_ns(snapshots) / 1e6,
        last.page_ages.followed_share,
        sum(s.cost.cpu_ns for s in late) / sum(s.window_ns for s in late),
    )


def _resident(truth: ExactTruth) -> Bits:
    """Which pages of the truth are in memory."""
    marks = []
    for pid, start, count in truth.parts:
        with closing(Process(pid)) as process, ProcessPages(process) as pages:
            frames = pages.frames(start, start + count * PAGE_SIZE)
        marks.append(frames.exclusive | frames.shared)
    return np.concatenate(marks)


def _agreement(rows: list[Bits]) -> float:
    """The median F1 of one window against another."""
    pairs = [(a, b) for a in range(len(rows)) for b in range(len(rows)) if a != b]
    return median(_f1(rows[a], rows[b]) for a, b in pairs)


def _f1(told: Bits, true: Bits) -> float:
    both = int((told & true).sum())
    return 2 * both / max(1, int(told.sum()) + int(true.sum()))
