"""Joining on files that look like a kernel's, with events that the test makes.

Real kernels are tested in the virtual machine (tests/vm/test_join.py).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pydamon
from pydamon import Attrs, IntervalGoal, MonitorOptions, ProbeUnavailable, TargetError, UsageError
from pydamon._observe.kernel import (
    JoinedMonitor,
    Kdamond,
    KernelEngine,
    KernelTarget,
    RunningKdamond,
    Settings,
    running_kdamonds,
)
from pydamon._observe.kernel.join import choose_kdamond, open_joined
from pydamon._observe.kernel.reader import Aggregation, Reader
from pydamon._observe.kernel.running import Monitoring
from pydamon._observe.monitor import PhysicalMemory, Processes, Selection
from pydamon._observe.start import ENGINES
from tests.unit.observe.kernel.fake import NEW, FakeFiles

MS = 10**6
KTHREAD, OTHERS = 0x200000, 0x400000
KDAMOND = 1
"""The pid of the kdamond of `FakeFiles`."""


class FakeReader(Reader):
    """Gives the aggregations of `EVENTS`, one at each call."""

    waits = False

    def __init__(self, pid: int, targets: int) -> None:
        self.pid = pid
        self.left = list(EVENTS)
        self.is_open = True
        READERS.append(self)

    def read(self) -> Sequence[Aggregation]:
        return [self.left.pop(0)] if self.left else []

    def close(self) -> None:
        self.is_open = False


EVENTS: list[Aggregation] = []
READERS: list[FakeReader] = []


def aggregation(
    end_ms: int, *regions: tuple[int, int, int, int, int], lost: int = 0
) -> Aggregation:
    """An aggregation that ended after *end_ms*: target, start, end, accesses and age of regions."""
    columns = np.array(regions, np.int64).reshape(-1, 5).T
    target, start, end, nr_accesses, age = columns
    return Aggregation(end_ms * MS, target.astype(np.int32), start, end, nr_accesses, age, lost)


@pytest.fixture(autouse=True)
def _fake_events(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("pydamon._observe.kernel.join.EventReader", FakeReader)
    monkeypatch.setattr("pydamon._observe.kernel.join._SHORTEST_SLEEP_NS", 0)
    monkeypatch.setattr("pydamon._observe.kernel.join._LONGEST_SLEEP_NS", 0)
    yield
    EVENTS.clear()
    READERS.clear()


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path / "kdamonds", NEW)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc without kernel threads."""
    return _made(tmp_path / "proc")


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A /sys/module without DAMON's."""
    return _made(tmp_path / "module")


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def add_thread(proc: Path, pid: int, name: str = "kdamond.0", flags: int = KTHREAD) -> None:
    fields = f"{pid} ({name}) S 2 0 0 0 -1 {flags} " + "0 " * 12 + "1234 0"
    _made(proc / str(pid)).joinpath("stat").write_text(fields)


def add_module(modules: Path, name: str, **parameters: object) -> None:
    place = modules / name / "parameters"
    place.mkdir(parents=True)
    for parameter, value in parameters.items():
        (place / parameter).write_text(f"{value}\n")


def start_foreign(files: FakeFiles, *targets: KernelTarget, **settings: Any) -> None:
    """Somebody else starts a kdamond; what was written until then does not count."""
    operations = settings.pop("operations", "vaddr")
    attrs = settings.pop("attrs", Attrs.of("10ms", "200ms"))
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    kdamond.configure(Settings(operations, targets, attrs, **settings))
    kdamond.start()
    files.written.clear()


class Joining:
    """Joins what runs by these files."""

    def __init__(self, files: FakeFiles, modules: Path, proc: Path) -> None:
        self.files, self.modules, self.proc = files, modules, proc

    def __call__(
        self, selection: Selection | None = None, join: bool | int | str = True
    ) -> JoinedMonitor:
        return open_joined(
            selection or Processes(()),
            MonitorOptions(join=join),
            files=self.files,
            modules=self.modules,
            proc=self.proc,
        )

    def running(self) -> list[RunningKdamond]:
        return running_kdamonds(self.files, self.modules, self.proc)


@pytest.fixture
def joining(files: FakeFiles, modules: Path, proc: Path) -> Joining:
    return Joining(files, modules, proc)


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
        Kdamond(files).configure(Settings("vaddr", targets, Attrs.of("10ms", "400ms")))
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
        start = Settings("vaddr", (KernelTarget(lives.pid), KernelTarget(lives.pid)), Attrs())
        Kdamond(files).configure(start)
        Kdamond(files).start()
        files._put("0/contexts/0/targets/0/pid_target", str(pid))
        EVENTS[:] = [aggregation(0), aggregation(9, (0, 0, 4096, 1, 1), (1, 4096, 8192, 2, 2))]
        with joining() as mon:
            snapshot = next(iter(mon))
        lives.kill()
    assert [target.name for target in snapshot.targets] == [f"pid {pid}", "sleep"]
    assert snapshot.target.tolist() == [0, 1]


