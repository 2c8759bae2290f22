"""The exporter at work: real processes that come and go, under one budget."""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pydamon
from pydamon import TargetError
from pydamon._observe.targets.members import members_of_cgroup
from pydamon._observe.targets.virtual import Members
from pydamon._show.metrics import Exporter, Metrics
from pydamon._show.metrics import exporter as exporter_module
from tests.integration.conftest import CHURN, open_files, running, script
from tests.unit.show.metrics.test_metrics import read

pytestmark = pytest.mark.live


@contextmanager
def exporting(pids: Members | list[int], metrics: Metrics, budget: float = 1.0) -> Iterator[None]:
    """An exporter in a thread, for as long as the context lasts."""
    exporter = Exporter(pids, metrics, cpu_budget_percent=budget)
    thread = threading.Thread(target=exporter.run)
    thread.start()
    try:
        yield
    finally:
        exporter.stop()
        thread.join(60)
        assert not thread.is_alive()


def _children(pid: int) -> Members:
    def members() -> list[int]:
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
                return [pid, *map(int, file.read().split())]
        except OSError:
            return []

    return members


@pytest.mark.long
def test_processes_that_come_and_go_leave_nothing() -> None:
    metrics = Metrics(processes=5)
    before = open_files()
    with script(CHURN) as program, exporting(_children(program.pid), metrics, budget=5):
        deadline = time.monotonic() + 30
        while not (values := read(metrics)).get(("pydamon_processes",)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        names = {key[1:] for key in values if key[0] == "pydamon_process_working_set_bytes"}
        for _ in range(5):
            time.sleep(0.5)
            values = read(metrics)
            names |= {key[1:] for key in values if key[0] == "pydamon_process_working_set_bytes"}
            # The program, about 20 of its children at a time, and the exporter's own.
            assert open_files() < before + 120
        assert len(names) <= 40
        assert values["pydamon_snapshots_total",] > 1
    assert open_files() <= before
    assert read(metrics)["pydamon_processes",] == 0


@contextmanager
def cgroup() -> Iterator[Path]:
    """A cgroup of our own (version 2), as it is on machines that have version 1 as well."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not roots or not os.access(roots[0], os.W_OK):
        pytest.skip("needs cgroups of version 2, and the right to make one")
    path = roots[0] / f"pydamon-test-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        deadline = time.monotonic() + 20
        while (path / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        path.rmdir()


def test_a_cgroup_is_all_of_its_processes_and_no_other() -> None:
    """40 programs a second come and go in it; one stays; another runs outside."""
    churn = CHURN.replace("0.005", "0.025").replace("import subprocess", "import subprocess, os")
    # A process of less than a minute has no series of its own, unless it was there at first.
    before, metrics = open_files(), Metrics(processes=500)
    with cgroup() as path, script("print(1, flush=True); input()") as outside:
        enter = f"open({str(path / 'cgroup.procs')!r}, 'w').write('0')\n"
        members = members_of_cgroup(path.name)
        with script(enter + churn) as inside, exporting(members, metrics, budget=5):
            deadline = time.monotonic() + 30
            while (values := read(metrics)).get(("pydamon_snapshots_total",), 0) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            pids = {key[1] for key in values if key[0] == "pydamon_process_resident_bytes"}
            assert str(inside.pid) in pids
            assert str(outside.pid) not in pids
            assert "" in pids, "the others are there, too, as a sum"
            assert 2 <= values["pydamon_processes",] < 30
            assert open_files() < before + 120
    assert open_files() <= before


@pytest.mark.long
def test_it_waits_for_processes_to_come() -> None:
    metrics, pids = Metrics(), list[int]()
    with exporting(lambda: pids, metrics, budget=10):
        time.sleep(0.5)
        assert read(metrics)["pydamon_processes",] == 0
        with script("print(1, flush=True); import time; time.sleep(99)") as program:
            pids.append(program.pid)
            deadline = time.monotonic() + 30
            while not read(metrics)["pydamon_processes",]:
                assert time.monotonic() < deadline
                time.sleep(0.1)


@pytest.mark.long
def test_a_mistake_does_not_end_a_service_that_watches_many(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    works, failures = pydamon.monitor, iter(["first", "second", "second"])

    def monitor(*args: Any, **options: Any) -> Any:
        if failure := next(failures, None):
            raise ValueError(f"{failure} {os.getpid()} \x1b[2J")
        return works(*args, **options)

    monkeypatch.setattr(exporter_module, "monitor", monitor)
    metrics = Metrics()
    with script("print(1, flush=True); input()") as program:
        with exporting(lambda: [program.pid], metrics, budget=50):
            deadline = time.monotonic() + 30
            while not read(metrics)["pydamon_processes",]:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        failures = iter(["third"])
        exporter = Exporter([program.pid], Metrics())
        with pytest.raises(ValueError, match="third"):
            exporter.run()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all(message.isprintable() for message in messages)


def test_named_processes_must_be_there() -> None:
    with pytest.raises(TargetError, match="no process"):
        Exporter([2**22 + 1], Metrics()).run()


def test_the_command_serves_until_the_program_ends() -> None:
    with script("print(1, flush=True); input()") as program:
        command = ("-m", "pydamon", "export", "--listen", "0", str(program.pid))
        with running(sys.executable, "-c", _TO_STDOUT, *command) as export:
            assert export.stdout is not None
            address = export.stdout.readline().split()[3].rstrip(";")
            deadline = time.monotonic() + 30
            text = ""
            while "process_working_set_bytes{" not in text:
                assert time.monotonic() < deadline
                with urllib.request.urlopen(address, timeout=10) as answer:
                    text = answer.read().decode()
                time.sleep(0.1)
            assert f'pid="{program.pid}"' in text
            program.kill()
            assert export.wait(30) == 0


_TO_STDOUT = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, *sys.argv[1:]], stderr=sys.stdout.fileno()))
"""
