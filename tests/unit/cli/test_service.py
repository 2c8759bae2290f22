"""`apply` and the policies: options that override a file, and signals."""

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

from pydamon.policies import read_statuses
from tests.command_line import main
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
    """A name that no other service on this machine has."""
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


@pytest.mark.parametrize(
    "command", [["apply"], pytest.param(["reclaim", "--config"], marks=pytest.mark.long)]
)
def test_options_override_the_file(
    command: list[str], file: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = _run(capsys, *command, file, "-d", "1s")
    assert (status["name"], status["aggregation_us"]) == (name, 400_000)
    with script("print(1, flush=True)\nimport time\ntime.sleep(100)") as other:
        options = ["--aggr", "50ms", "--sample", "10ms", "--name", f"{name}-other", "-d", "1s"]
        status = _run(capsys, *command, file, *options, other.pid)
    assert (status["name"], status["sampling_us"], status["aggregation_us"]) == (
        f"{name}-other",
        10_000,
        50_000,
    )
    assert [target["pid"] for target in status["targets"]] == [other.pid]


def test_parameters_of_the_policy_override_the_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(capsys, "reclaim", "--config", file, "-d", "1s")["schemes"][0]["sz_tried"] == 0
    status = _run(capsys, "reclaim", "--config", file, "--min-age", "100ms", "-d", "1500ms")
    assert status["schemes"][0]["sz_tried"] > 0


def test_the_state_before_the_first_aggregation(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = _run(capsys, "apply", file, "--aggr", "10s", "-d", "100ms")
    (scheme,) = status["schemes"]
    # A window that the end cuts short may come in time, or not.
    assert scheme["state"].startswith(("no aggregation has ended yet", "on; too early to tell"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--aggr", "50"], "pydamon: aggr: not a duration: '50'"),
        (["--max-regions", "2"], "pydamon: there can be at most|pydamon: .*regions"),
        (["--cpu-budget", "0"], "pydamon: cpu_budget_percent: not a CPU budget"),
        (["--quota-time", "1"], "pydamon: quota_time: not a duration"),
    ],
)
def test_errors_in_options_do_not_name_the_file(
    options: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reclaim", "--config", str(file), *options]) == 1
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line.startswith(message) or "regions" in line
    assert str(file) not in line


def _soon(name: str, *actions: Any) -> None:
    """When the service of that name has written its status, run the actions in turn."""

    def act() -> None:
        for action in actions:
            end = time.monotonic() + 20
            while name not in read_statuses() and time.monotonic() < end:
                time.sleep(0.02)
            action()
            time.sleep(1.2)

    threading.Thread(target=act, daemon=True).start()


def _signal(number: signal.Signals) -> Any:
    return lambda: os.kill(os.getpid(), number)


def test_sighup_without_a_file_ends_the_service(
    pid: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _soon(name, _signal(signal.SIGHUP))
    assert main(["stat", str(pid), "--name", name, "-d", "30s"]) == 0
    assert "no configuration file to read again" in capsys.readouterr().err


@pytest.mark.long
def test_sighup_reads_the_file_again_and_keeps_the_old_one_if_it_is_wrong(
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
    messages = [line for line in captured.err.splitlines() if "configuration" in line]
    assert [line.partition(":")[0] for line in messages] == [
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
def test_the_capabilities_of_the_systemd_unit_suffice(lacks: str) -> None:
    (names,) = re.findall(r"^CapabilityBoundingSet=(.*)", _UNIT.read_text(), re.MULTILINE)
    kept = {name.lower() for name in names.split()} - {lacks}
    bounds = ",".join(["-all", *(f"+{name.removeprefix('cap_')}" for name in sorted(kept))])
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
