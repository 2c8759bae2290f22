"""Joining a kdamond that somebody else runs, in the virtual machine: it never notices."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

import pydamon
from pydamon import ProbeUnavailable, TargetError, UsageError
from pydamon._act.kernel import StatModule
from pydamon._observe.kernel import Kdamond, KernelTarget
from pydamon._observe.kernel.claim import started_at
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.linux.monitors import MODULES
from tests.integration.conftest import running
from tests.unit.observe.kernel.conftest import kdamonds, kernel_threads, needs_damon
from tests.vm.conftest import ATTRS, foreign

pytestmark = [pytest.mark.live, needs_damon]

PYDAMON = (sys.executable, "-m", "pydamon")
JOINS, KILLS = 200, 20
COST_ROUNDS, COST_S = 5, 8


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    assert kdamonds() == kernel_threads() == 0
    yield
    assert kdamonds() == kernel_threads() == 0


def everything() -> tuple[str, int]:
    """A hash of all files of DAMON and of its modules, and how many there are.

    DAMON_STAT's figures change by themselves.
    """
    roots = (ADMIN.parents[0], *(MODULES / f"damon_{name}" for name in ("reclaim", "lru_sort")))
    files = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path} {path.stat().st_mode:o} ".encode())
        digest.update(path.read_bytes() if path.stat().st_mode & 0o400 else b"")
    return digest.hexdigest(), len(files)


def look_on_until_killed() -> None:
    """Join in a process of its own, and kill it with SIGKILL in the middle."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with pydamon.monitor(engine="kernel", join=True) as mon:
                for _ in mon:
                    os.write(writing, b"x")
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)


def test_a_foreign_kdamond_is_as_it_was_to_the_last_file(program: int) -> None:
    with foreign(KernelTarget(program)) as pid:
        before, started = everything(), started_at(pid)
        for number in range(JOINS):
            with pydamon.monitor(engine="kernel", join=True) as mon:
                if number % 10 == 0:
                    snapshot = next(iter(mon))
                    assert ATTRS.min_regions // 2 <= len(snapshot) <= ATTRS.max_regions
        assert everything() == before
        for _ in range(KILLS):
            look_on_until_killed()
        assert everything() == before
        assert (Kdamond(Files(ADMIN)).pid, started_at(pid)) == (pid, started)
        print(f"{before[1]} files are the same after {JOINS} joins and {KILLS} kills")


@pytest.mark.parametrize("number", [1, 2], ids=["a target", "two targets"])
def test_snapshots_are_the_regions_that_the_owner_reads(program: int, number: int) -> None:
    targets = [KernelTarget(program), KernelTarget(os.getpid())][:number]
    snapshots: list[pydamon.Snapshot] = []
    enough = Event()
    with foreign(*targets), pydamon.monitor(engine="kernel", join=True) as mon:

        def look_on() -> None:
            for snapshot in mon:
                snapshots.append(snapshot)
                if enough.is_set():
                    break

        looking = Thread(target=look_on)
        looking.start()
        kdamond = Kdamond(Files(ADMIN))
        tried = [kdamond.tried_regions() for _ in range(8)]
        time.sleep(1)
        enough.set()
        looking.join()
    seen = {_rows(s.start, s.end, s.nr_accesses, s.age) for s in snapshots}
    same = [_rows(*regions.T) in seen for regions in tried]
    print(f"{sum(same)} of {len(tried)} looks by the owner are among {len(seen)} snapshots")
    assert all(same)
    assert {snapshot.max_nr_accesses for snapshot in snapshots} == {20}
    assert all(snapshot.cost.late_ticks == 0 for snapshot in snapshots)


