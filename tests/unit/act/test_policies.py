"""Policies: the kernel modules' defaults, parameters, configuration files, the service."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from pydamon import AccessPattern, Scheme, TargetError, UsageError
from pydamon._act.policies import (
    POLICIES,
    Config,
    LruSort,
    Monitoring,
    Reclaim,
    Service,
    Stat,
    StatusFile,
    TargetSelection,
    Thp,
    Tier,
    load_config,
    read_statuses,
)
from pydamon._model.errors import ProbeError
from pydamon._observe.linux import cgroups
from pydamon._observe.start import monitor
from pydamon._observe.targets import VaddrSpace
from tests.integration.conftest import needs, script
from tests.unit.act.snapshots import snapshot_of


def test_reclaim_has_the_kernel_modules_defaults() -> None:
    (scheme,) = Reclaim().schemes()
    assert scheme.action == "pageout"
    assert scheme.pattern == AccessPattern(min_size=4096, max_rate=0, min_age="120s")
    assert (scheme.quota.time_ns, scheme.quota.size_bytes) == (10**7, 128 << 20)
    assert scheme.quota.reset_ns == 10**9
    marks = scheme.watermarks
    assert (marks.high_share, marks.mid_share, marks.low_share) == (0.5, 0.4, 0.2)
    assert marks.interval_ns == 5 * 10**9


def test_lru_sort_has_the_kernel_modules_defaults() -> None:
    hot, cold = LruSort().schemes()
    assert (hot.action, cold.action) == ("lru_prio", "lru_deprio")
    assert str(hot.pattern.min_rate) == "50%"
    assert str(cold.pattern.min_age) == "2 min"
    assert hot.quota.time_ns + cold.quota.time_ns == 10**7
    marks = hot.watermarks
    assert (marks.high_share, marks.mid_share, marks.low_share) == (0.2, 0.15, 0.05)


def test_every_policy_makes_schemes_of_its_parameters() -> None:
    assert set(POLICIES) == {"reclaim", "thp", "lru-sort", "tier", "stat"}
    assert Reclaim(min_age="5s", skip_anon=True).schemes()[0].filters[0].kind == "anon"
    assert [scheme.action for scheme in Thp().schemes()] == ["hugepage", "nohugepage"]
    assert [scheme.target_node for scheme in Tier().schemes()] == [0, 1]
    with pytest.raises(UsageError, match="slow_node"):
        Tier(slow_node=0)


def test_stat_tells_bandwidth_and_idle_times() -> None:
    mib = (1 << 20) // 4096
    snapshot = snapshot_of([(0, mib, 20, 50), (mib, 2 * mib, 1, 10), (2 * mib, 10 * mib, 0, 600)])
    figures = Stat().figures(snapshot)
    assert figures["memory_bandwidth_bytes_per_s"] == 210 << 20
    idle = figures["idle_ms"]
    assert isinstance(idle, dict)
    assert (idle["p0"], idle["p5"], idle["p25"], idle["p100"]) == (0, 0, 60_000, 60_000)
    assert list(idle.values()) == sorted(idle.values())
    nothing = snapshot_of([])
    assert Stat().figures(nothing)["memory_bandwidth_bytes_per_s"] == 0
    assert np.size(nothing.start) == 0


_CONFIG = """
name = "mine"
[target]
pids = [1, 2]
[monitoring]
aggr = "200ms"
cpu_budget_percent = 2.5
[policy]
name = "reclaim"
min_age = "5min"
quota_bytes = "1G"
"""


def test_a_configuration_file_says_everything(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text(_CONFIG)
    config = load_config(tmp_path / "service.toml", POLICIES)
    assert config.name == "mine"
    assert config.target == TargetSelection(pids=(1, 2))
    assert config.monitoring.cpu_budget_percent == 2.5
    assert config.policy == Reclaim(min_age="5min", quota_bytes="1G")
    assert config.schemes == Reclaim(min_age="5min", quota_bytes="1G").schemes()
    (tmp_path / "other.toml").write_text("[target]\nuser = 'x'\n[[schemes]]\naction = 'stat'\n")
    other = load_config(tmp_path / "other.toml", POLICIES)
    assert (other.name, other.schemes) == ("other", (Scheme("stat"),))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pids = [1, 2]", "", "target: nobody is named"),
        ("pids = [1, 2]", "pids = [1]\nuser = 'x'", "target: pids and user: name one"),
        ("pids = [1, 2]", "pids = ['x']", "target.pids: not a whole number"),
        ("pids", "pid", "target.pid: not known; did you mean pids"),
        ('"200ms"', '"200"', "monitoring.aggr: not a duration"),
        ("2.5", "0", "monitoring.cpu_budget_percent: not a CPU budget"),
        ('"reclaim"', '"claim"', "policy.name: names no policy"),
        ("min_age", "max_age", "policy.max_age: not known"),
        ('"1G"', '"1X"', "policy.quota_bytes: not a size"),
        ('"1G"', '"1G"\nlow = 500', "policy: mid: must lie between"),
        ("[policy]", "[schemes]", "schemes: not a list"),
        ('"mine"', '"a/b"', "name: cannot be the name of a file"),
        ("[monitoring]", "[monitor]", "monitor: not known"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "service.toml"
    path.write_text(_CONFIG.replace(old, new, 1))
    with pytest.raises(UsageError, match=f"^{path}: ({says})"):
        load_config(path, POLICIES)


def test_a_status_is_there_while_its_service_runs(tmp_path: Path) -> None:
    with StatusFile("one", tmp_path) as file:
        file.write({"state": "on"})
        assert read_statuses(tmp_path)["one"]["state"] == "on"
        with pytest.raises(UsageError, match=f"already, as pid {os.getpid()}"):
            StatusFile("one", tmp_path)
    assert read_statuses(tmp_path) == {}
    # Who is killed leaves its file; nobody believes it.
    (tmp_path / "dead.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0}))
    (tmp_path / "broken.json").write_text("{")
    assert read_statuses(tmp_path) == {}


def test_a_user_without_a_runtime_directory_has_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with StatusFile("one") as file:
        file.write({})
        assert list(read_statuses()) == ["one"]


def test_the_example_for_systemd_can_be_loaded() -> None:
    example = Path(__file__).parents[3] / "packaging/systemd/postgresql.toml"
    assert load_config(example, POLICIES).policy == Reclaim(min_age="5min")


@pytest.mark.live
@pytest.mark.live
@needs("ebpf")
def test_a_service_follows_reloads_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    told: list[str] = []
    statuses: list[dict[str, Any]] = []

    def write(pid: int, min_age: str) -> None:
        text = f"[target]\npids = [{pid}]\n[policy]\nname = 'reclaim'\nmin_age = {min_age!r}\n"
        path.write_text(
            f"{text}grain = 'region'\nlow = 0\nmid = 1000\nhigh = 1000\n"
            "[monitoring]\ncpu_budget_percent = 50\n"
        )

    (tmp_path / "data").write_bytes(bytes(4 << 20))
    idle = f"""
