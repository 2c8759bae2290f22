"""The kernel's own DAMON, in the virtual machine."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise, product
from mmap import PAGESIZE
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from attrs import evolve

import pydamon
from pydamon import (
    AccessPattern,
    Attrs,
    Filter,
    Goal,
    KernelError,
    ProbeError,
    ProbeUnavailable,
    Quota,
    Scheme,
    Watermarks,
    Weights,
)
from pydamon._act.kernel import LruSortModule, ReclaimModule, StatModule
from pydamon._cli.main import COMMANDS, main
from pydamon._model.schemes.limits import METRICS
from pydamon._model.schemes.matching import FILTERS
from pydamon._observe.kernel import (
    Claim,
    Kdamond,
    KdamondSettings,
    KernelTarget,
    leftover,
    remove_leftover,
)
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.kernel.scheme import KERNEL_ACTIONS
from pydamon._workloads import QUARTER
from tests.integration.conftest import MIB, Program, huge_bytes, open_files, running
from tests.integration.test_monitor import told_right
from tests.integration.test_top import terminal
from tests.unit.observe.kernel.conftest import (
    kdamonds,
    kernel_monitor,
    kernel_threads,
    needs_damon,
)

pytestmark = [pytest.mark.live, needs_damon]

PYDAMON = (sys.executable, "-m", "pydamon")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    assert kdamonds() == 0
    yield
    assert kdamonds() == 0
    assert kernel_threads() == 0


PARTS = ("num", "denom")
SLOWLY: dict[str, Any] = {"sample": "25ms", "aggr": "500ms", "cpu_budget_percent": None}
"""Intervals in which an emulated CPU gets around to everything."""
_CPU = max(os.sched_getaffinity(0))
HERE = ("taskset", "--cpu-list", str(_CPU))
"""On a CPU of its own, where only `_busy` is besides."""


@pytest.fixture
def _busy() -> Iterator[None]:
    """Somebody else on the program's CPU, so that its TLB is flushed now and then.

    The kernel's DAMON does not flush it, and an emulated CPU's holds all of a program.
    """
    with running(*HERE, sys.executable, "-c", "while True: pass"):
        yield


@pytest.fixture
def quarter(_busy: None) -> Iterator[Program]:
    """A program that touches a quarter of its 64 MiB all the time."""
    with running(*HERE, sys.executable, QUARTER, "64") as process:
        assert process.stdout is not None
        start, hot, size = (int(word, 16) for word in process.stdout.readline().split())
        yield Program(process.pid, start, hot, size)


@pytest.fixture
def sleeper() -> Iterator[int]:
    with running("/bin/sleep", "600") as process:
        yield process.pid


@pytest.fixture
def foreign(sleeper: int) -> Iterator[Files]:
    """A kdamond that somebody started by hand, with a scheme."""
    files = Files(ADMIN)
    files.write("nr_kdamonds", 1)
    settings = KdamondSettings(
        "vaddr", (KernelTarget(sleeper),), Attrs(), schemes=(Scheme("stat"),)
    )
    kdamond = Kdamond(files)
    kdamond.configure(settings)
    kdamond.start()
    yield files
    kdamond.stop()
    files.write("nr_kdamonds", 0)


@pytest.mark.parametrize("events", [True, False], ids=["events", "files"])
def test_a_hot_quarter_is_found(quarter: Program, events: bool) -> None:
    with kernel_monitor(quarter.pid, events=events, **SLOWLY) as mon:
        snapshots = list(mon.run("10s"))
    told = np.array([told_right(snapshot, quarter) for snapshot in snapshots[-5:]])
    assert np.median(told, axis=0).min() >= 0.95
    assert np.median([s.cost.cpu_ns for s in snapshots]) > 0
    if events:
        assert all(snapshot.cost.late_ticks == 0 for snapshot in snapshots)
        gaps = [b.start_ns - a.end_ns for a, b in pairwise(snapshots)]
        assert max(map(abs, gaps)) < 10**6  # one window follows the other


def test_physical_memory_has_as_much_in_use(quarter: Program) -> None:
    with pydamon.monitor_physical(**SLOWLY) as mon:
        assert mon.engine == "kernel"
        snapshots = list(mon.run("12s"))
    working_set = np.median([s.working_set() for s in snapshots[-5:]])
    assert 0.7 * quarter.hot < working_set < 4 * quarter.hot
    names = {region.mapping.name for region in snapshots[-1] if region.mapping}
    assert names == {path.name.replace("node", "node ") for path in _nodes()}
    for mapping in snapshots[-1].targets[0].mappings.mappings:
        # Every region is of one node.
        straddling = (snapshots[-1].start < mapping.end) & (mapping.end < snapshots[-1].end)
        assert not straddling.any()


def test_a_single_node() -> None:
    last = len(_nodes()) - 1
    with pydamon.monitor_physical(nodes=[last]) as mon:
        snapshot = next(iter(mon))
    assert {region.mapping.name for region in snapshot if region.mapping} == {f"node {last}"}


@pytest.mark.usefixtures("_busy")
def test_a_cgroup_is_told_apart_in_physical_memory() -> None:
    group = Path("/sys/fs/cgroup/pydamon-test")
    (group.parent / "cgroup.subtree_control").write_text("+memory")
    group.mkdir()
    try:
        argv = ("/bin/sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh")
        with running(*argv, *HERE, sys.executable, QUARTER, "64") as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pydamon.monitor_physical(cgroup="pydamon-test", **SLOWLY) as mon:
                snapshots = list(mon.run("12s"))
        working_set = np.median([s.working_set() for s in snapshots[-5:]])
        assert 0.8 * 16 * MIB < working_set < 1.6 * 16 * MIB
        with pytest.raises(pydamon.TargetError, match="no cgroup"):
            pydamon.monitor_physical(cgroup="nowhere")
    finally:
        time.sleep(0.2)
        group.rmdir()


def test_given_ranges_are_watched_and_nothing_else(quarter: Program) -> None:
    low, high = quarter.start, quarter.start + quarter.hot
    with kernel_monitor(quarter.pid, ranges=[(low, high)], **SLOWLY) as mon:
        *_, snapshot = mon.run("4s")
    assert snapshot.start.min() == low
    assert snapshot.end.max() == -(-high // PAGESIZE) * PAGESIZE
    assert snapshot.working_set() > 0.9 * quarter.hot


def test_children_are_followed_as_they_come_and_go() -> None:
    child = f"{sys.executable} {QUARTER} 16 >/dev/null"
    text = f"echo ready; read x; {child} & read x; kill $!; wait; {child} & read x"
    with running("/bin/sh", "-c", text) as shell:
        assert shell.stdin is not None
        seen: set[int] = set()
        ages = []
        with kernel_monitor(shell.pid, **SLOWLY) as mon:
            forgets = (ADMIN / "0/contexts/0/targets/0/obsolete_target").exists()
            for snapshot in mon.run("90s"):
                assert len(snapshot)
                ages.append(max(r.age for r in snapshot if r.target.pid == shell.pid))
                now = {target.pid for target in mon.layout.targets}
                if now - seen:  # somebody new: go on to the next one
                    shell.stdin.write("\n")
                    shell.stdin.flush()
                seen |= now
                if len(seen) == 3:
                    break
            # The first child was gone when the second came: the kernel began anew without it, or,
            # since Linux 6.19, went on without it.
            assert forgets == (ages[-1] > len(ages) // 2)
            watched = {target.pid for target in snapshot.targets}
        assert len(seen) == 3
        assert len(watched) == 2
        assert shell.pid in watched
        shell.stdin.close()


def test_the_end_of_the_target_is_the_end() -> None:
    with running("/bin/sleep", "2") as process, kernel_monitor(process.pid) as mon:
        begin_s = time.monotonic()
        snapshots = list(mon)
    assert snapshots
    assert time.monotonic() - begin_s < 10


def test_the_kernel_looks_where_it_is_asked_to(sleeper: int) -> None:
    with pydamon.monitor(sleeper, engine="kernel") as mon:
        assert mon.engine == "kernel"
        assert len(next(iter(mon)))
    with pydamon.monitor(sleeper) as mon:
        assert mon.engine == "sampling"


def test_a_recording_by_the_kernel_is_like_any_other(quarter: Program, tmp_path: Path) -> None:
    out = tmp_path / "k.damon"
    code, said = _ran("record", "--engine", "kernel", "-d", "4s", "-o", out, quarter.pid)
    assert code == 0, said
    assert "the kernel's DAMON" in said
    recording = pydamon.read_recording(out)
    assert recording.complete
    assert recording.info.probe == "kernel"
    for report in ("access", "heatmap", "wss"):
        code, said = _ran("report", report, out)
        assert code == 0, said
        assert said


def test_commands_that_end_at_once_leave_nothing(tmp_path: Path) -> None:
    for number in range(15):
        out = tmp_path / f"{number}.damon"
        code, said = _ran(
            "record", "--engine", "kernel", "-o", out, "--", "/bin/sh", "-c", "exit 7"
        )
        assert code == 7, said
        assert kdamonds() == 0, said


# --- what is written is read back, and has its effect ---


def _nodes() -> list[Path]:
    return list(Path("/sys/devices/system/node").glob("node[0-9]*"))


def _goals() -> Iterator[Goal]:
    for metric, needs in METRICS.items():
        more = {"node": 0, "memcg_path": "/"}
        yield Goal(metric=metric, target=1000, **{name: more[name] for name in needs})  # type: ignore[arg-type]


def _filters(pid: int) -> Iterator[Filter]:
    del pid
    needs = {
        "addr": {"start": 0x10000, "end": 0x20000},
        "target": {"target": 0},
        "memcg": {"memcg_path": "/"},
        "hugepage_size": {"min_size": "2M", "max_size": "1G"},
    }
    for kind, matching in product(FILTERS, (True, False)):
        yield Filter(kind, matching=matching, **needs.get(kind, {}))  # type: ignore[arg-type]


def _schemes(pid: int) -> Iterator[Scheme]:
    for action in sorted(KERNEL_ACTIONS):
        node = 0 if action.startswith("migrate") else None
        yield Scheme(action, AccessPattern(min_rate=1), target_node=node)
    for one in _filters(pid):
        yield Scheme("stat", filters=[one])
    for goal in _goals():
        yield Scheme("stat", quota=Quota(bytes="1M", goals=[goal]))
    yield Scheme("stat", quota=Quota(bytes="1M", tuner="temporal", fail_charge=0.25))
    yield Scheme("stat", max_snapshots=3)
    yield Scheme(
        "stat",
        AccessPattern(min_size="8K", max_size="1G", max_rate=3, min_age=2, max_age=100),
        quota=Quota(time="10ms", bytes="1M", reset="2s", weights=Weights(size=1, rate=2, age=3)),
        watermarks=Watermarks(metric="free_mem_rate", interval="1s", high=999, mid=998, low=1),
        apply_interval="500ms",
    )


@pytest.mark.parametrize("operations", ["vaddr", "paddr"])
def test_every_scheme_is_driven_or_what_lacks_is_named(sleeper: int, operations: str) -> None:
    """Every action, filter, goal and watermark: written, read back, and taken by what runs."""
    driven = []
    targets = (KernelTarget(sleeper),)
    if operations == "paddr":
        targets = (KernelTarget(0, ((1 << 28, (1 << 28) + (1 << 20)),)),)
    lacking: list[tuple[Scheme, ProbeError]] = []
    with Claim() as claim:
        claim.start(KdamondSettings(operations, targets, Attrs()))
        for scheme in _schemes(sleeper):
            said = f"{scheme.action} {scheme.filters} {scheme.quota.goals}"
            try:
                claim.change(KdamondSettings(operations, targets, Attrs(), schemes=(scheme,)))
            except ProbeError as error:
                lacking.append((scheme, error))
                continue
            written = claim.kdamond.written()
            place = "contexts/0/schemes/0"
            assert written[f"{place}/action"] == scheme.action
            assert written[f"{place}/quotas/bytes"] == str(scheme.quota.size_bytes)
            assert written.get(f"{place}/quotas/goal_tuner", "consist") == scheme.quota.tuner
            charge = [int(written.get(f"{place}/quotas/fail_charge_{n}", 1)) for n in PARTS]
            assert charge[0] / charge[1] == scheme.quota.fail_charge
            snapshots = written.get(f"{place}/stats/max_nr_snapshots", "0")
            assert snapshots == str(scheme.max_snapshots)
            for goal in scheme.quota.goals:
                assert written[f"{place}/quotas/goals/0/target_metric"] == goal.metric
            for one in scheme.filters:
                filters = [p for p in written if p.endswith("/type") and "filters" in p]
                assert [written[path] for path in filters] == [one.kind]
                matching = filters[0].replace("/type", "/matching")
                assert written[matching] == ("Y" if one.matching else "N")
            assert claim.kdamond.running, said
            driven.append(said)
    for scheme, why in lacking:
        elsewhere = "processes only" if operations == "paddr" else "physical memory only"
        came = re.search(r"came with Linux ([\d.]+)", str(why))
        assert came or elsewhere in str(why), scheme
        if came:
            assert _numbers(platform.release()) < _numbers(came[1]), why
    assert len(driven) >= 12


def test_schemes_have_their_effect(quarter: Program) -> None:
    cold = Scheme("pageout", AccessPattern(max_rate=0, min_age="1s"))
    seen = Scheme("stat")
    with (
        kernel_monitor(quarter.pid, **SLOWLY) as mon,
        pydamon.apply(mon, cold, seen) as applied,
    ):
        before = _rss(quarter.pid)
        list(applied.run("12s"))
        stats = [scheme.stats for scheme in applied.schemes]
    assert stats[1].sz_tried > stats[1].nr_tried > 0
    assert stats[0].sz_tried > 0
    if _swap():
        # Not from sz_applied: the kernel counts nothing of a region with a hole in its mappings.
        assert _rss(quarter.pid) < before - 16 * MIB


@pytest.mark.parametrize("action", ["cold", "willneed", "hugepage", "nohugepage", "pageout"])
def test_what_is_done_to_a_process_is_done(quarter: Program, action: str) -> None:
    """And counted, where regions have no holes: `ranges` are one mapping."""
    place = [(quarter.start, quarter.start + quarter.size)]
    scheme = Scheme(action, AccessPattern())
    with (
        kernel_monitor(quarter.pid, ranges=place, **SLOWLY) as mon,
        pydamon.apply(mon, scheme) as applied,
    ):
        before = _rss(quarter.pid)
        for _ in applied.run("60s"):
            if applied[0].stats.sz_applied >= 32 * MIB:
                break
        assert applied[0].stats.sz_applied >= 32 * MIB
        if action == "pageout" and _swap():
            assert _rss(quarter.pid) < before - 16 * MIB
    flags = {"hugepage": "hg", "nohugepage": "nh"}
    if action in flags:
        smaps = Path(f"/proc/{quarter.pid}/smaps").read_text()
        mapping = smaps[smaps.index(f"{quarter.start:x}-") :]
        assert flags[action] in mapping.partition("VmFlags:")[2].partition("\n")[0].split()


def test_huge_pages_are_collapsed(quarter: Program) -> None:
    place = [(quarter.start, quarter.start + quarter.size)]
    with kernel_monitor(quarter.pid, ranges=place, **SLOWLY) as mon, newer("7.2"):
        before = huge_bytes(quarter.pid)
        with pydamon.apply(mon, Scheme("collapse", AccessPattern())) as applied:
            for _ in applied.run("60s"):
                if huge_bytes(quarter.pid) >= before + 16 * MIB:
                    break
        assert huge_bytes(quarter.pid) >= before + 16 * MIB


def test_pages_of_processes_are_filtered(quarter: Program) -> None:
    place = [(quarter.start, quarter.start + quarter.size)]
    schemes = [
        Scheme("stat", filters=[Filter("anon", matching=matching)]) for matching in (True, False)
    ]
    with kernel_monitor(quarter.pid, ranges=place, **SLOWLY) as mon, newer("6.18"):
        with pydamon.apply(mon, *schemes) as applied:
            list(applied.run("5s"))
            none, every = (scheme.stats for scheme in applied.schemes)
        assert none.sz_tried == every.sz_tried > 0
        assert none.sz_ops_filter_passed == 0
        assert every.sz_ops_filter_passed > 0.9 * every.sz_tried


def test_pages_of_processes_move_between_nodes(quarter: Program) -> None:
    if len(_nodes()) == 1:
        pytest.skip("this machine has one memory node: VARIANT=numa has two")

    def on_node(node: int) -> int:
        maps = Path(f"/proc/{quarter.pid}/numa_maps").read_text()
        return PAGESIZE * sum(map(int, re.findall(rf"\bN{node}=(\d+)", maps)))

    with kernel_monitor(quarter.pid, **SLOWLY) as mon, newer("6.17"):
        for node in (0, 1):
            scheme = Scheme("migrate_cold", AccessPattern(), target_node=node)
            with pydamon.apply(mon, scheme) as applied:
                for _ in applied.run("60s"):
                    if on_node(node) > quarter.size // 2:
                        break
            assert on_node(node) > quarter.size // 2


def test_the_kernel_tunes_its_intervals(quarter: Program) -> None:
    place = [(quarter.start, quarter.start + quarter.size)]
    goal = pydamon.IntervalGoal(access_bp=100, aggregations=2, max_sampling_ns=10**9)
    with (
        newer("6.15"),
        kernel_monitor(quarter.pid, ranges=place, goal=goal, update="1s", **SLOWLY) as mon,
    ):
        # A quarter is accessed, which is more than is asked for.
        for _ in mon.run("60s"):
            if mon.attrs.sampling_ns < 20 * 10**6:
                break
        assert mon.attrs.sampling_ns < 20 * 10**6


@contextmanager
def newer(release: str) -> Iterator[None]:
    """What needs a newer kernel works, or the error says which, and that this one is older."""
    try:
        yield
    except ProbeUnavailable as error:
        assert f"came with Linux {release}" in str(error)  # noqa: PT017
        assert _numbers(platform.release()) < _numbers(release)


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)[:2]]


@pytest.mark.parametrize("action", ["lru_prio", "lru_deprio", "pageout", "migrate_cold"])
@pytest.mark.usefixtures("quarter")
def test_what_is_done_to_physical_memory_is_done(action: str) -> None:
    node = None
    if action.startswith("migrate"):
        if len(_nodes()) == 1:
            pytest.skip("this machine has one memory node: VARIANT=numa has two")
        node = 1
    scheme = Scheme(action, AccessPattern(), quota=Quota(bytes="8M"), target_node=node)
    with pydamon.monitor_physical(**SLOWLY) as mon, pydamon.apply(mon, scheme) as applied:
        for _ in applied.run("60s"):
            if applied[0].stats.sz_applied:
                break
        assert 0 < applied[0].stats.sz_applied <= applied[0].stats.sz_tried


POLICIES: dict[str, tuple[str, ...]] = {
    "reclaim": (
        *("--min-age", "1s", "--quota-time", "100ms"),
        *("--high", "100%", "--mid", "99.9%", "--low", "0%"),
    ),
    "thp": (),
    "stat": (),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_the_kernels_when_one_word_is_changed(quarter: Program, policy: str) -> None:
    slowly = ("--sample", "25ms", "--aggr", "500ms", "--cpu-budget", "100")
    before = _rss(quarter.pid)
    code, said = _ran(
        *(policy, "--engine", "kernel", "-d", "15s", "--json", *POLICIES[policy], *slowly),
        quarter.pid,
    )
    assert code == 0, said
    status = json.loads(said[said.index("{") :])
    assert status["engine"] == "kernel", said
    if policy == "stat":
        assert status["figures"]["working_set_bytes"] > 8 * MIB
    else:
        assert any(scheme["sz_tried"] > 0 for scheme in status["schemes"])
    if policy == "reclaim" and _swap():
        assert _rss(quarter.pid) < before - 16 * MIB


def test_a_dry_run_does_nothing(quarter: Program) -> None:
    scheme = Scheme("pageout", AccessPattern(max_rate=0, min_age="1s"))
    with kernel_monitor(quarter.pid, **SLOWLY) as mon:
        before = _rss(quarter.pid)
        with pydamon.apply(mon, scheme, dry_run=True) as applied:
            list(applied.run("6s"))
            stats = applied[0].stats
            assert 0 < stats.sz_tried <= _rss(quarter.pid)
            assert stats.sz_applied <= stats.sz_tried
        assert "contexts/0/schemes/0/action" not in mon.scheme_runner.claim.kdamond.written()
    assert _rss(quarter.pid) >= before - MIB


def test_a_filter_and_a_quota_have_their_effect(quarter: Program) -> None:
    low, high = quarter.start, quarter.start + (4 << 20)
    schemes = [
        Scheme("stat", filters=[Filter("addr", start=low, end=high, matching=False)]),
        Scheme("stat", quota=Quota(bytes="1M", reset="1s")),
        Scheme("stat"),
        Scheme(
            "stat",
            watermarks=Watermarks(metric="free_mem_rate", interval="1s", high=2, mid=1, low=0),
        ),
    ]
    with kernel_monitor(quarter.pid, cpu_budget_percent=None) as mon:
        runner = mon.scheme_runner
        runner.set_schemes(schemes)
        # Linux 6.12 limits nothing in the first reset interval.
        list(mon.run("3s"))
        early = [stats for stats, _ in runner.stats()]
        list(mon.run("4s"))
        filtered, limited, free, off = (stats for stats, _ in runner.stats())
    assert 0 < filtered.sz_tried < free.sz_tried / 4
    assert 0 < limited.sz_tried - early[1].sz_tried <= 12 * MIB
    assert free.sz_tried - early[2].sz_tried > 100 * MIB
    assert limited.qt_exceeds > 0
    assert off.nr_tried == 0


@pytest.mark.parametrize("kind", [ReclaimModule, LruSortModule])
def test_modules_are_started_changed_and_stopped(
    kind: type[ReclaimModule] | type[LruSortModule], sleeper: int
) -> None:
    module: Any = kind()
    before = module.parameters()
    assert not module.status().enabled
    wanted = evolve(before, sample="20ms", aggr="400ms", max_regions=200)
    module.start(wanted)
    try:
        # The kernel writes down which block of memory it chose.
        now = module.parameters()
        assert now.region_end > now.region_start > 0
        assert evolve(now, region_start=0, region_end=0) == wanted
        assert module.status().ours
        assert module.status().kdamond > 0
        assert kernel_threads() == 1
        # Another process knows that it is ours; nobody else gets DAMON meanwhile.
        with pytest.raises(ProbeUnavailable, match=module.name.upper()):
            kernel_monitor(sleeper)
        with pydamon.monitor(sleeper) as mon:
            assert mon.engine == "sampling"
        module.change(evolve(wanted, max_regions=300))
        assert module.parameters().max_regions == 300
    finally:
        kind().stop()
    assert module.parameters() == before
    assert not module.status().enabled


def test_a_module_that_somebody_switched_on_stays(sleeper: int) -> None:
    enabled = Path("/sys/module/damon_reclaim/parameters/enabled")
    enabled.write_text("Y")
    try:
        with pytest.raises(KernelError, match="somebody else"):
            ReclaimModule().stop()
        with pytest.raises(ProbeUnavailable, match="DAMON_RECLAIM"):
            kernel_monitor(sleeper)
        assert enabled.read_text() == "Y\n"
    finally:
        enabled.write_text("N")


def test_the_kernels_own_figures(sleeper: int) -> None:
    module = StatModule()
    if not module.available:
        with pytest.raises(ProbeUnavailable, match=r"no DAMON_STAT.*6\.17"):
            module.status()
        return
    assert not module.status().enabled
    module.start()
    try:
        with pytest.raises(ProbeUnavailable, match="DAMON_STAT") as caught:
            kernel_monitor(sleeper)
        assert "damon_stat/parameters/enabled" in (caught.value.hint or "")
        deadline_s = time.monotonic() + 60
        while not any(module.status().idle_ms):
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        status = module.status()
        assert status.enabled
        assert len(status.idle_ms) == 101
        assert list(status.idle_ms) == sorted(status.idle_ms)
    finally:
        StatModule().stop()
    assert not module.status().enabled


def test_the_users_own_goal_is_fed(sleeper: int) -> None:
    values = iter(range(10**6))
    goal = Goal(metric="user_input", target=10**6, value=lambda: next(values))
    scheme = Scheme("stat", quota=Quota(bytes="1M", goals=[goal]))
    with kernel_monitor(sleeper, update="200ms") as mon:
        mon.scheme_runner.set_schemes([scheme])
        list(mon.run("2s"))
        says = mon.scheme_runner.claim.kdamond.written()
        assert int(says["contexts/0/schemes/0/quotas/goals/0/current_value"]) > 2


def test_attributes_change_while_it_runs(quarter: Program) -> None:
    with kernel_monitor(quarter.pid, cpu_budget_percent=None) as mon:
        snapshots = mon.run("4s")
        for number, snapshot in enumerate(snapshots):
            assert snapshot.max_nr_accesses == (20 if number <= 10 else 5)
            if number == 10:
                mon.change(Attrs.of("10ms", "50ms", None, 20, 40))
        assert 15 <= len(snapshot) <= 60
        assert snapshot.window_ns < 10**9


# --- one user at a time ---


SCHEME = """
[[schemes]]
action = "stat"
"""


def test_a_foreign_kdamond_survives_every_command(
    foreign: Files, sleeper: int, tmp_path: Path
) -> None:
    kdamond = Kdamond(foreign)
    before, pid = kdamond.written(), kdamond.pid
    started = Path(f"/proc/{pid}/stat").read_text().split()[21]
    me, out, scheme = str(sleeper), tmp_path / "a.damon", tmp_path / "scheme.toml"
    scheme.write_text(SCHEME)
    short = ("-d", "500ms")
    commands: dict[tuple[str | Path, ...], int] = {
        ("record", *short, "-o", out, me): 0,
        ("record", *short, "--engine", "kernel", "-o", tmp_path / "b", me): 1,
        ("record", *short, "--physical", "-o", tmp_path / "c"): 1,
        ("report", "access", out): 0,
        ("tune", "reclaim", out): 1,  # it is too short for that
        ("convert", out, tmp_path / "a.csv"): 0,
        ("slice", out, tmp_path / "d.damon"): 0,
        ("merge", out, tmp_path / "e.damon"): 0,
        ("cat", out): 0,
        ("replay", "--out", tmp_path / "r.cfg", out): 0,
        ("export", *short, "--listen", "0", me): 0,
        ("apply", *short, scheme, me): 0,
        ("reclaim", *short, me): 0,
        ("thp", *short, me): 0,
        ("lru-sort", *short, me): 0,
        ("tier", *short, "--dry-run", me): 0 if len(_nodes()) > 1 else 1,
        ("stat", *short, me): 0,
        ("status",): 0,
        ("doctor",): 0,
        ("doctor", "--json"): 0,
        ("doctor", "--clean"): 0,
        ("demo", "--duration", "500ms"): 0,
        ("bench", "engines", "--quick"): 0,
    }
    assert {str(command[0]) for command in commands} | {"top", "serve"} == set(COMMANDS)
    for command, code in commands.items():
        ended, said = _ran(*command)
        assert ended == code, said
        assert "Traceback" not in said
        assert kdamond.written() == before, command
    server, page = _forked("serve", "--port", "0", me)
    _wait_for(lambda: "http" in page.read_text())
    os.kill(server, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(server, 0)[1]) == 0, page.read_text()
    with terminal("top", me) as top:
        assert top.wait_for("working set", 120)
        top.press("q")
        assert top.end() == 0
    with pytest.raises(ProbeUnavailable, match="somebody else"):
        Claim()
    with pydamon.monitor(sleeper) as mon:
        assert mon.engine == "sampling"
    assert leftover() is None
    assert not remove_leftover()
    assert kdamond.written() == before
    assert kdamond.pid == pid
    assert Path(f"/proc/{pid}/stat").read_text().split()[21] == started


def _ran(*argv: str | Path | int) -> tuple[int, str]:
    """The exit code of a command, and all that it said."""
    child, said = _forked(*argv)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.read_text()


def _forked(*argv: str | Path | int) -> tuple[int, Path]:
    """A command in a child of ours, which need not import all of it again; what it says is kept."""
    fd, name = tempfile.mkstemp()
    if (child := os.fork()) == 0:
        code = 99
        try:
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            sys.stdout = sys.stderr = os.fdopen(fd, "w", 1)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = main([*map(str, argv)])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(fd)
    return child, Path(name)


def _wait_for(told: Callable[[], object], timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not told():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_200_starts_and_stops_leave_nothing(sleeper: int) -> None:
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    with kernel_monitor(sleeper):
        pass
    files = open_files()
    for _ in range(200):
        with kernel_monitor(sleeper):
            pass
    assert open_files() == files
    assert len(os.listdir("/proc/self/task")) == threads  # noqa: PTH208
    assert not _children()


def test_20_kills_leave_nothing(sleeper: int) -> None:
    text = (
        "import pydamon\n"
        f"mon = pydamon.monitor({sleeper}, engine='kernel', sample='50ms', aggr='1s')\n"
        "print('on', flush=True)\nlist(mon)\n"
    )
    for number in (signal.SIGKILL,) * 20 + (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with running(sys.executable, "-c", text) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "on\n"
            assert kernel_threads() == 1
            process.send_signal(number)
            process.wait()
            deadline_s = time.monotonic() + 20
            while kdamonds() or kernel_threads():
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
    assert not _children()


def test_doctor_removes_what_is_left_when_the_guardian_was_killed_too(sleeper: int) -> None:
    text = (
        "import pydamon\n"
        f"mon = pydamon.monitor({sleeper}, engine='kernel')\n"
        "mon.scheme_runner.claim._guardian.kill()\n"
        "print('on', flush=True)\nlist(mon)\n"
    )
    with running(sys.executable, "-c", text) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    said = subprocess.run([*PYDAMON, "doctor", "--json"], capture_output=True, check=True)
    assert "--clean" in json.loads(said.stdout)["machine"]["DAMON"]
    with pytest.raises(ProbeUnavailable, match="killed"):
        kernel_monitor(sleeper)
    done = subprocess.run([*PYDAMON, "doctor", "--clean"], capture_output=True, check=True)
    assert b"switched off" in done.stdout


def _children() -> list[str]:
    names = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            names.append(child.name())
    return [name for name in names if name != "sleep"]


def _swap() -> bool:
    return Path("/proc/swaps").read_text().count("\n") > 1


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGESIZE
