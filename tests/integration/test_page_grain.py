"""Idle pages of a real process are paged out one by one, and the pages between them stay.

The ages are made up, so that the test needs private names.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pydamon
from pydamon import AccessPattern, Filter, Scheme
from pydamon._act.apply import AppliedSchemes
from pydamon._act.memory import TargetMemory
from pydamon._model.page_ages import PageAges, bucket_of
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.snapshot import Snapshot
from pydamon._observe.linux.pagemap import PRESENT
from pydamon._observe.sampling.monitor import SamplingMonitor
from tests.integration.conftest import MIB, needs, running

pytestmark = [pytest.mark.live, needs("ebpf")]

_PROGRAM = """
import mmap, os, sys, time
size = 32 << 20
with open(sys.argv[1], "w+b") as file:
    file.write(bytes(range(256)) * (size // 256))
    file.flush()
    os.fsync(file.fileno())
    memory = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
memory.madvise(mmap.MADV_RANDOM)
print(sum(memory[::mmap.PAGESIZE]), flush=True)
time.sleep(100)
"""
_MINUTE_NS = 60 * 10**9


def _aged(seen: Snapshot) -> Snapshot:
    """The snapshot with ages: three quarters of each region are idle for a minute."""
    count = len(seen)
    bucket = int(bucket_of(np.array([_MINUTE_NS]))[0])
    ages = PageAges(
        np.arange(count),
        np.full(count, bucket),
        seen.size * 3 // 4,
        np.zeros(count, np.int64),
        looked_ns=seen.end_ns,
        since_ns=seen.start_ns,
    )
    return dataclasses.replace(seen, page_ages=ages)


@pytest.mark.parametrize("dry_run", [True, False])
def test_idle_pages_go_and_the_pages_between_them_stay(
    disk: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    bounds: list[int] = []

    def idle_pages(
        mon: SamplingMonitor, process: object, start: int, end: int, idle_ns: int
    ) -> NDArray[np.bool_]:
        """Three pages of four in the file, and nothing else."""
        del mon, process, idle_ns
        address = np.arange(start, end, PAGE_SIZE)
        in_file = (address >= bounds[0]) & (address < bounds[1])
        idle: NDArray[np.bool_] = in_file & (address // PAGE_SIZE % 4 != 0)
        return idle

    monkeypatch.setattr(SamplingMonitor, "idle_pages", idle_pages)
    data = disk / "data"
    scheme = Scheme("pageout", AccessPattern(max_rate=0, min_age="30s"), grain="page")
    with running(sys.executable, "-c", _PROGRAM, str(data)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        line = re.search(rf"(\w+)-(\w+) .*{re.escape(str(data))}", maps)
        assert line is not None
        bounds += [int(line[1], 16), int(line[2], 16)]
        with (
            pydamon.monitor(process.pid, engine="sampling", cpu_budget_percent=20) as mon,
            pydamon.apply(mon, scheme, dry_run=dry_run) as applied,
        ):
            assert isinstance(applied, AppliedSchemes)
            applied.act_on(_aged(next(iter(mon))))
            (state,) = applied.schemes
            assert state.grain == "page"
            assert state.stats.sz_tried == 24 * MIB
            assert state.stats.nr_tried == 2048  # runs of three pages
            assert state.stats.sz_applied > 20 * MIB
            with TargetMemory(mon.layout.processes[0], mon.layout.mappings[0]) as memory:
                runs = memory.pages.runs(np.array([bounds], np.int64))
        in_memory = runs.bytes_with(PRESENT)
    assert in_memory == 32 * MIB if dry_run else in_memory < 12 * MIB


_COMB = """
import mmap, time
size = 64 << 20
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, size, mmap.PAGESIZE):
    memory[at] = 1
bounds = [line.split()[0] for line in open("/proc/self/maps")]
sizes = {(b := [int(x, 16) for x in bound.split("-")])[1] - b[0]: b[0] for bound in bounds}
print(sizes[max(sizes)], max(sizes), flush=True)
hot = [at for at in range(0, size, mmap.PAGESIZE) if at // mmap.PAGESIZE % 16 < 2]
while True:
    for at in hot:
        memory[at]
    time.sleep(0.02)
"""


@pytest.mark.long
def test_idle_pages_between_hot_ones_are_found_by_their_own_ages() -> None:
    """Two pages of 16 are in use: by regions nothing is idle."""
    fits = {}
    with running(sys.executable, "-c", _COMB) as process:
        assert process.stdout is not None
        start, size = map(int, process.stdout.readline().split())
        memory = Filter("addr", start=start, end=start + size, allow=True)
        for grain in ("page", "region"):
            idle = AccessPattern(max_rate=0, min_age="3s")
            scheme = Scheme("cold", idle, filters=[memory], grain=grain)
            with (
                pydamon.monitor(process.pid, engine="sampling", cpu_budget_percent=10) as mon,
                pydamon.apply(mon, scheme, dry_run=True) as applied,
            ):
                for _ in applied.run("10s"):
                    pass
            assert applied[0].grain == grain
            fits[grain] = applied[0].stats.sz_applied
    assert 0.9 * 56 * MIB <= fits["page"] <= 1.01 * 56 * MIB
    assert fits["region"] < 0.5 * fits["page"]
