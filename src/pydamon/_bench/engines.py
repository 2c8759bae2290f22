"""The kernel's DAMON beside pydamon's own sampling, on the same program in the same run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pydamon._model.errors import ProbeUnavailable
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.pagemap import Pagemap
from pydamon._observe.linux.process import Process
from pydamon._observe.monitor import Monitor
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import monitor, monitor_physical
from pydamon._workloads import QUARTER

__all__ = ["EngineResult", "measure"]

_PFN = np.uint64((1 << 55) - 1)
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One engine on a program that uses a quarter of its memory.

    `hot_found` and `cold_right` are shares of the hot and of the cold bytes that are told right
    (medians over the last half of the snapshots); `kdamond_cpu` and `own_cpu` shares of one CPU.
    """

    name: str
    hot_found: float
    cold_right: float
    kdamond_cpu: float
    own_cpu: float
    snapshots: int
    aggregation_ms: float
    regions: float


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[EngineResult]:
    """Watch one program with the kernel by virtual and by physical address, and by sampling.

    All at the same intervals and without a budget. A second program takes turns with it on one
    CPU: that flushes its TLB now and then, without which the kernel's DAMON sees nothing of what
    stays in there. An engine that does not work here is left out.
    """
    mib, duration = (64, "6s") if quick else (200, "20s")
    options = MonitorOptions(sample="25ms", aggr="500ms", cpu_budget_percent=None)
    by_pages = replace(options, probe="ebpf", seed=seed)
    with _program(mib) as (pid, start, hot, size):
        openers: dict[str, Callable[[], Monitor]] = {
            "kernel vaddr": lambda: monitor(pid, engine="kernel", options=options),
            "kernel paddr": lambda: monitor_physical(options=options),
            "sampling": lambda: monitor(pid, options=by_pages),
        }
        for name, opener in openers.items():
            say(f"{name}, {duration}")
            try:
                mon = opener()
            except ProbeUnavailable as error:
                say(f"{name} is left out: {error}")
                continue
            places = np.arange(start, start + size, PAGE_SIZE)
            if name == "kernel paddr":
                places = _frames(pid, start, start + size)
            with mon:
                yield _watch(name, mon, duration, places, hot // PAGE_SIZE)


def _watch(
    name: str, mon: Monitor, duration: str, places: NDArray[np.int64], hot_pages: int
) -> EngineResult:
    begin_ns, own_ns, kdamond_ns = time.monotonic_ns(), time.process_time_ns(), mon.kdamond_cpu_ns
    snapshots = list(mon.run(duration))
    passed_ns = time.monotonic_ns() - begin_ns
    own_ns, kdamond_ns = time.process_time_ns() - own_ns, mon.kdamond_cpu_ns - kdamond_ns
    late = snapshots[len(snapshots) // 2 :]
    told = [_called_hot(snapshot, places) for snapshot in late]
    return EngineResult(
        name,
        median(float(one[:hot_pages].mean()) for one in told),
        median(float(1 - one[hot_pages:].mean()) for one in told),
        kdamond_ns / passed_ns,
        own_ns / passed_ns,
        len(snapshots),
        median(s.window_ns for s in snapshots) / 1e6,
        median(len(s) for s in late),
    )


def _called_hot(snapshot: Snapshot, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some addresses lie in a region of which at least half of the samples hit."""
    at = np.searchsorted(snapshot.start, places, side="right") - 1
    inside = (at >= 0) & (places < snapshot.end[np.maximum(at, 0)])
    rate = snapshot.nr_accesses / snapshot.max_nr_accesses
    hot: NDArray[np.bool_] = inside & (rate[np.maximum(at, 0)] >= _HALF)
    return hot


def _frames(pid: int, start: int, end: int) -> NDArray[np.int64]:
    """The physical address of each page of a range."""
    process = Process(pid)
    pagemap = Pagemap(process)
    try:
        return (pagemap.entries(start, end) & _PFN).astype(np.int64) * PAGE_SIZE
    finally:
        pagemap.close()
        process.close()


@contextmanager
def _program(mib: int) -> Iterator[tuple[int, int, int, int]]:
    """The program's pid, and where its memory starts, how much of it is hot, and all of it."""
    cpu = {max(os.sched_getaffinity(0))}
    with ExitStack() as stack:
        processes = []
        for argv in ((str(QUARTER), str(mib)), ("-c", "while True: pass")):
            process = stack.enter_context(
                subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, cpu)
            processes.append(process)
        assert processes[0].stdout is not None
        start, hot, size = (int(word, 16) for word in processes[0].stdout.readline().split())
        yield processes[0].pid, start, hot, size
