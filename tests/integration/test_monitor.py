"""Monitoring real processes, through the public interface."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest

import pydamon
from pydamon import MonitorOptions
from pydamon._observe.linux.arch import HUGE_BYTES
from tests.integration.conftest import (
    CHURN,
    MIB,
    Program,
    huge_bytes,
    needs,
    open_files,
    running,
    script,
    slowness,
)

pytestmark = pytest.mark.live

monitor = partial(pydamon.monitor, engine="sampling")
"""The kernel's DAMON has tests of its own (tests/vm)."""


def told_right(snapshot: pydamon.Snapshot, program: Program) -> tuple[float, float]:
    """Shares of the hot and of the cold bytes that a snapshot tells right."""
    end = program.start + program.size
    boundary = program.start + program.hot
    is_hot = 2 * snapshot.nr_accesses >= snapshot.max_nr_accesses
    start = np.clip(snapshot.start, program.start, end)
    stop = np.clip(snapshot.end, program.start, end)
    in_hot = np.clip(np.minimum(stop, boundary) - start, 0, None)
    in_cold = (stop - start) - in_hot
    return (
        float(in_hot[is_hot].sum() / program.hot),
        float(in_cold[~is_hot].sum() / (program.size - program.hot)),
    )


@needs("ebpf")
def test_a_hot_quarter_is_found(quarter: Callable[..., Program]) -> None:
    slow = slowness()
    program = quarter(max(64, 256 // slow))
    # Hot is what is used in half of all sampling intervals: a slow CPU takes longer to get around.
    options = MonitorOptions(probe="ebpf", seed=1, cpu_budget_percent=min(50, 5 * slow))
    if slow > 1:
        options = replace(options, sample=f"{5 * slow}ms", aggr=f"{100 * slow}ms")
    with monitor(program.pid, options=options) as mon:
        # On a machine that is busy with other things the budget makes snapshots rare.
        snapshots = list(islice(mon, 10))
    told = np.array([told_right(snapshot, program) for snapshot in snapshots[-3:]])
    assert np.median(told, axis=0).min() >= 0.95
    working_set = np.median([s.working_set() for s in snapshots[-5:]])
    # Where every program gets huge pages, the interpreter's own memory counts by them, too.
    beside = max(0, huge_bytes(program.pid) - program.size)
    assert 0.85 * program.hot <= working_set <= 1.15 * program.hot + beside


@needs("refs")
def test_refs_counts_what_is_used_of_a_mapping() -> None:
    # The kernel clears referenced bits without a flush of the TLB, so that an emulated CPU, which
    # has a large one, may never set them again. The program flushes it, by unmapping something.
    text = f"""
import ctypes, mmap
memory = mmap.mmap(-1, {64 * MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b"x" * {64 * MIB})
print("ready"); print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory))), flush=True)
while True:
    sum(memory[:{16 * MIB}:mmap.PAGESIZE])
    with mmap.mmap(-1, {MIB}) as other:
        other.write(b"x" * {MIB})
"""
    with script(text) as process:
        assert process.stdout is not None
        start = int(process.stdout.readline(), 16)
        with monitor(process.pid, probe="refs") as mon:
            last = list(mon.run("2s"))[-1]
    mine = (last.start <= start) & (last.end > start)
    assert mine.sum() == 1
    assert last.touched_bytes[mine][0] == pytest.approx(16 * MIB, rel=0.15)


def test_mappings_have_names() -> None:
    with (
        script(
            "x = bytearray(10**7); print('ready', flush=True); import time; time.sleep(60)"
        ) as p,
        monitor(p.pid) as mon,
    ):
        snapshot = next(iter(mon))
    found = {
        region.mapping.name
        for region in map(snapshot.__getitem__, range(len(snapshot)))
        if region.mapping
    }
    assert {"[heap]", "[stack]", "[anon]"} <= found
    assert any(name.startswith("/") for name in found)


def test_the_exit_of_the_target_is_the_end() -> None:
    with (
        script("print('ready', flush=True); import sys; sys.stdin.readline()") as process,
        monitor(process.pid) as mon,
    ):
        assert process.stdin is not None
        next(iter(mon))
        process.stdin.close()
        begin_s = time.monotonic()
        list(mon)
        assert time.monotonic() - begin_s < 10


def test_exec_and_children_are_followed() -> None:
    text = """
import os, subprocess, sys, time
print("ready", flush=True)
time.sleep(0.5)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
time.sleep(0.2)
program = "import mmap; b = bytearray(50 * 10**6)\\nwhile True: b[::mmap.PAGESIZE]"
os.execv(sys.executable, [sys.executable, "-c", program])
"""
    with script(text) as process, monitor(process.pid, update="200ms", aggr="100ms") as mon:
        for snapshot in mon.run(f"{8 * slowness()}s"):
            pids = {target.pid for target in snapshot.targets}
            mine = [t.pid for t in snapshot.targets].index(process.pid)
            size = int(snapshot.size[snapshot.target == mine].sum())
            if len(pids) == 2 and size > 50 * 10**6:
                break
        else:
            pytest.fail("the child, or the new program, was not found")
        children = pids - {process.pid}
    for pid in children:
        os.kill(pid, signal.SIGKILL)


@needs("refs")
@pytest.mark.long
def test_children_that_end_at_any_moment_end_nothing() -> None:
    # What ends may be gone from /proc, or there without its memory.
    with (
        script(CHURN) as program,
        monitor(program.pid, probe="refs", cpu_budget_percent=50) as mon,
    ):
        snapshots = list(mon.run("3s"))
    assert snapshots[-1].end_ns - snapshots[0].start_ns > 2.5e9
    assert all(program.pid in {t.pid for t in s.targets} for s in snapshots)
    assert len({t.pid for s in snapshots for t in s.targets}) > 10


def test_children_are_left_alone_when_asked() -> None:
    text = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
    with script(text) as process, monitor(process.pid, children=False) as mon:
        assert [t.pid for t in next(iter(mon)).targets] == [process.pid]
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(children) as file:  # noqa: PTH123
            for pid in file.read().split():
                os.kill(int(pid), signal.SIGKILL)


def test_only_the_given_ranges_are_watched(quarter: Callable[..., Program]) -> None:
    program = quarter(32)
    wanted = [
        (program.start, program.start + MIB),
        (program.start + 4 * MIB, program.start + 5 * MIB),
    ]
    with monitor(program.pid, ranges=wanted) as mon:
        snapshot = next(iter(mon))
    for region_start, region_end in zip(snapshot.start, snapshot.end, strict=True):
        assert any(low <= region_start and region_end <= high for low, high in wanted)
    assert snapshot.size.sum() == 2 * MIB


@pytest.mark.parametrize("rule", ["gaps", "three"])
def test_regions_cover_the_program(rule: str, quarter: Callable[..., Program]) -> None:
    program = quarter(32)
    with monitor(program.pid, options=MonitorOptions(regions_from=rule)) as mon:
        snapshot = next(iter(mon))
    inside = (snapshot.start < program.start + program.size) & (snapshot.end > program.start)
    assert snapshot.start[inside].min() <= program.start
    assert snapshot.end[inside].max() >= program.start + program.size


def test_a_dead_pid() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(pydamon.TargetError, match="no process with pid"):
        monitor(process.pid)


def test_a_kernel_thread() -> None:
    if not os.path.exists("/proc/2/stat"):  # noqa: PTH110
        pytest.skip("no kernel threads in this pid namespace")
    with pytest.raises(pydamon.TargetError, match="kernel thread"):
        monitor(2)


def test_a_failed_start_leaves_nothing_open(quarter: Callable[..., Program]) -> None:
    program = quarter(8)
    before = open_files()
    with pytest.raises(pydamon.UsageError):
        monitor(program.pid, probe="telepathy")
    with pytest.raises(pydamon.UsageError):
        monitor(program.pid, ranges=[(8, 4)])
    assert open_files() == before


@pytest.mark.long
def test_the_budget_is_kept(quarter: Callable[..., Program]) -> None:
    """A quarter of what monitoring takes without need to spare is a budget that holds."""
    program = quarter(100)

    def cost(budget: float) -> float:
        with monitor(program.pid, cpu_budget_percent=budget) as mon:
            snapshots = list(islice(mon, 10))[-4:]  # by then it has found its pace
        return sum(s.cost.cpu_ns for s in snapshots) / sum(s.window_ns for s in snapshots)

    ample = cost(50)
    assert cost(100 * ample / 4) < ample / 2


def test_running_is_needed_for_nothing() -> None:
    with running("/bin/sleep", "60") as process, monitor(process.pid) as mon:
        snapshots = list(mon.run("1s"))
    assert snapshots[-1].working_set() <= MIB


@needs("exact")
def test_exact_monitoring_is_exact_from_the_first_snapshot(
    quarter: Callable[..., Program],
) -> None:
    program = quarter(64)
    if huge_bytes(program.pid) and slowness() > 1:
        pytest.skip("an emulated CPU keeps huge pages in its TLB, which not every clear flushes")
    with monitor(program.pid, probe="exact") as mon:
        snapshot = next(iter(mon))
    assert min(told_right(snapshot, program)) > 0.99
    mine = (snapshot.start < program.start + program.size) & (snapshot.end > program.start)
    assert snapshot.touched_bytes[mine].sum() == pytest.approx(program.hot, rel=0.01)


@needs("ebpf")
def test_surveys_find_exact_borders(quarter: Callable[..., Program]) -> None:
    program = quarter(128, 5)
    border = program.start + program.hot
    # What a huge page maps is hot as a whole.
    grain = HUGE_BYTES if huge_bytes(program.pid) else 1
    budget = min(50, slowness())
    with monitor(program.pid, probe="ebpf", cpu_budget_percent=budget) as mon:
        # The first survey reaches all of it, except where it would take too long.
        for snapshot in islice(mon, slowness()):
            if np.abs(snapshot.end - border).min() < grain:
                break
        else:
            pytest.fail("no survey found the border")
    if grain == 1:
        mine = (snapshot.start < program.start + program.size) & (snapshot.end > program.start)
        # A region at its edge may hold some used pages of the interpreter's own heap.
        assert snapshot.touched_bytes[mine].sum() == pytest.approx(program.hot, rel=0.05)
