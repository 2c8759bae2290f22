"""Metrics of containers. A private part is replaced: which container each process belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pydamon._observe.targets.container_table import ContainerTable
from pydamon._show.metrics import containers
from pydamon.containers import CgroupMemory, Container
from pydamon.export import Metrics
from tests.recordings import MIB
from tests.unit.show.metrics.test_metrics import read, snapshot_of

Place = Callable[[dict[int, Container]], None]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    def set_rows(rows: dict[int, Container]) -> None:
        monkeypatch.setattr(
            ContainerTable,
            "of",
            lambda _, pids: {pid: rows[pid] for pid in pids if pid in rows},
        )

    monkeypatch.setattr(
        containers,
        "cgroup_memory",
        lambda _: CgroupMemory(
            usage_bytes=9, inactive_file_bytes=2, cache_bytes=9 * MIB, mapped_bytes=MIB
        ),
    )
    return set_rows


def container(number: int, name: str = "", namespace: str = "", pod: str = "") -> Container:
    return Container(
        cgroup=f"/{number}",
        id=f"{number:064x}",
        name=name,
        namespace=namespace,
        pod=pod,
        runtime="docker",
    )


def test_processes_of_a_container_are_summed_up(place: Place) -> None:
    nginx = container(1, "nginx", "shop", "web-0")
    unit = Container(cgroup="/u", name="x.service", runtime="systemd")
    place({1: nginx, 2: nginx, 3: container(2), 4: unit})
    metrics = Metrics()
    metrics.update(snapshot_of((pid, "x") for pid in (1, 2, 3, 4, 5)))
    values = read(metrics)
    sums = {key[1:]: values[key] / MIB for key in values if "container_working_set" in key[0]}
    assert sums == {("shop", "web-0", "nginx"): 4, ("", "", "0" * 12): 2}
    assert values["pydamon_container_usage_bytes", "shop", "web-0", "nginx"] == 9
    assert values["pydamon_container_kubelet_bytes", "shop", "web-0", "nginx"] == 7


def test_page_cache_that_containers_read(place: Place) -> None:
    place({1: container(1, "nginx", "shop", "web-0"), 2: container(2, "idle")})
    metrics = Metrics()
    metrics.update(snapshot_of((pid, "x") for pid in (1, 2)))
    assert not [key for key in read(metrics) if re.search("cache_(read|idle)", key[0])]
    metrics.update_cache({"/": 7 * MIB, "/1": 5 * MIB})
    values = read(metrics)
    name = "pydamon_container_cache_read_bytes"
    assert values[name, "shop", "web-0", "nginx"] == 5 * MIB
    assert values[name, "", "", "idle"] == 0
    name = "pydamon_container_cache_idle_bytes"
    assert values[name, "shop", "web-0", "nginx"] == 3 * MIB
    assert values[name, "", "", "idle"] == 8 * MIB


def test_containers_that_start_and_stop_leave_no_series(place: Place) -> None:
    metrics = Metrics(processes=10)
    counts = []
    for second in range(100, 130):
        pids = range(2**30 + second * 200, 2**30 + second * 200 + 200)
        place({pid: container(pid, f"job-{pid}") for pid in pids})
        metrics.update(snapshot_of(((pid, "x") for pid in pids), second))
        values = read(metrics)
        named = {key[1:] for key in values if key[0] == "pydamon_container_working_set_bytes"}
        assert len(named) == 11
        assert ("", "", "other") in named
        counts.append(len(values))
    assert len(set(counts[1:])) == 1
    place({})
    metrics.update(snapshot_of([(1, "x")], 131))
    assert not any("container" in key[0] for key in read(metrics))


def test_a_container_may_be_called_other(place: Place) -> None:
    place({pid: container(pid, "other") for pid in range(1, 4)})
    metrics = Metrics(processes=2)
    metrics.update(snapshot_of((pid, "x") for pid in range(1, 4)))
    keys = [key for key in read(metrics) if key[0] == "pydamon_container_working_set_bytes"]
    assert keys == [("pydamon_container_working_set_bytes", "", "", "other")]
