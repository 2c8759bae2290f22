"""Pages that real processes share since a fork count once: as many as there are frames."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

import pydamon
from pydamon import Monitor, Snapshot
from pydamon._model.ranges import PAGE_SIZE
from tests.integration.conftest import slowness

pytestmark = pytest.mark.live

MIB = 1 << 20
SERVER = """
import ctypes, mmap, os, signal, sys, time
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
page, size = mmap.PAGESIZE, 48 << 20
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(int(sys.argv[1]))
def write(first_mib, last_mib):
    for at in range(first_mib << 20, last_mib << 20, page): memory[at] = os.getpid() % 251 + 1
def child():
    if os.fork(): return False
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGUSR1, lambda *_: write(24, 40))
    return True
def work():
    while True:
        for at in range(0, size // 4, page): memory[at]
        time.sleep(0.05)
write(0, 48)
for number in range(3):
    if child():
        write(8 * number, 8 * number + 8)  # a part of its own, where this is not read only
        if number == 2: child()  # a fork of a fork shares what both do not have from the first
        work()
print("ready", flush=True)
work()
"""

TOLD = """
import sys, pydamon
with pydamon.monitor(int(sys.argv[1]), probe="daemon", cpu_budget_percent=20) as watching:
    *_, last = watching.run("3s")
print((last.resident_bytes - last.repeated_bytes).sum() / 2**20)
"""
"""A program that tells how much memory another one and its children have, in MiB."""


@contextmanager
def server(advice: int) -> Iterator[psutil.Process]:
    """A process with 48 MiB, and the four below it that it was forked into."""
    program = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(advice)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        tree = psutil.Process(program.pid)
        while len(tree.children(recursive=True)) < 4:
            time.sleep(0.01)
        yield tree
    finally:
        for process in [*tree.children(recursive=True), tree]:
            process.kill()
        program.wait()


def frames_of(pid: int) -> NDArray[np.uint64]:
    """The frames of all pages that a process has in memory."""
    found = []
    maps = Path(f"/proc/{pid}/maps").read_text()
    with Path(f"/proc/{pid}/pagemap").open("rb", 0) as pagemap:
        for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ", maps, re.MULTILINE):
            if len(start) < 16:  # the vsyscall page lies in the kernel's half
                first, beyond = int(start, 16) // PAGE_SIZE, int(end, 16) // PAGE_SIZE
                pagemap.seek(8 * first)
                found.append(np.frombuffer(pagemap.read(8 * (beyond - first)), np.uint64))
    entries = np.concatenate(found)
    present: NDArray[np.uint64] = entries[entries >> np.uint64(63) == 1]
    return present & np.uint64((1 << 55) - 1)


def unique_mib(tree: psutil.Process) -> float:
    pids = [tree.pid, *(child.pid for child in tree.children(recursive=True))]
    frames = np.unique(np.concatenate([frames_of(pid) for pid in pids]))
    if len(frames) < 100:
        pytest.skip("this user may not know the frames of pages")
    return len(frames) * PAGE_SIZE / MIB


def told_mib(snapshot: Snapshot) -> float:
    return float((snapshot.resident_bytes - snapshot.repeated_bytes).sum() / MIB)


def becomes_right(monitor: Monitor, wanted: Callable[[], float]) -> float:
    """Watch until the total is right, for half a minute at most; what it is then."""
    told = 0.0
    for snapshot in monitor.run(f"{30 * slowness()}s"):
        if snapshot.page_ages is not None or monitor.probe_name == "refs":
            told = told_mib(snapshot)
            if told == pytest.approx(wanted(), rel=0.04):
                break
    return told


@pytest.mark.parametrize(
    ("probe", "advice"),
    [
        pytest.param("ebpf", 15, id="ebpf"),  # MADV_NOHUGEPAGE
        pytest.param("ebpf", 14, id="ebpf-huge"),  # MADV_HUGEPAGE
        pytest.param("refs", 15, id="refs"),
    ],
)
def test_forked_pages_count_once(probe: str, advice: int) -> None:
    works = next(each for each in pydamon.PROBES if each.name == probe).availability()
    if not works.works:
        pytest.skip(f"no {probe} probe: {works.reason}")
    with (
        server(advice) as tree,
        pydamon.monitor(tree.pid, engine="sampling", probe=probe, cpu_budget_percent=20) as monitor,
    ):

        def unique() -> float:
            return unique_mib(tree)

        assert becomes_right(monitor, unique) == pytest.approx(unique(), rel=0.04)
        child, before = tree.children()[0], unique()
        child.send_signal(signal.SIGUSR1)  # it writes to 16 MiB
        while unique() < before + 15:
            time.sleep(0.05)
        assert becomes_right(monitor, unique) == pytest.approx(unique(), rel=0.04)
