"""The monitoring tools that the benchmarks compare, and the machine on which they run."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from pydamon._bench.scores import View
from pydamon._model.errors import ProbeUnavailable
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Cost, Snapshot
from pydamon._observe.kernel import check_free
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.options import MonitorOptions
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from pydamon._observe.probes.registry import PROBES
from pydamon._observe.start import AUTO, monitor
from pydamon._workloads import PageTruth, Running

__all__ = [
    "EXACT",
    "KERNEL",
    "PACING_NS",
    "TOOLS",
    "Machine",
    "MonitorRun",
    "chunks",
    "scan_exactly",
    "unavailable_tools",
    "watch",
    "watch_with",
]


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a benchmark; `load` is its load average at the start."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    load: float

    @classmethod
    def here(cls) -> Machine:
        """Describe this machine."""
        return cls(
            _cpu(),
            os.cpu_count() or 1,
            psutil.virtual_memory().total,
            ".".join(platform.release().split("-")[0].split(".")[:3]),
            platform.python_version(),
            os.getloadavg()[0],
        )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


TOOLS = {
    "pydamon": MonitorOptions(probe="ebpf"),
    "plain": MonitorOptions(probe="ebpf", plain=True),
    "refs": MonitorOptions(probe="refs"),
}
"""Options of `monitor` for each tool.

`pydamon` samples with its defaults. `plain` is the kernel's algorithm at the same budget. `refs`
reads the kernel's count of referenced pages of each mapping.
"""
KERNEL = "kernel"
"""The tool name of the kernel's DAMON, which works where no other program uses it."""
EXACT = "exact"
"""The tool name of the reference: two exact scans of every page, and no monitor."""
PACING_NS = 2 * 10**9
"""A monitor finds its pace within this time."""
_WINDOW_S = 0.1
_CHUNK_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class MonitorRun:
    """The snapshots of a run. `window` converts their times to the clock of the ground truth.

    The shares of one CPU begin when the tool has found its pace. `all_in` adds an upper bound of
    what the target lost to interruptions.
    """

    begin_ns: int
    snapshots: tuple[Snapshot, ...]
    offset_ns: int

    def window(self, snapshot: Snapshot) -> tuple[int, int]:
        """Return the start and the end of a snapshot's window (monotonic ns)."""
        return snapshot.start_ns - self.offset_ns, snapshot.end_ns - self.offset_ns

    @property
    def whole(self) -> tuple[Snapshot, ...]:
        """The snapshots without the last one, if the end of the run cut it short."""
        last = self.snapshots[-2:]
        return self.snapshots[: -1 if last[-1].window_ns < last[0].window_ns / 2 else None]

    @property
    def cpu(self) -> float:
        """The share of one CPU that the tool used."""
        return self._cpu_share(lambda cost: cost.cpu_ns)

    @property
    def all_in(self) -> float:
        """The share of one CPU that the tool used or took from the target."""
        return self._cpu_share(lambda cost: cost.cpu_ns + cost.interruption_ns)

    def _cpu_share(self, cost_ns: Callable[[Cost], int]) -> float:
        begin_ns = self.begin_ns + PACING_NS
        late = [s for s in self.snapshots if self.window(s)[0] >= begin_ns]
        late = late or list(self.snapshots[-1:])
        before = self.snapshots[-len(late) - 1] if len(late) < len(self.snapshots) else None
        since_ns = self.window(before)[1] if before else self.begin_ns
        return sum(cost_ns(s.cost) for s in late) / (self.window(late[-1])[1] - since_ns)


def unavailable_tools() -> dict[str, str]:
    """Return the reason for each probe that does not work here, and for the kernel's DAMON."""
    reasons = {}
    try:
        check_free()
    except ProbeUnavailable as error:
        reasons[KERNEL] = str(error)
    for probe in PROBES:
        here = probe.availability()
        if not here.works:
            reasons[probe.name] = here.reason
    return reasons


def watch(
    pid: int,
    tool: str,
    duration_s: float,
    *,
    seed: int = 0,
    cpu_budget_percent: float | None = 1.0,
) -> MonitorRun:
    """Monitor a process with a tool for a time."""
    engine, options = KERNEL, MonitorOptions()
    if tool != KERNEL:
        engine, options = AUTO, replace(TOOLS[tool], seed=seed)
    options = replace(options, cpu_budget_percent=cpu_budget_percent)
    return watch_with(pid, engine, options, duration_s)


def watch_with(pid: int, engine: str, options: MonitorOptions, duration_s: float) -> MonitorRun:
    """Monitor a process with an engine for a time."""
    begin_ns = time.monotonic_ns()
    offset_ns = time.time_ns() - begin_ns
    with monitor(pid, engine=engine, options=options) as mon:
        return MonitorRun(begin_ns, tuple(mon.run(f"{duration_s}s")), offset_ns)


def scan_exactly(running: Running) -> tuple[list[PageTruth], View, float]:
    """Clear all accessed bits, wait, and read them.

    Returns the ground truth of that window, the scan's view of it, and the CPU seconds of the scan.
    """
    pieces = chunks(
        (start // PAGE_SIZE * PAGE_SIZE, -(-end // PAGE_SIZE) * PAGE_SIZE)
        for start, end in running.truth.regions.values()
    )
    with closing(Process(running.pid)) as process, EbpfProbe().open() as session:
        session.set_targets([process], [parse_maps(read_maps(running.pid))])
        begin_s = time.process_time()
        before = [session.scan(0, low, high, clear=True) for low, high in pieces]
        start_ns = time.monotonic_ns()
        time.sleep(_WINDOW_S)
        after = [session.scan(0, low, high, clear=False) for low, high in pieces]
        end_ns = time.monotonic_ns()
        cpu_s = time.process_time() - begin_s
    stuck = np.concatenate([bits.unobservable for bits in before])
    accessed = (np.concatenate([bits.accessed for bits in after]) & ~stuck).astype(np.float64)
    pages = running.truth.pages(start_ns, end_ns)
    return pages, View(accessed, accessed, stuck.astype(np.float64)), cpu_s


def chunks(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut ranges into chunks that one scan can hold."""
    return [
        (at, min(at + _CHUNK_BYTES, end))
        for start, end in ranges
        for at in range(start, end, _CHUNK_BYTES)
    ]