import mmap, time
with open({str(tmp_path / "data")!r}, "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(memory[::4096])
print(1, flush=True)
while True: time.sleep(0.01)
"""
    with script(idle) as process:
        write(process.pid, "1h")
        service = Service(
            lambda: load_config(path, POLICIES),
            dry_run=True,
            report=statuses.append,
            complain=told.append,
        )
        thread = threading.Thread(target=service.run)
        thread.start()
        _until(lambda: len(statuses) >= 2)
        assert statuses[-1]["targets"][0]["pid"] == process.pid
        assert statuses[-1]["schemes"][0]["sz_applied"] == 0
        assert statuses[0]["cpu_percent"] is None  # what it costs to start is no rate
        path.write_text("nonsense")
        service.reload()
        _until(lambda: len(told) == 1)
        write(process.pid, "100ms")
        service.reload()
        _until(lambda: statuses[-1]["schemes"][0]["sz_applied"] > 0)
        process.kill()
        thread.join(10)
        assert not thread.is_alive()
    assert "stays as it was" in told[0]
    assert "read again" in told[1]


def _cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Config]:
    """A directory that looks like a cgroup, and a configuration for it."""
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    (tmp_path / "mine").mkdir()
    procs = tmp_path / "mine" / "cgroup.procs"
    procs.touch()
    config = Config(name="x", target=TargetSelection(cgroup="mine"), policy=Stat())
    return procs, config


def test_a_cgroup_is_named_with_or_without_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    procs, _ = _cgroup(tmp_path, monkeypatch)
    for name in ("mine", "/mine/", str(tmp_path / "mine")):
        assert cgroups.cgroup_directory(name) == procs.parent
    with pytest.raises(TargetError, match="no cgroup 'other'"):
        cgroups.cgroup_directory("other")


def test_a_cgroup_may_go_away_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    procs, config = _cgroup(tmp_path, monkeypatch)
    statuses: list[dict[str, Any]] = []
    service = Service(lambda: config, report=statuses.append)
    procs.unlink()
    procs.parent.rmdir()
    thread = threading.Thread(target=service.run)
    thread.start()
    _until(lambda: len(statuses) >= 2)
    service.stop()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.live
@needs("ebpf")
@pytest.mark.long
def test_what_one_process_of_a_group_does_is_not_the_end_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    procs, config = _cgroup(tmp_path, monkeypatch)
    told: list[str] = []
    statuses: list[dict[str, Any]] = []
    calls = 0

    def monitored(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise ProbeError("it did something odd")
        return monitor(*args, **options)

    monkeypatch.setattr("pydamon._act.policies.service.monitor", monitored)
    config = evolve(config, monitoring=Monitoring(cpu_budget_percent=100))  # starts again soon
    service = Service(lambda: config, report=statuses.append, complain=told.append)
    thread = threading.Thread(target=service.run, daemon=True)
    with script("print(1, flush=True)\nimport time\ntime.sleep(100)") as one:
        procs.write_text(f"{one.pid}\n")
        thread.start()
        _until(lambda: any(status["targets"] for status in statuses))
        _until(lambda: service.status()["figures"])
        one.kill()
    procs.write_text("")
    _until(lambda: not statuses[-1]["targets"])
    with script("print(1, flush=True)\nimport time\ntime.sleep(100)") as two:
        procs.write_text(f"{two.pid}\n")
        _until(lambda: [t["pid"] for t in statuses[-1]["targets"]] == [two.pid])
        service.stop()
        thread.join(10)
    assert not thread.is_alive()
    assert told == ["it did something odd"]


def test_who_is_gone_before_anybody_looks_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    procs, config = _cgroup(tmp_path, monkeypatch)
    procs.write_text(f"{2**22 + 1}\n")  # never there
    service = Service(lambda: config, duration_ns=2 * 10**9)
    cpu_ns, begin_ns = time.thread_time_ns(), time.monotonic_ns()
    service.run()
    assert time.thread_time_ns() - cpu_ns < (time.monotonic_ns() - begin_ns) / 4


@pytest.mark.live
@pytest.mark.live
@needs("ebpf")
def test_a_service_waits_for_who_comes() -> None:
    with (
        script("print(1, flush=True)\nimport time\ntime.sleep(100)") as one,
        script("print(1, flush=True)\nimport time\ntime.sleep(100)") as two,
    ):
        here = [one.pid]
        space = VaddrSpace(lambda: here)
        assert [target.pid for target in space.update(100).targets] == [one.pid]
        here.append(two.pid)
        assert [target.pid for target in space.update(100).targets] == [one.pid, two.pid]
        here.remove(one.pid)
        assert [target.pid for target in space.update(100).targets] == [two.pid]
        here.append(2**22 + 1)  # gone before it could be looked at
        assert space.alive
        here.clear()
        assert space.update(100).targets == ()
        assert not space.alive
        space.close()


def _until(holds: Any, patience_s: float = 20) -> None:
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
