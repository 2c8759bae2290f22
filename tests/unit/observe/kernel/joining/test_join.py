"""Joining on files that look like a kernel's, with events that the test makes.

Real kernels are tested in the virtual machine (tests/vm/test_join.py).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

import pydamon
from pydamon import Attrs, IntervalGoal, MonitorOptions, UsageError
from pydamon._observe.kernel import (
    Kdamond,
    KdamondSettings,
    KernelEngine,
    KernelTarget,
)
from pydamon._observe.monitor import PhysicalMemory, Processes
from pydamon._observe.start import ENGINES
from tests.unit.observe.kernel.fake import FakeFiles
from tests.unit.observe.kernel.joining.foreign import (
    EVENTS,
    KDAMOND,
    MS,
    OTHERS,
    PHYSICAL,
    READERS,
    Joining,
    add_module,
    add_thread,
    aggregation,
    needs_addresses,
    start_foreign,
)


def test_snapshots_are_what_the_foreign_kdamond_counted(
    files: FakeFiles, joining: Joining, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    before = files.tree()
    EVENTS[:] = [
        aggregation(0),
        aggregation(1000, (0, 0x1000, 0x3000, 20, 7), (0, 0x3000, 0x9000, 0, 3), lost=1),
        aggregation(1210, (0, 0x1000, 0x9000, 4, 0)),
    ]
    with joining() as mon:
        first, second = islice(mon, 2)
        assert (mon.engine, mon.probe_name, mon.scheme_runner) == ("kernel", "kernel", None)
        assert mon.attrs == Attrs.of("10ms", "200ms")
        assert mon.joined.startswith("kdamond.0 (pid 1) of sysfs monitors pid")
    assert [(r.start, r.end, r.nr_accesses, r.age) for r in first] == [
        (0x1000, 0x3000, 20, 7),
        (0x3000, 0x9000, 0, 3),
    ]
    assert first.max_nr_accesses == 20
    assert first.age_ns.tolist() == [1400 * MS, 600 * MS]
    assert (first.working_set(), first.window_ns) == (0x2000, 200 * MS)
    assert first.cost.late_ticks == 0  # nobody read before
    assert second.window_ns == 210 * MS
    assert second.start_ns == first.end_ns
    assert [target.name for target in first.targets] == ["sleep"]
    assert first.footprints[0].rss_bytes > 0
    # The kdamond is as it was, to the last file.
    assert files.written == []
    assert files.tree() == before
    assert [(reader.pid, reader.is_open) for reader in READERS] == [(KDAMOND, False)]


def test_it_ends_when_the_kdamond_ends(
    files: FakeFiles, joining: Joining, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    monkeypatch.setattr("pydamon._observe.kernel.join._LOOK_AGAIN_NS", 0)
    EVENTS[:] = [aggregation(0), aggregation(1000, (0, 0, 4096, 1, 1))]
    with joining() as mon:
        snapshots = iter(mon)
        next(snapshots)
        files.write("0/state", "off")
        files.write("nr_kdamonds", 0)
        monkeypatch.setattr("pydamon._observe.kernel.join.started_at", lambda _: 0)
        assert list(snapshots) == []


def test_it_follows_what_the_user_changes(
    files: FakeFiles, joining: Joining, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    monkeypatch.setattr("pydamon._observe.kernel.join._LOOK_AGAIN_NS", 0)
    EVENTS[:] = [
        aggregation(0),
        aggregation(1000, (0, 0, 4096, 1, 1)),
        aggregation(1400, (0, 0, 4096, 40, 1), (1, 0, 4096, 2, 2), (2, 0, 4096, 3, 3)),
    ]
    with subprocess.Popen(["/bin/sleep", "60"]) as other, joining() as mon:
        snapshots = iter(mon)
        assert next(snapshots).max_nr_accesses == 20
        targets = KernelTarget(sleeper), KernelTarget(other.pid)
        Kdamond(files).configure(KdamondSettings("vaddr", targets, Attrs.of("10ms", "400ms")))
        second = next(snapshots)
        other.kill()
    assert second.max_nr_accesses == 40
    # A target of which the files say nothing yet is left out.
    assert [target.pid for target in second.targets] == [sleeper, other.pid]
    assert second.nr_accesses.tolist() == [40, 2]


def test_some_targets_can_be_chosen(files: FakeFiles, joining: Joining, sleeper: int) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        start_foreign(files, KernelTarget(other.pid), KernelTarget(sleeper))
        EVENTS[:] = [aggregation(0), aggregation(9, (0, 0, 4096, 1, 1), (1, 4096, 8192, 2, 2))]
        with joining(Processes.of(sleeper)) as mon:
            snapshot = next(iter(mon))
        other.kill()
    assert [target.pid for target in snapshot.targets] == [sleeper]
    assert [(r.target.pid, r.start, r.nr_accesses) for r in snapshot] == [(sleeper, 4096, 2)]


def test_a_target_that_has_exited_keeps_its_place(files: FakeFiles, joining: Joining) -> None:
    with subprocess.Popen(["/bin/true"]) as gone, subprocess.Popen(["/bin/sleep", "60"]) as lives:
        files.write("nr_kdamonds", 1)
        gone.wait()
        pid = gone.pid
        start = KdamondSettings(
            "vaddr", (KernelTarget(lives.pid), KernelTarget(lives.pid)), Attrs()
        )
        Kdamond(files).configure(start)
        Kdamond(files).start()
        files._put("0/contexts/0/targets/0/pid_target", str(pid))
        EVENTS[:] = [aggregation(0), aggregation(9, (0, 0, 4096, 1, 1), (1, 4096, 8192, 2, 2))]
        with joining() as mon:
            snapshot = next(iter(mon))
        lives.kill()
    assert [target.name for target in snapshot.targets] == [f"pid {pid}", "sleep"]
    assert snapshot.target.tolist() == [0, 1]


@needs_addresses
def test_units_of_addresses_become_bytes(files: FakeFiles, joining: Joining) -> None:
    start_foreign(files, PHYSICAL, operations="paddr")
    files._put("0/contexts/0/addr_unit", "4096")
    EVENTS[:] = [aggregation(0), aggregation(9, (0, 1, 3, 1, 1))]
    for selection in (PhysicalMemory(), Processes(())):
        with joining(selection) as mon:
            snapshot = next(iter(mon))
        assert snapshot.targets[0].name == "physical memory"
        assert (snapshot.start.tolist(), snapshot.end.tolist()) == ([4096], [3 * 4096])


@needs_addresses
@pytest.mark.parametrize("says_interval", [False, True])
def test_the_intervals_of_damon_stat_are_known_by_its_events(
    joining: Joining, modules: Path, proc: Path, says_interval: bool
) -> None:
    said: dict[str, object] = {"aggr_interval_us": 800_000} if says_interval else {}
    add_module(modules, "damon_stat", enabled="Y", **said)
    add_thread(proc, 77, "kdamond.0")
    add_thread(proc, 78, "kdamond.fan", OTHERS)  # a process that has such a name
    region = (0, 0, 4096, 10, 2)
    EVENTS[:] = [aggregation(0), *(aggregation(ms, region) for ms in (1000, 1830, 2660, 4260))]
    with joining() as mon:
        assert "DAMON_STAT" in mon.joined
        assert "tuned by the kernel" in mon.joined
        snapshots = list(islice(mon, 4 if says_interval else 3))
    # Without the file nobody knows how long the first one was.
    windows = [s.window_ns // MS for s in snapshots]
    assert windows == ([800] if says_interval else []) + [830, 830, 1600]
    assert {s.max_nr_accesses for s in snapshots} == {20}
    sampling = [s.sampling_ns / MS for s in snapshots]
    expected = [40, 40, 40, 80] if says_interval else [41.5, 41.5, 80]
    assert sampling == expected
    assert [reader.pid for reader in READERS] == [77]


@needs_addresses
def test_an_interval_that_the_last_kdamond_left_behind_does_not_count(
    joining: Joining, modules: Path, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_module(modules, "damon_stat", enabled="Y", aggr_interval_us=1_600_000)
    add_thread(proc, 77)
    now_ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
    monkeypatch.setattr("pydamon._observe.kernel.join.started_at", lambda _: now_ticks)
    EVENTS[:] = [aggregation(0), *(aggregation(ms, (0, 0, 4096, 1, 2)) for ms in (1000, 1200))]
    with joining() as mon:
        assert next(iter(mon)).window_ns == 200 * MS


def test_tuned_intervals_of_sysfs_are_measured(
    files: FakeFiles, joining: Joining, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper), goal=IntervalGoal())
    EVENTS[:] = [aggregation(0), *(aggregation(ms, (0, 0, 4096, 1, 2)) for ms in (1000, 1400))]
    with joining() as mon:
        snapshot = next(iter(mon))
        assert mon.attrs.sampling_ns == 20 * MS
    assert snapshot.age_ns.tolist() == [800 * MS]


def test_long_aggregations_are_said(files: FakeFiles, joining: Joining, sleeper: int) -> None:
    start_foreign(files, KernelTarget(sleeper), attrs=Attrs.of("1s", "20s"))
    with joining() as mon:
        assert mon.caveat.startswith("a snapshot comes every 20 s")


def test_what_belongs_to_the_user_cannot_be_chosen(
    files: FakeFiles, joining: Joining, sleeper: int
) -> None:
    for option in ({"sample": "5ms"}, {"max_regions": 10}, {"goal": IntervalGoal()}):
        with pytest.raises(UsageError, match="cannot be chosen for a kdamond that is joined"):
            MonitorOptions(join=True, **option)
    start_foreign(files, KernelTarget(sleeper))
    for selection in (
        PhysicalMemory((0,)),
        PhysicalMemory((), "jobs"),
        Processes.of(sleeper, ranges=[(0, 4096)]),
    ):
        with pytest.raises(UsageError, match="cannot be limited"):
            joining(selection)
    with joining() as mon:
        with pytest.raises(UsageError, match="keeps its attributes"):
            mon.change(Attrs())
        with pytest.raises(pydamon.SchemeError):
            pydamon.apply(mon, pydamon.Scheme("pageout"))
    with pytest.raises(UsageError, match="only the kernel's DAMON can be joined"):
        pydamon.monitor(sleeper, engine="sampling", join=True)
    with pytest.raises(UsageError, match="a seed is for sampling"):
        pydamon.monitor(engine="kernel", options=MonitorOptions(join=True, seed=1))
    assert files.written == []


def test_join_is_an_option_of_monitor(
    files: FakeFiles, joining: Joining, sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    monkeypatch.setitem(ENGINES, "kernel", KernelEngine(files))
    # This machine may have a kdamond, too.
    monkeypatch.setattr(
        "pydamon._observe.kernel.join.running_kdamonds", lambda *_: joining.running()
    )
    ways: list[Callable[[], pydamon.Monitor]] = [
        lambda: pydamon.monitor(join=True),
        lambda: pydamon.monitor(engine="kernel", join=KDAMOND),
        lambda: pydamon.monitor(sleeper, options=MonitorOptions(join=str(KDAMOND))),
    ]
    for way in ways:
        EVENTS[:] = [aggregation(0), aggregation(9, (0, 0, 4096, 1, 1))]
        with way() as mon:
            assert mon.joined
            assert len(next(iter(mon))) == 1
    assert files.written == []


def test_a_duration_gives_a_snapshot_at_least(
    files: FakeFiles, joining: Joining, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    now_ms = time.monotonic_ns() // MS
    ends = (now_ms, now_ms + 200)
    EVENTS[:] = [aggregation(0), *(aggregation(ms, (0, 0, 4096, 1, 1)) for ms in ends)]
    with joining() as mon:
        assert len(list(mon.run("1ms"))) == 1
        mon.stop()
        assert list(mon) == []