def _rows(*columns: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> bytes:
    return np.array(columns, np.int64).tobytes()


def test_the_end_of_the_kdamond_is_the_end(program: int) -> None:
    with foreign(KernelTarget(program)):
        mon = pydamon.monitor(engine="kernel", join=True)
        snapshots = iter(mon)
        next(snapshots)
    with mon:
        began_s = time.monotonic()
        assert len(list(snapshots)) < 20
        assert time.monotonic() - began_s < 10
    with pytest.raises(ProbeUnavailable, match="nobody runs"):
        pydamon.monitor(engine="kernel", join=True)


def test_the_command_line_joins_and_the_doctor_tells(program: int, tmp_path: Path) -> None:
    path = tmp_path / "joined.damon"
    with foreign(KernelTarget(program)) as pid:
        before = everything()
        said = subprocess.run([*PYDAMON, "doctor", "--json"], capture_output=True, check=False)
        report = json.loads(said.stdout)
        assert "--join" in report["machine"]["DAMON"]
        (running_now,) = report["kdamonds"]
        assert (running_now["pid"], running_now["pids"]) == (pid, [program])
        assert running_now["name"].startswith("kdamond.")
        assert (running_now["sampling_us"], running_now["max_regions"]) == (5000, 100)
        done = subprocess.run(
            [*PYDAMON, "record", "--engine", "kernel", "--join", "-d", "2s", "-o", str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"(pid {pid}) of sysfs" in done.stderr
        # A recorder that is killed leaves a recording, and the kdamond as it was.
        killed = tmp_path / "killed.damon"
        with running(*PYDAMON, "record", str(program), "--join", str(pid), "-o", killed) as process:
            deadline_s = time.monotonic() + 60
            while not killed.exists() or killed.stat().st_size < 20_000:
                assert time.monotonic() < deadline_s
                time.sleep(0.2)
            process.kill()
        assert everything() == before
    for file in (path, killed):
        recording = pydamon.read_recording(file)
        snapshot = recording.snapshot(-1)
        assert {target.pid for target in snapshot.targets} == {program}
        assert recording.column("nr_accesses").max() > 0


def test_who_is_meant_must_exist(program: int) -> None:
    with foreign(KernelTarget(program)) as pid:
        with pytest.raises(UsageError, match="no kdamond 1 runs"):
            pydamon.monitor(join=1)
        with pytest.raises(TargetError, match="no kdamond monitors pid"):
            pydamon.monitor(os.getpid(), join=pid)
        with pytest.raises(ProbeUnavailable, match="in use") as caught:
            pydamon.monitor(program, engine="kernel")
        assert "join=True" in caught.value.hint


def test_damon_stat_is_joined() -> None:
    module = StatModule()
    if not module.available:
        pytest.skip("this kernel has no DAMON_STAT, which came with Linux 6.17")
    module.start()
    try:
        before = everything()
        with pydamon.monitor_physical(join=True) as mon:
            assert "DAMON_STAT" in mon.joined
            snapshots = list(islice(mon, 4))
        time.sleep(15)  # from then on its file counts
        with pydamon.monitor_physical(join=True) as mon:
            snapshots += islice(mon, 2)
        assert module.status().enabled
        assert everything() == before
    finally:
        StatModule().stop()
    print([(s.window_ns / 1e6, s.sampling_ns / 1e6, len(s)) for s in snapshots])
    for snapshot in snapshots:
        assert snapshot.max_nr_accesses == 20
        assert snapshot.targets[0].name == "physical memory"
        assert snapshot.sampling_ns * 20 == pytest.approx(snapshot.window_ns, rel=0.5)


def test_what_joining_costs(program: int) -> None:
    """The kdamond's CPU with and without one who looks on, and that one's own, per aggregation."""
    with foreign(KernelTarget(program)) as pid:
        alone, joined, own, snapshots = [], [], [], 0
        for _ in range(COST_ROUNDS):
            before_ns = _cpu_ns(pid)
            time.sleep(COST_S)
            alone.append(_cpu_ns(pid) - before_ns)
            with pydamon.monitor(engine="kernel", join=True) as mon:
                begin_ns = time.process_time_ns()
                before_ns = _cpu_ns(pid)
                regions = [len(snapshot) for snapshot in mon.run(f"{COST_S}s")]
                joined.append(_cpu_ns(pid) - before_ns)
                own.append(time.process_time_ns() - begin_ns)
                snapshots += len(regions)
    cost = {
        "kdamond_alone_percent": [round(ns / COST_S / 1e7, 3) for ns in alone],
        "kdamond_joined_percent": [round(ns / COST_S / 1e7, 3) for ns in joined],
        "pydamon_percent": [round(ns / COST_S / 1e7, 3) for ns in own],
        "pydamon_us_a_snapshot": round(sum(own) / snapshots / 1000),
        "regions": int(np.median(regions)),
        "snapshots": snapshots,
    }
    print(cost)
    Path("/tmp/results").mkdir(exist_ok=True)
    Path(f"/tmp/results/join-cost-{platform.release()}.json").write_text(json.dumps(cost))
    # A listener makes the kernel write an event for each region; that must stay a part of it all.
    assert np.median(joined) < 2 * np.median(alone)


def _cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
