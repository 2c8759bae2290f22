"""The kernel's DAMON compared with pydamon's sampling, on the same program in the same run."""

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
    """An engine on a program that uses a quarter of its memory.

    `hot_found` is the share of the hot bytes that the engine calls hot, and `cold_right` the share
    of the cold bytes that it calls cold: medians over the last half of the snapshots. `kdamond_cpu`
    and `own_cpu` are shares of one CPU.
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
    """Monitor a program by the kernel (virtual and physical addresses) and by sampling.

    All engines use the same intervals and no budget. A second program takes turns with the first
    on a CPU, so that the TLB is flushed now and then: the kernel's DAMON does not see accesses to
    pages that stay in the TLB. Engines that do not work here are left out.
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
    called_hot = [_called_hot(snapshot, places) for snapshot in late]
    return EngineResult(
        name,
        median(float(hot[:hot_pages].mean()) for hot in called_hot),
        median(float(1 - hot[hot_pages:].mean()) for hot in called_hot),
        kdamond_ns / passed_ns,
        own_ns / passed_ns,
        len(snapshots),
        median(s.window_ns for s in snapshots) / 1e6,
        median(len(s) for s in late),
    )


def _called_hot(snapshot: Snapshot, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which addresses lie in a region that at least half of the samples found accessed."""
    at = np.searchsorted(snapshot.start, places, side="right") - 1
    inside = (at >= 0) & (places < snapshot.end[np.maximum(at, 0)])
    rate = snapshot.nr_accesses / snapshot.max_nr_accesses
    hot: NDArray[np.bool_] = inside & (rate[np.maximum(at, 0)] >= _HALF)
    return hot


def _frames(pid: int, start: int, end: int) -> NDArray[np.int64]:
    """Return the physical address of each page of a range."""
    process = Process(pid)
    pagemap = Pagemap(process)
    try:
        return (pagemap.entries(start, end) & _PFN).astype(np.int64) * PAGE_SIZE
    finally:
        pagemap.close()
        process.close()


@contextmanager
def _program(mib: int) -> Iterator[tuple[int, int, int, int]]:
    """Start the program; yield its pid, the start of its memory, the hot size and the size."""
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
