"""Ages of the pages of real programs: what is idle among what is in use, and what comes back."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
page, teeth = mmap.PAGESIZE, (mib << 20) // (16 * mmap.PAGESIZE)
for start in range(0, mib << 20, page):
    memory[start] = 1
import numpy as np
pages = np.frombuffer(memory, np.uint8).reshape(teeth, 16, page)
print("ready", pages.ctypes.data, flush=True)
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
for start in range(0, 64 << 20, mmap.PAGESIZE):
    memory[start] = 1
fence = mmap.mmap(-1, mmap.PAGESIZE)
print("ready 0", flush=True)
sys.stdin.readline()
memory.resize(128 << 20)
print("moved", flush=True)
while True:
    for start in range(0, 16 << 20, mmap.PAGESIZE):
        memory[start] = 1
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _needs_the_probe() -> None:
    works = next(probe for probe in pydamon.PROBES if probe.name == "ebpf").availability()
    if not works.works:
        pytest.skip(f"no ebpf probe: {works.reason}")


@contextmanager
def running(code: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program, and the address that it tells."""
    program = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        word, address = program.stdout.readline().split()
        assert word == "ready"
        yield program, int(address)
    finally:
        program.kill()
        program.wait()


def idle_bytes(snapshot: Snapshot, idle_s: float, address: int, mib: int = 64) -> int:
    """Idle bytes in the regions of the memory at an address."""
    assert snapshot.page_ages is not None
    idle = snapshot.page_ages.idle_bytes(int(idle_s * S), len(snapshot))
    inside = (snapshot.end > address) & (snapshot.start < address + mib * MIB)
    return int(idle[inside].sum())


def watched(pid: int, duration: str) -> list[Snapshot]:
    with pydamon.monitor(
        pid, engine="sampling", probe="ebpf", cpu_budget_percent=float(slowness())
    ) as mon:
        return list(mon.run(duration))


@pytest.mark.long
def test_idle_pages_lie_among_pages_in_use() -> None:
    """One page in 16 all the time, one in 16 every 4 s: the rest, 56 of 64 MiB, is idle."""
    with (
        running(COMB, "64", "4") as (program, address),
        pydamon.monitor(
            program.pid, engine="sampling", probe="ebpf", cpu_budget_percent=float(slowness())
        ) as mon,
    ):
        # Looks come up to 5 s apart: the last of them sees what has been idle for 8 s.
        snapshots = list(mon.run("16s"))
        process, control = mon.layout.processes[0], mon.page_control
        assert control is not None
        idle = control.idle_pages(process, address, address + 64 * MIB, 6 * S)
    last = next(s for s in reversed(snapshots) if s.page_ages)
    assert idle_bytes(last, 8, address) == pytest.approx(56 * MIB, rel=0.15)
    by_regions = last.size[(last.nr_accesses == 0) & (last.age_ns > 5 * S)].sum()
    assert by_regions < 28 * MIB, "regions cannot tell this"
    assert idle is not None
    by_place = idle.reshape(-1, 16)
    assert not by_place[:, 0].any(), "pages in use are never idle"
    assert by_place.mean() > 0.6


@pytest.mark.long
def test_how_much_a_comb_needs() -> None:
    """Teeth turn every 10 s: a tenth of them comes back a second after 6 s, none after 15 s.

    On a busy machine looks are so far apart that nothing is known of 6 s.
    """
    turned_per_s = 64 * MIB / (16 * mmap.PAGESIZE) / 10
    with running(COMB, "64", "10") as (program, _):
        snapshots = watched(program.pid, "40s")
    curve = needs(pydamon.Recording.from_snapshots(snapshots)).total
    after_6_s, after_15_s = curve.at(max(6 * S, curve.shortest_ns)), curve.at(15 * S)
    assert after_6_s is not None
    assert curve.shortest_ns < 9 * S
    assert after_15_s is not None
    assert after_6_s.refaults_per_s == pytest.approx(turned_per_s, rel=0.25)
    assert after_15_s.refaults_per_s < turned_per_s / 5
    assert after_15_s.kept_bytes < 32 * MIB


@pytest.mark.long
def test_memory_that_moves_keeps_its_age() -> None:
    """An array grows, and the kernel moves it: 48 MiB of it have been idle since the start."""
    with (
        running(GROWING) as (program, _),
        pydamon.monitor(
            program.pid, engine="sampling", probe="ebpf", cpu_budget_percent=float(slowness())
        ) as mon,
    ):
        snapshots = []
        moved = False
        for snapshot in mon.run("18s"):
            snapshots.append(snapshot)
            if not moved and snapshot.end_ns - snapshots[0].start_ns > 5 * S:
                moved = True
                assert program.stdin is not None
                program.stdin.write("\n")
                program.stdin.flush()
    last = next(s for s in reversed(snapshots) if s.page_ages)
    assert moved
    mappings = last.targets[0].mappings.mappings
    grown = next(m for m in mappings if m.end - m.start == 128 * MIB)
    assert idle_bytes(last, 13.5, grown.start, 128) > 40 * MIB
