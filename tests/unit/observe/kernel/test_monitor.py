"""A monitor on files that look like a kernel's: what it writes, and what it reads.

Real kernels are tested in the virtual machine (test_real.py).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import pydamon
from pydamon import AccessPattern, KernelError, ProbeUnavailable, Quota, Scheme, UsageError
from pydamon._observe.kernel import KernelMonitor
from pydamon._observe.kernel.kdamond import Kdamond
from tests.unit.observe.kernel.conftest import kernel_monitor
from tests.unit.observe.kernel.fake import NEW, OLD, FakeFiles

HOT = (0x10000, 0x20000, 20, 7)
COLD = (0x20000, 0x80000, 0, 3)


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    files = FakeFiles(tmp_path / "kdamonds")
    files.regions = [HOT, COLD]
    return files


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def watching(files: FakeFiles, pid: int, **options: Any) -> KernelMonitor:
    options = {"cpu_budget_percent": None} | options
    return kernel_monitor(
        pid, files=files, state=files.root.parent / "run", events=False, **options
    )


def test_a_kernel_that_cannot_be_switched_on_is_not_to_be_had(
    files: FakeFiles, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Mock(side_effect=KernelError("cannot write 'on': Invalid argument"))
    monkeypatch.setattr(Kdamond, "start", refused)
    with pytest.raises(ProbeUnavailable, match="Invalid argument"):
        watching(files, sleeper.pid)
    assert files.tree() == {"nr_kdamonds": "0\n"}


def test_snapshots_are_what_the_kernel_counted(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    with watching(files, sleeper.pid) as mon:
        snapshots = list(islice(mon, 3))
        assert (mon.engine, mon.probe_name) == ("kernel", "kernel")
        assert mon.fallback_reasons == {}
    for snapshot in snapshots:
        assert [(r.start, r.end, r.nr_accesses, r.age) for r in snapshot] == [HOT, COLD]
        assert snapshot.max_nr_accesses == 20
        assert snapshot.working_set() == 0x10000
        assert [target.pid for target in snapshot.targets] == [sleeper.pid]
        assert snapshot.targets[0].name == "sleep"
        assert snapshot.footprints[0].vsz_bytes > snapshot.footprints[0].rss_bytes > 0
        assert snapshot.start_ns < snapshot.end_ns
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(snapshots))
    assert files.tree() == {"nr_kdamonds": "0\n"}


def test_attributes_change_while_it_runs(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    with watching(files, sleeper.pid) as mon:
        snapshots = iter(mon)
        next(snapshots)
        mon.change(pydamon.Attrs.of("1ms", "50ms"))
        assert ("0/state", "commit") in files.written
        path = "0/contexts/0/monitoring_attrs/intervals"
        assert files.number(f"{path}/aggr_us") == 50_000
        assert next(snapshots).max_nr_accesses == 50


def test_a_budget_stretches_the_kernels_intervals(
    files: FakeFiles, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydamon._observe.kernel.monitor._CHANGE_REST_NS", 0)
    with watching(files, sleeper.pid, cpu_budget_percent=0.01) as mon:
        list(islice(mon, 5))
        assert mon.attrs.aggregation_ns > 200 * 10**6
        path = "0/contexts/0/monitoring_attrs/intervals"
        assert files.number(f"{path}/aggr_us") == mon.attrs.aggregation_ns // 1000


def test_the_end_of_the_target_is_the_end(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    with watching(files, sleeper.pid) as mon:
        snapshots = iter(mon)
        next(snapshots)
        sleeper.kill()
        sleeper.wait()
        files.die()
        files.regions = []
        assert len(list(snapshots)) <= 1


@pytest.mark.parametrize("release", [OLD, NEW])
def test_new_children_become_targets(tmp_path: Path, release: str) -> None:
    files = FakeFiles(tmp_path / "kdamonds", release)
    files.regions = [HOT, COLD]
    text = "read x; sleep 60 & read x; kill $!; wait; sleep 61 & read x; kill $!"
    pipe = subprocess.PIPE
    with subprocess.Popen(["/bin/sh", "-c", text], stdin=pipe) as shell:
        assert shell.stdin is not None
        with watching(files, shell.pid, update="100ms") as mon:
            count = []
            for number, _ in zip(range(100), mon, strict=False):
                if number in (2, 50):
                    shell.stdin.write(b"\n")
                    shell.stdin.flush()
                count.append(len(mon.layout.targets))
            # The second child came as the first went: an old kernel had to begin anew for that.
            assert files.written.count(("0/state", "on")) == (2 if release == OLD else 1)
            pids = [files.number(f"0/contexts/0/targets/{n}/pid_target") for n in range(2)]
            assert count[0] == 1
            assert max(count) == 2
            assert pids[0] == shell.pid
            assert pids == [target.pid for target in mon.layout.targets]
        shell.stdin.close()
        shell.kill()


def test_a_kernel_that_stops_for_no_reason_is_started_again(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    with watching(files, sleeper.pid, sample="1ms", aggr="5ms") as mon:
        snapshots = iter(mon)
        next(snapshots)
        files.die()
        assert len(next(snapshots)) == 2
        assert files.read("0/state") == "on"


def test_ranges_are_given_to_the_kernel(files: FakeFiles, sleeper: subprocess.Popen[bytes]) -> None:
    with watching(files, sleeper.pid, ranges=[(0x10000, 0x80000)]):
        assert files.read("0/contexts/0/operations") == "fvaddr"
        assert files.number("0/contexts/0/targets/0/regions/0/start") == 0x10000


def test_physical_memory_is_told_apart_by_node(files: FakeFiles) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may know where physical memory lies")
    state = files.root.parent / "run"
    with kernel_monitor(files=files, state=state, events=False) as mon:
        assert files.read("0/contexts/0/operations") == "paddr"
        (target,) = mon.layout.targets
        assert target.pid == 0
        low, high = target.mappings.mappings[-1].start, target.mappings.mappings[-1].end
        files.regions = [(low, high, 3, 1)]
        snapshot = next(iter(mon))
        mapping = snapshot[0].mapping
        assert mapping is not None
        assert mapping.name.startswith("node ")
    with pytest.raises(UsageError, match="no memory node 99"):
        kernel_monitor(files=files, state=state, nodes=[99])
    assert files.tree() == {"nr_kdamonds": "0\n"}


def test_what_this_kernel_lacks_leaves_nothing_behind(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(ProbeUnavailable, match=r"6\.15"):
        watching(files, sleeper.pid, goal=pydamon.IntervalGoal())
    assert files.tree() == {"nr_kdamonds": "0\n"}


def test_tuned_intervals_are_followed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    files = FakeFiles(tmp_path / "kdamonds", NEW)
    files.regions = [HOT]
    path = "0/contexts/0/monitoring_attrs/intervals"

    def tuned(word: str) -> None:
        if word == "update_tuned_intervals":
            files._put(f"{path}/sample_us", "20000")
            files._put(f"{path}/aggr_us", "400000")

    files.on_command = tuned
    goal = pydamon.IntervalGoal()
    with watching(files, sleeper.pid, goal=goal, update="100ms") as mon:
        for snapshot, _ in zip(mon, range(400), strict=False):
            assert snapshot.max_nr_accesses == 20
            if mon.attrs.aggregation_ns == 400 * 10**6:
                break
        assert mon.attrs.sampling_ns == 20 * 10**6


def test_a_duration_is_kept(files: FakeFiles, sleeper: subprocess.Popen[bytes]) -> None:
    with watching(files, sleeper.pid) as mon:
        snapshots = list(mon.run("300ms"))
        assert snapshots
        with pytest.raises(UsageError):
            mon.run("0s")
    assert files.release == OLD


def test_every_region_is_read_whatever_schemes_there_are(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    files.regions_by_action["pageout"] = [COLD]
    with watching(files, sleeper.pid) as mon:
        with pydamon.apply(mon, Scheme("pageout", AccessPattern(max_rate=0))) as applied:
            assert [len(snapshot) for snapshot in islice(applied, 2)] == [2, 2]
        assert len(next(iter(mon))) == 2


def test_a_monitor_of_the_kernels_runs_schemes_and_controls_no_pages(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    with watching(files, sleeper.pid) as mon:
        assert mon.page_control is None
        runner = mon.scheme_runner
        runner.set_schemes([Scheme("stat")])
        assert [scheme.action for scheme in runner.schemes] == ["stat"]
        assert len(runner.stats()) == 1
        with pydamon.apply(mon, Scheme("cold")) as applied:
            assert isinstance(applied, pydamon.Applied)
            assert (len(applied), applied.complaints(), applied[0].tried) == (1, [], ())
        idle = pydamon.AccessPattern(max_rate=0)
        with pydamon.apply(mon, Scheme("cold", idle, grain="page")) as applied:
            assert applied[0].grain == "region"
            assert applied.complaints() == ["cold: acts on regions, as the kernel's DAMON does"]
            assert applied.complaints() == []
        # A dry run is about resident memory, of which only pydamon knows.
        with pydamon.apply(mon, Scheme("stat"), dry_run=True):
            assert runner.schemes == ()
    sampled = pydamon.simulate(pydamon.Trace((pydamon.Phase(10**9),)), [(0, 1 << 20)])
    assert sampled.scheme_runner is None
    assert sampled.page_control is not None
    assert sampled.kdamond_cpu_ns == 0


def test_schemes_are_given_to_the_kernel_and_taken_away(
    files: FakeFiles, sleeper: subprocess.Popen[bytes]
) -> None:
    cold = Scheme("pageout", AccessPattern(max_rate=0), quota=Quota(bytes="1M"))
    place = "0/contexts/0/schemes"
    with watching(files, sleeper.pid) as mon:
        with pydamon.apply(mon, cold) as applied:
            assert files.read(f"{place}/0/action") == "pageout"
            files._put(f"{place}/0/stats/sz_tried", "4096")
            files._put(f"{place}/0/quotas/effective_bytes", "1000")
            assert len(next(iter(applied)))
            assert applied[0].stats.sz_tried == 4096
            assert applied[0].effective_bytes == 1000
        with pydamon.apply(mon, cold, dry_run=True):
            assert files.read(f"{place}/0/action") == "stat"
        before = files.tree()
        for wrong in (Scheme("collapse"), Scheme(lambda region: region.size)):
            with pytest.raises(pydamon.PydamonError):
                pydamon.apply(mon, cold, wrong)
            assert files.tree() == before
        assert len(next(iter(mon)))
