"""Ages of the pages of real programs: what is idle among what is in use, and what comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import pydamon
from pydamon import Snapshot
from pydamon.analysis import needs
from tests.integration.conftest import slowness

MIB, S = 2**20, 10**9
COMB = """
import mmap, sys, time
mib, turn_s = int(sys.argv[1]), float(sys.argv[2])
memory = mmap.mmap(-1, mib << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
page, teeth = 4096, (mib << 20) // (16 * 4096)
for start in range(0, mib << 20, page):
    memory[start] = 1
print("ready", flush=True)
import numpy as np
pages = np.frombuffer(memory, np.uint8).reshape(teeth, 16, page)
begun_s, turned = time.monotonic(), 0
while True:
    pages[:, 0, 0] += 1
    wanted = int((time.monotonic() - begun_s) / turn_s * teeth)
    for tooth in range(turned, wanted):
        pages[tooth % teeth, 8, 0] += 1
    turned = wanted
    time.sleep(0.005)
"""
GROWING = """
import mmap, sys, time
memory = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for start in range(0, 64 << 20, 4096):
    memory[start] = 1
fence = mmap.mmap(-1, 4096)
print("ready", flush=True)
sys.stdin.readline()
memory.resize(128 << 20)
print("moved", flush=True)
while True:
    for start in range(0, 16 << 20, 4096):
        memory[start] = 1
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _needs_the_probe() -> None:
    works = next(probe for probe in pydamon.PROBES if probe.name == "ebpf").availability()
    if not works.works:
        pytest.skip(f"no ebpf probe: {works.reason}")


@contextmanager
def running(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        yield program
    finally:
        program.kill()
        program.wait()


def idle_bytes(snapshot: Snapshot, idle_s: float) -> int:
    assert snapshot.page_ages is not None
    return int(snapshot.page_ages.idle_bytes(int(idle_s * S), len(snapshot)).sum())


def watched(pid: int, duration: str) -> list[Snapshot]:
    with pydamon.monitor(
        pid, engine="sampling", probe="ebpf", cpu_budget_percent=float(slowness())
    ) as mon:
        return list(mon.run(duration))


def test_idle_pages_lie_among_pages_in_use() -> None:
    """One page in 16 all the time, one in 16 every 4 s: the rest, 56 of 64 MiB, is idle."""
    with running(COMB, "64", "4") as program:
        snapshots = watched(program.pid, "14s")
    last = next(s for s in reversed(snapshots) if s.page_ages)
    assert idle_bytes(last, 8) == pytest.approx(56 * MIB, rel=0.15)
    by_regions = last.size[(last.nr_accesses == 0) & (last.age_ns > 5 * S)].sum()
    assert by_regions < 28 * MIB, "regions cannot tell this"


@pytest.mark.long
def test_how_much_a_comb_needs() -> None:
    """1,024 teeth turn every 8 s: 128 pages a second come back after 4 s, none after 12 s."""
    with running(COMB, "64", "8") as program:
        snapshots = watched(program.pid, "40s")
    curve = needs(pydamon.Recording.from_snapshots(snapshots)).total
    at_4_s, at_12_s = curve.at(4 * S), curve.at(12 * S)
    assert at_4_s is not None
    assert at_12_s is not None
    assert at_4_s.refaults_per_s == pytest.approx(128, rel=0.2)
    assert at_12_s.refaults_per_s < 20
    idle = at_12_s.kept_bytes
    assert idle < 24 * MIB


def test_memory_that_moves_keeps_its_age() -> None:
    """An array grows, and the kernel moves it: 48 MiB of it have been idle since the start."""
    with (
        running(GROWING) as program,
        pydamon.monitor(
            program.pid, engine="sampling", probe="ebpf", cpu_budget_percent=float(slowness())
        ) as mon,
    ):
        snapshots = []
        moved = False
        for snapshot in mon.run("12s"):
            snapshots.append(snapshot)
            if not moved and snapshot.end_ns - snapshots[0].start_ns > 5 * S:
                moved = True
                assert program.stdin is not None
                program.stdin.write("\n")
                program.stdin.flush()
    last = next(s for s in reversed(snapshots) if s.page_ages)
    assert moved
    assert idle_bytes(last, 8) > 40 * MIB


def test_pages_for_actions_are_surely_idle() -> None:
    with (
        running(COMB, "64", "4") as program,
        pydamon.monitor(
            program.pid, engine="sampling", probe="ebpf", cpu_budget_percent=float(slowness())
        ) as mon,
    ):
        for snapshot in mon.run("12s"):
            pass
        process, control = mon.layout.processes[0], mon.page_control
        assert control is not None
        largest = int(snapshot.size.argmax())
        start = int(snapshot.start[largest]) // (1 << 16) << 16
        idle = control.idle_pages(process, start, start + (16 << 20), 6 * S)
        assert idle is not None
        by_place = idle.reshape(-1, 16)
        busiest = int(by_place.sum(axis=0).argmin())
        assert not by_place[:, busiest].any(), "pages in use are never idle"
        assert by_place.mean() > 0.6
    assert not np.isnan(snapshot.access_share).all()