PHYSICAL = KernelTarget(0, ((0, 1 << 30),))
needs_addresses = pytest.mark.skipif(
    "00000000-00000000" in Path("/proc/iomem").read_text(), reason="only root may see addresses"
)


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


def test_tuned_intervals_of_sysfs_are_measured(
    files: FakeFiles, joining: Joining, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper), goal=IntervalGoal())
    EVENTS[:] = [aggregation(0), *(aggregation(ms, (0, 0, 4096, 1, 2)) for ms in (1000, 1400))]
    with joining() as mon:
        snapshot = next(iter(mon))
        assert mon.attrs.sampling_ns == 20 * MS
    assert snapshot.age_ns.tolist() == [800 * MS]


def test_nobody_is_one_clear_line(joining: Joining, proc: Path) -> None:
    with pytest.raises(ProbeUnavailable, match="nobody runs the kernel's DAMON now") as caught:
        joining()
    assert caught.value.hint == ""
    add_thread(proc, 5)
    with pytest.raises(ProbeUnavailable, match=r"kdamond.0 \(pid 5\) monitors, but no file says"):
        joining()


@needs_addresses
def test_several_are_told_apart_by_name(
    files: FakeFiles, joining: Joining, modules: Path, proc: Path, sleeper: int
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    add_thread(proc, KDAMOND, "kdamond.3")
    add_thread(proc, 90, "kdamond.4")
    add_module(
        modules,
        "damon_reclaim",
        enabled="Y",
        kdamond_pid=90,
        sample_interval=5000,
        aggr_interval=100_000,
        min_nr_regions=10,
        max_nr_regions=1000,
        autotune_monitoring_intervals="N",
        addr_unit=1,
    )
    assert [(k.pid, k.thread, k.user) for k in joining.running()] == [
        (KDAMOND, "kdamond.3", "sysfs"),
        (90, "kdamond.4", "DAMON_RECLAIM"),
    ]
    with pytest.raises(UsageError, match="2 kdamonds run: name one") as caught:
        joining()
    assert caught.value.hint.splitlines() == [k.describe() for k in joining.running()]
    for name in (90, "90", "kdamond.4", "damon_reclaim", "DAMON_RECLAIM"):
        with joining(join=name) as mon:
            assert "DAMON_RECLAIM" in mon.joined
            assert mon.attrs == Attrs()
    # A target says which one is meant, too.
    with joining(PhysicalMemory()) as mon:
        assert "pid 90" in mon.joined
    with joining(Processes.of(sleeper)) as mon:
        assert "sysfs" in mon.joined
    with pytest.raises(UsageError, match=r"no kdamond kdamond\.9 runs"):
        joining(join="kdamond.9")
    with pytest.raises(TargetError, match="no kdamond monitors pid 1"):
        joining(Processes.of(1))
    with pytest.raises(TargetError, match="physical memory"):
        joining(PhysicalMemory(), "kdamond.3")


def test_a_thread_of_nobody_is_not_taken_for_a_modules(
    joining: Joining, modules: Path, proc: Path
) -> None:
    add_module(modules, "damon_stat", enabled="Y", aggr_interval_us=100_000)
    add_thread(proc, 5)
    add_thread(proc, 6, "kdamond.1")
    assert [(k.pid, k.user, k.monitoring) for k in joining.running()] == [
        (5, "", None),
        (6, "", None),
    ]
    (modules / "damon_stat/parameters/kdamond_pid").write_text("6\n")
    assert [k.user for k in joining.running()] == ["", "DAMON_STAT"]


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        ((0, 0, 0, 0, 0), Attrs(1000, 1000, 10**9, 3, 3)),
        ((5000, 100, 1, 10, 2), Attrs(5 * MS, 5 * MS, 10**9, 10, 10)),
        ((5000, 2 * 10**6, 10**6, 10, 1000), Attrs(5 * MS, 2 * 10**9, 2 * 10**9)),
    ],
)
def test_attributes_that_pydamon_would_refuse_are_read(
    files: FakeFiles, joining: Joining, sleeper: int, values: tuple[int, ...], attrs: Attrs
) -> None:
    start_foreign(files, KernelTarget(sleeper))
    names = ("intervals/sample_us", "intervals/aggr_us", "intervals/update_us")
    for name, value in zip((*names, "nr_regions/min", "nr_regions/max"), values, strict=True):
        files._put(f"0/contexts/0/monitoring_attrs/{name}", str(value))
    with joining() as mon:
        assert mon.attrs == attrs
        assert mon.caveat == ""


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


def test_who_cannot_be_told_is_no_candidate_for_a_target() -> None:
    unknown = RunningKdamond(7, "kdamond.0", "")
    known = RunningKdamond(8, "kdamond.1", "sysfs", None, Monitoring("vaddr", (3,), Attrs()))
    assert choose_kdamond([unknown, known], True, [3]) is known
    assert choose_kdamond([unknown], True) is unknown
    assert known.read_again() is None
    gone = replace(known, place=Path("/nonexistent"))
    assert gone.read_again() is None
