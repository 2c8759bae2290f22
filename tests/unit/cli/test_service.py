"""`apply` and the policies: what the command line says beside a file, and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pydamon._act.policies import read_statuses
from pydamon._cli.main import main
from tests.integration.conftest import needs, running, script

pytestmark = [pytest.mark.live, needs("ebpf")]

_UNIT = Path(__file__).parents[3] / "packaging/systemd/pydamon@.service"
_FILE = """
name = "{name}"
[target]
pids = [{pid}]
[monitoring]
sample = "100ms"
aggr = "400ms"
max_regions = 50
cpu_budget_percent = 50
[policy]
name = "reclaim"
min_age = {min_age}
low = 0
mid = 1000
high = 1000
"""


@pytest.fixture
def pid() -> Iterator[int]:
    with script("print(1, flush=True)\nimport time\nwhile True: time.sleep(0.01)") as process:
        yield process.pid


@pytest.fixture
def name() -> str:
    """One that no other service has, on this machine neither."""
    return f"test-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def file(tmp_path: Path, pid: int, name: str) -> Path:
    path = tmp_path / "service.toml"
    path.write_text(_FILE.format(name=name, pid=pid, min_age='"1h"'))
    return path


def _run(capsys: pytest.CaptureFixture[str], *argv: str | Path | int) -> dict[str, Any]:
    assert main([*map(str, argv), "--json", "--dry-run"]) == 0
    status: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status


@pytest.mark.parametrize("command", [["apply"], ["reclaim", "--config"]])
def test_what_the_command_line_says_wins_over_the_file(
    command: list[str], file: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _run(capsys, *command, file, "-d", "1s")
    assert (told["name"], told["aggregation_us"]) == (name, 400_000)
    with script("print(1, flush=True)\nimport time\ntime.sleep(100)") as other:
        options = ["--aggr", "50ms", "--sample", "10ms", "--name", f"{name}-other", "-d", "1s"]
        told = _run(capsys, *command, file, *options, other.pid)
    assert (told["name"], told["sampling_us"], told["aggregation_us"]) == (
        f"{name}-other",
        10_000,
        50_000,
    )
    assert [target["pid"] for target in told["targets"]] == [other.pid]


def test_a_parameter_of_the_policy_wins_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "reclaim", "--config", file, "-d", "1s")["schemes"][0]["sz_tried"] == 0
    told = _run(capsys, "reclaim", "--config", file, "--min-age", "100ms", "-d", "1500ms")
    assert told["schemes"][0]["sz_tried"] > 0


def test_before_the_first_aggregation_nothing_is_said_to_be_on(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _run(capsys, "apply", file, "--aggr", "10s", "-d", "100ms")
    assert [one["state"] for one in told["schemes"]] == ["no aggregation has ended yet"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--aggr", "50"], "pydamon: aggr: not a duration: '50'"),
        (["--max-regions", "2"], "pydamon: there can be at most|pydamon: .*regions"),
        (["--cpu-budget", "0"], "pydamon: cpu_budget_percent: not a CPU budget"),
        (["--quota-time", "1"], "pydamon: quota_time: not a duration"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_not_said_of_the_file(
    options: list[str], says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reclaim", "--config", str(file), *options]) == 1
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line.startswith(says) or "regions" in line
    assert str(file) not in line


def _soon(name: str, *actions: Any) -> None:
    """Once the service of that name has told of itself, do one thing after the other."""

    def act() -> None:
        for action in actions:
            end = time.monotonic() + 20
            while name not in read_statuses() and time.monotonic() < end:
                time.sleep(0.02)
            action()
            time.sleep(0.7)

    threading.Thread(target=act, daemon=True).start()


def _signal(number: signal.Signals) -> Any:
    return lambda: os.kill(os.getpid(), number)


def test_hanging_up_is_the_end_where_there_is_no_file(
    pid: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _soon(name, _signal(signal.SIGHUP))
    assert main(["stat", str(pid), "--name", name, "-d", "30s"]) == 0
    assert "no configuration file to read again" in capsys.readouterr().err


def test_hanging_up_reads_the_file_again_and_keeps_what_works(
    file: Path, pid: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    works = file.read_text()
    _soon(
        name,
        _signal(signal.SIGHUP),
        lambda: file.write_text("nonsense"),
        _signal(signal.SIGHUP),
        lambda: file.write_text(works.replace(f"[{pid}]", "[4194305]")),
        _signal(signal.SIGHUP),
        lambda: file.write_text(works.replace('"1h"', '"2h"').replace("400ms", "200ms")),
        _signal(signal.SIGHUP),
        _signal(signal.SIGTERM),
    )
    assert main(["apply", str(file), "--json", "-n", "--cpu-budget", "100"]) == 0
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if "configuration" in line]
    assert [line.partition(":")[0] for line in told] == [
        "the configuration was read again, and is the same",
        "the configuration stays as it was",
        "the configuration was read again",
        "the configuration stays as it was",
        "the configuration was read again",
    ]
    status = json.loads(captured.out)
    assert status["aggregation_us"] == 200_000
    assert [target["pid"] for target in status["targets"]] == [pid]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take capabilities away")
@pytest.mark.parametrize("lacks", ["", "cap_dac_read_search"])
def test_the_capabilities_of_the_systemd_unit_suffice_for_processes_of_others(lacks: str) -> None:
    (names,) = re.findall(r"^CapabilityBoundingSet=(.*)", _UNIT.read_text(), re.MULTILINE)
    kept = {one.lower() for one in names.split()} - {lacks}
    bounds = ",".join(["-all", *(f"+{one.removeprefix('cap_')}" for one in sorted(kept))])
    with running("setpriv", "--reuid=65534", "--clear-groups", "/bin/sleep", "100") as other:
        done = subprocess.run(
            [
                *("setpriv", "--bounding-set", bounds, sys.executable, "-m", "pydamon"),
                *("lru-sort", str(other.pid), "--cold-min-age=100ms", "--low=0", "--mid=100"),
                *("--high=100%", "--aggr=100ms", "-d", "1s", "--name", f"{other.pid}", "--json"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if lacks:
        assert done.returncode == 1
        assert "its pages cannot be looked at: Permission denied" in done.stderr
    else:
        assert json.loads(done.stdout)["schemes"][1]["sz_applied"] > 0
