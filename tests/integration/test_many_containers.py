"""Containers that come and go: the exporter keeps its budget, and nothing of them stays.

Made-up files of a host name them; which cgroup a process is in is made up, too, so that no cgroup
must be made. tests/vm/test_containers.py has real cgroups.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from pydamon import TargetSelection
from pydamon._observe.linux.host import HOST_ROOT
from pydamon._observe.targets import container_table
from pydamon.export import Exporter, Metrics
from tests.integration.conftest import MIB, slowness

pytestmark = [pytest.mark.live, pytest.mark.long]

STARTED, AT_A_TIME = 200, 20
SETTLED = 100
"""The first seconds are dearer: the budget is kept in the mean, and measured from here on."""


class Churn:
    """Containers of one process each, 20 at a time; each next one ends the oldest."""

    def __init__(self, host: Path) -> None:
        self.paths: dict[int, str] = {}
        """The cgroup of each process that runs."""
        self._host = host
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, number: int) -> None:
        identifier = f"{number + 1:064x}"
        config = self._host / f"var/lib/docker/containers/{identifier}/config.v2.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"Name": f"/job-{number}"}))
        self._running.append(subprocess.Popen(["sleep", "1000"]))
        self.paths[self._running[-1].pid] = f"/docker/{identifier}"
        if len(self._running) > AT_A_TIME:
            self.end(1)

    def end(self, count: int) -> None:
        for process in self._running[:count]:
            process.kill()
            process.wait()
            del self.paths[process.pid]
        del self._running[:count]


@pytest.fixture
def churn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Churn]:
    churn = Churn(tmp_path)
    monkeypatch.setenv(HOST_ROOT, str(tmp_path))
    monkeypatch.setattr(container_table, "every_process", lambda: list(churn.paths))
    monkeypatch.setattr(container_table, "cgroup_of", lambda pid: churn.paths.get(pid, ""))
    yield churn
    churn.end(AT_A_TIME)


@contextmanager
def exporting(budget_percent: float, metrics: Metrics) -> Iterator[Callable[[], float]]:
    """Run an exporter of all containers; yields what asks for its CPU time in seconds."""
    exporter = Exporter(
        TargetSelection(all_containers=True), metrics, cpu_budget_percent=budget_percent
    )
    thread = threading.Thread(target=exporter.run)
    thread.start()
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    try:
        yield lambda: time.clock_gettime(clock)
    finally:
        exporter.stop()
        thread.join()


def names_in(metrics: Metrics) -> set[str]:
    samples = (sample for family in metrics.collect() for sample in family.samples)
    return {sample.labels["container"] for sample in samples if "container" in sample.labels}


def test_200_containers_that_start_and_stop(churn: Churn) -> None:
    budget = 2.0 * slowness()
    metrics = Metrics(processes=30, cpu_budget_percent=budget)
    own, seen, rows = psutil.Process(os.getpid()), set[str](), list[tuple[int, int, int]]()
    for number in range(AT_A_TIME):
        churn.start(number)
    with exporting(budget, metrics) as cpu_s:
        deadline = time.monotonic() + 60
        while not names_in(metrics):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for number in range(AT_A_TIME, STARTED):
            if number == SETTLED:
                begin_s, begin_cpu_s = time.monotonic(), cpu_s()
            churn.start(number)
            time.sleep(0.1)
            if number % 10 == 0:
                names = names_in(metrics)
                seen |= names
                rows.append((own.num_fds(), own.memory_info().rss // MIB, len(names)))
        spent = 100 * (cpu_s() - begin_cpu_s) / (time.monotonic() - begin_s)
        churn.end(AT_A_TIME)
        deadline = time.monotonic() + 60
        while names_in(metrics) or metrics_of_processes(metrics):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    print(f"{spent:.2f} % of a CPU, of {budget} %; {len(seen)} seen; {rows}")
    assert len(seen) > 1.5 * AT_A_TIME
    assert spent < 1.2 * budget
    half = len(rows) // 2
    early, late = (
        [max(column) for column in zip(*part, strict=True)] for part in (rows[:half], rows[half:])
    )
    assert late[0] <= early[0] + AT_A_TIME
    assert late[1] <= early[1] + 4
    assert late[2] <= AT_A_TIME + 2


def metrics_of_processes(metrics: Metrics) -> list[str]:
    samples = (sample for family in metrics.collect() for sample in family.samples)
    return [sample.labels["pid"] for sample in samples if sample.labels.get("pid")]
