"""Workloads do what they record: their ground truth against an exact scan, and a simulation.

Private names: the exact scan comes from the ebpf probe, which has no public interface.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pydamon
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from pydamon.workloads import PATTERNS, Workload, parse, pattern
from tests.integration.conftest import MIB, needs

SMALL = """
a, 8388608
b, 6000000

walk
60000
a, 0, 65536, 1, ro
b, 0, 64, 1, wo
"""
SHORT = """
a, 1048576
b, 1048576

first
200
a, 0, 4096, 1

second
200
b, 1, 0, 1, rw
"""


@pytest.mark.live
@needs("ebpf")
@pytest.mark.parametrize(
    "workload", [Workload("small", "", parse(SMALL)), PATTERNS["hotspots"]], ids=["small", "spots"]
)
def test_the_truth_equals_an_exact_scan(workload: Workload) -> None:
    with workload.start() as running, EbpfProbe().open() as session:
        process = Process(running.pid)
        session.set_targets([process], [parse_maps(read_maps(running.pid))])
        regions = running.truth.regions
        for start, end in regions.values():
            session.scan(0, start, end, clear=True)
        begin_ns = time.monotonic_ns()
        time.sleep(0.3)
        # The workload may have waited for a CPU between two reports.
        end_ns = time.monotonic_ns()
        time.sleep(0.1)
        accessed = {
            name: session.scan(0, start, end, clear=False).accessed
            for name, (start, end) in regions.items()
        }
        pages = running.truth.pages(begin_ns, end_ns)
        process.close()
    for truth in pages:
        bits = accessed[truth.region]
        assert set(np.unique(truth.chance)) <= {0.0, 1.0}
        expected = truth.chance[: len(bits)] == 1
        assert bits[expected].sum() == expected.sum()
        # A few pages are too new to be cleared.
        assert bits[~expected].sum() <= 64


@pytest.mark.live
def test_phases_run_in_order_until_the_end() -> None:
    workload = Workload("short", "", parse(SHORT), repeat=False)
    with workload.start() as running:
        time.sleep(0.7)
        first, second = running.truth.phases
        assert (first.number, second.number) == (0, 1)
        assert first.end_ns == second.start_ns
        assert first.end_ns - first.start_ns == pytest.approx(200e6, rel=0.5)
        a, b = running.truth.pages(first.start_ns, first.start_ns + 10**8)
        assert a.accessed_bytes == MIB
        assert b.accessed_bytes == 0
        a, b = running.truth.pages(second.start_ns, second.start_ns + 10**8)
        assert a.accessed_bytes == 0
        assert b.accessed_bytes == pytest.approx(MIB, rel=0.01)
        assert running.truth.phase_at(first.start_ns + 1) is first
        assert running.truth.accesses(first.start_ns, first.end_ns) > 0
        with pytest.raises(pydamon.TargetError, match="has it ended"):
            running.truth.pages(first.start_ns, time.monotonic_ns())


@pytest.mark.live
def test_a_region_starts_with_the_content_of_a_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"x" * 10_000)
    config = parse(f"a, 20000, {data}\n\nidle\n1000")
    with Workload("file", "", config).start() as running:
        start, end = running.truth.regions["a"]
        assert end - start == 20_000
        with Path(f"/proc/{running.pid}/mem").open("rb") as memory:
            memory.seek(start)
            assert memory.read(10_001) == b"x" * 10_000 + b"\0"


@pytest.mark.live
def test_no_process_is_left() -> None:
    workload = replace(pattern("shared"), processes=3)
    with workload.start() as running:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        assert len(children) == 2
        pids = [running.pid, *map(int, children)]
    deadline_s = time.monotonic() + 5
    while any(_runs(int(pid)) for pid in children) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not any(map(_runs, pids))


@pytest.mark.live
def test_a_workload_ends_with_its_parent() -> None:
    text = (
        "import os\n"
        "from pydamon.workloads import pattern\n"
        "with pattern('tlb').start() as running:\n"
        "    print(running.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, check=False)
    pid = int(ended.stdout)
    deadline_s = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.live
def test_a_workload_that_cannot_start(tmp_path: Path) -> None:
    config = parse(f"a, 4096, {tmp_path / 'missing'}\n\nidle\n1000")
    with (
        pytest.raises(pydamon.TargetError, match="did not start"),
        Workload("x", "", config).start(),
    ):
        pass


def test_an_unknown_name() -> None:
    with pytest.raises(pydamon.UsageError, match="no workload 'stair'"):
        pattern("stair")


def test_a_workload_can_be_simulated() -> None:
    simulated = PATTERNS["hotspots"].simulated()
    *_, snapshot = pydamon.simulate(simulated.trace, simulated.ranges).run("3s")
    hot = sum(end - start for name, (start, end) in simulated.regions.items() if "hot" in name)
    assert snapshot.working_set() == pytest.approx(hot, rel=0.05)
