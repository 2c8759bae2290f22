"""Metrics: what they say of a snapshot, and that nothing grows while processes come and go."""

from __future__ import annotations

import socket
import struct
import urllib.request
from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pydamon import Snapshot, Target, UsageError
from pydamon._cli.main import main
from pydamon._model.snapshot import Cost, Footprint
from pydamon._observe.monitor import Monitor
from pydamon._show.metrics import Metrics, serve_metrics

MIB = 1 << 20
S = 10**9


def snapshot_of(
    targets: Iterable[tuple[int, str]], end_s: int = 100, rss_mib: int = 64
) -> Snapshot:
    """Of each target 4 MiB in use, 2 MiB of them touched, and 16 MiB idle for a minute."""
    watched = tuple(Target(pid, name) for pid, name in targets)
    n = len(watched)
    start = np.tile([0, 4 * MIB], n)
    return Snapshot(
        start_ns=(end_s - 1) * S,
        end_ns=end_s * S,
        sampling_ns=S // 20,
        max_nr_accesses=20,
        targets=watched,
        target=np.repeat(np.arange(n), 2).astype(np.int32),
        start=start,
        end=np.tile([4 * MIB, 20 * MIB], n),
        nr_accesses=np.tile([10, 0], n),
        age=np.tile([3, 60], n),
        touched_bytes=np.tile([2 * MIB, 0], n),
        unobservable_bytes=np.zeros(2 * n, np.int64),
        cost=Cost(cpu_ns=S // 100),
        footprints=(Footprint(99 * MIB, rss_mib * MIB),) * n,
    )


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """What a registry collects: the value of each series, by its name and its labels' values."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_names_fit_into_labels() -> None:
    metrics = Metrics()
    evil = '\x1b[2J\n\u202e\udcff"}'
    metrics.update(snapshot_of([(1 << 30, evil)]))
    registry = CollectorRegistry()
    registry.register(metrics)
    text = generate_latest(registry).decode()
    assert not set(text) & set(evil[:1] + evil[5:6])
    (name,) = {key[2] for key in read(metrics) if key[0] == "pydamon_process_resident_bytes"}
    assert name == r"\x1b[2J\n\u202e\xff" + '"}'


def test_a_process_has_its_figures() -> None:
    metrics = Metrics(cpu_budget_percent=2)
    metrics.update(snapshot_of([(1 << 30, "redis")]))
    values = read(metrics)
    labels = (str(1 << 30), "redis")
    assert values["pydamon_process_working_set_bytes", *labels] == 2 * MIB
    assert values["pydamon_process_resident_bytes", *labels] == 64 * MIB
    assert values["pydamon_process_monitored_bytes", *labels] == 20 * MIB
    # 10 samples a second found 4 MiB accessed.
    assert values["pydamon_process_access_bytes_per_second", *labels] == 40 * MIB
    idle = [values["pydamon_process_idle_bytes", *labels, s] for s in ("10", "60", "300")]
    assert idle == [16 * MIB, 16 * MIB, 0]
    assert values["pydamon_cpu_budget_ratio",] == 0.02
    assert values["pydamon_monitor_cpu_seconds_total",] == pytest.approx(0.01)
    assert values["pydamon_window_seconds",] == 1
    # No process has such a pid, so its cgroup is unknown.
    assert values["pydamon_cgroup_working_set_bytes", "other"] == 2 * MIB


def test_a_caveat_is_1_with_its_reason_while_it_holds() -> None:
    metrics = Metrics()
    assert read(metrics)["pydamon_caveat",] == 0
    mon = SimpleNamespace(probe_name="exact", caveat="another monitor is at work\x1b")
    metrics.update(snapshot_of([(1 << 30, "redis")]), cast(Monitor, mon))
    values = read(metrics)
    assert values["pydamon_caveat",] == 1
    assert values["pydamon_caveat_info", r"another monitor is at work\x1b"] == 1
    assert values["pydamon_probe", "exact"] == 1
    mon.caveat = ""
    metrics.update(snapshot_of([(1 << 30, "redis")]), cast(Monitor, mon))
    values = read(metrics)
    assert values["pydamon_caveat",] == 0
    assert not any(key[0] == "pydamon_caveat_info" for key in values)


def test_memory_that_is_not_resident_is_not_idle() -> None:
    metrics = Metrics()
    metrics.update(snapshot_of([(1 << 30, "x")], rss_mib=5))
    idle = read(metrics)["pydamon_process_idle_bytes", str(1 << 30), "x", "10"]
    # Of the 5 MiB that are resident 3 are cold; of 18 MiB that may be cold, 16 are idle.
    assert idle == pytest.approx(3 * MIB * 16 / 18, abs=1)


def test_processes_of_a_cgroup_are_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {1: "/a", 2: "/b", 3: "/a", 4: "/c"}
    monkeypatch.setattr("pydamon._show.metrics.collector.cgroup_of", names.__getitem__)
    metrics = Metrics(processes=2)
    metrics.update(snapshot_of((pid, "x") for pid in names))
    values = read(metrics)
    sums = {c: values["pydamon_cgroup_working_set_bytes", c] / MIB for c in ("/a", "/b", "other")}
    assert sums == {"/a": 4, "/b": 2, "other": 2}
    assert values["pydamon_process_working_set_bytes", "", "other"] == 4 * MIB


def test_thousands_of_short_lived_processes_leave_no_series() -> None:
    metrics = Metrics(processes=10)
    lasting = [(1 << 30, "server")]
    counts = []
    for second in range(100, 160):
        pids = range(second * 200, second * 200 + 200)
        metrics.update(snapshot_of([*lasting, *((pid + 2**30, "job") for pid in pids)], second))
        counts.append(len(read(metrics)))
    assert len(set(counts[1:])) == 1
    assert counts[0] < 250
    values = read(metrics)
    assert {key[1] for key in values if key[0] == "pydamon_process_working_set_bytes"} == {
        str(1 << 30),
        "",
    }
    assert values["pydamon_process_working_set_bytes", "", "other"] == 200 * 2 * MIB
    metrics.update(None)
    assert not any("process_" in key[0] for key in read(metrics))


def test_a_process_that_stays_gets_series_of_its_own() -> None:
    metrics = Metrics()
    metrics.update(snapshot_of([(2**30, "first")], 100))
    late = [(2**30, "first"), (2**30 + 1, "second")]
    metrics.update(snapshot_of(late, 101))
    key = ("pydamon_process_working_set_bytes", str(2**30 + 1), "second")
    assert key not in read(metrics)
    metrics.update(snapshot_of(late, 161))
    assert key in read(metrics)


def test_the_work_of_services_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"sz_tried": 3, "sz_applied": 2, "nr_tried": 1, "nr_applied": 1, "qt_exceeds": 7}
    status = {"schemes": [{"name": "cold", **numbers}]}
    monkeypatch.setattr(
        "pydamon._show.metrics.collector.read_statuses", lambda: {"reclaim": status}
    )
    values = read(Metrics())
    assert values["pydamon_scheme_applied_bytes_total", "reclaim", "cold"] == 2
    assert values["pydamon_scheme_quota_exceeds_total", "reclaim", "cold"] == 7


def test_they_are_served_on_loopback_alone() -> None:
    metrics = Metrics()
    metrics.update(snapshot_of([(2**30, 'a"\\\n')]))
    with serve_metrics(metrics, port=0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert "pydamon_process_working_set_bytes{" in text
        assert "process_cpu_seconds_total" in text
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve_metrics(metrics, port=port).__enter__()
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", port))


def test_connections_that_end_early_or_say_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydamon._show.metrics.exporter._Connection.timeout", 0.2)
    with serve_metrics(Metrics(), port=0) as port:
        for sent in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as reset:
                reset.sendall(sent)
                reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
            assert silent.recv(1) == b""
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "name processes by pid, or one of"),
        (["1", "--all"], "name processes by pid, or one of"),
        (["--cgroup", "no/such"], "no cgroup"),
        (["--user", "nobody-here"], "no user"),
        (["--listen", "999.1.1.1:0", "1"], "cannot listen on 999.1.1.1"),
    ],
)
def test_bad_input_is_a_sentence(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *argv]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
