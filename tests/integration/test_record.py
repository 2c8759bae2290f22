"""`record` and the reports on what it wrote, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pydamon
from pydamon._cli.main import main
from tests.integration.conftest import MIB, Program, running, slowness

pytestmark = pytest.mark.live

PYDAMON = (sys.executable, "-m", "pydamon")


def pydamon_says(*argv: str | Path, code: int = 0) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [*PYDAMON, *map(str, argv)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_record_and_every_report(
    quarter: Callable[..., Program], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(*argv: str | Path) -> str:
        assert main(["report", *map(str, argv)]) == 0
        return capsys.readouterr().out

    program, out = quarter(64), tmp_path / "q.damon"
    budget = str(min(50, slowness()))
    pydamon_says("record", "-d", "2s", "--cpu-budget", budget, "--out", out, str(program.pid))

    lines = [json.loads(line) for line in report("regions", out, "--json").splitlines()]
    assert len(lines) >= 3
    for line in lines:
        assert line["pid"] == program.pid
        assert line["start_ns"] < line["end_ns"]
        for start, end, nr_accesses, age in line["regions"]:
            assert start < end
            assert 0 <= nr_accesses <= line["max_nr_accesses"]
            assert age >= 0

    working_set = json.loads(report("wss", out, "--json"))
    assert working_set
    assert json.loads(report("heatmap", out, "--json"))
    summary = report("summary", out)
    assert "Working set" in summary
    assert "[anon]" in summary
    (footprint,) = json.loads(report("footprint", out, "--json"))["targets"]
    assert min(footprint["vsz_bytes"]) > min(footprint["rss_bytes"]) > 0
    recording = pydamon.read_recording(out)
    assert recording.complete
    assert recording.info.commands[0][-1] == "64"


def test_a_command_is_recorded_from_its_start_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "c.damon"
    text = "import time; b = bytearray(30 << 20); time.sleep(1.5)"
    pydamon_says("record", "--out", out, "--", sys.executable, "-c", text)
    recording = pydamon.read_recording(out)
    assert recording.info.commands[0] == (sys.executable, "-c", text)
    snapshots = list(recording.snapshots())
    assert 0.5 < (snapshots[-1].end_ns - snapshots[0].start_ns) / 1e9 < 3.9 * slowness()
    assert max(int(s.size.sum()) for s in snapshots) > 30 * MIB


def test_a_command_line_has_no_empty_end(tmp_path: Path) -> None:
    # As that of a program that has written a title over its arguments.
    argv = ("/bin/sh", "-c", "read x", "", "title", "", "")
    with running(*argv) as process:
        out = tmp_path / "c.damon"
        assert main(["record", "-d", "200ms", "--out", str(out), str(process.pid)]) == 0
    assert pydamon.read_recording(out).info.commands == (argv[:-2],)


def test_the_exit_code_is_that_of_the_command(tmp_path: Path) -> None:
    pydamon_says("record", "--out", tmp_path / "a", "--", "/bin/sh", "-c", "exit 7", code=7)


def recorded(path: Path) -> int:
    """How many snapshots a recording has by now."""
    try:
        return len(pydamon.read_recording(path))
    except (OSError, pydamon.PydamonError):
        return 0


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL]
)
def test_data_outlives_the_recorder(
    number: signal.Signals, quarter: Callable[..., Program], tmp_path: Path
) -> None:
    program, out = quarter(32), tmp_path / "k.damon"
    with running(*PYDAMON, "record", "--out", out, str(program.pid)) as process:
        deadline_s = time.monotonic() + 30 * slowness()
        while not recorded(out):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        process.send_signal(number)
        code = process.wait(timeout=20)
    recording = pydamon.read_recording(out)
    assert len(recording) > 0
    assert recording.complete == (number != signal.SIGKILL)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert os.path.exists(f"/proc/{program.pid}/maps")  # noqa: PTH110


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    out = tmp_path / "c.damon"
    argv = (*PYDAMON, "record", "-d", "700ms", "--out", out, "--", "sleep", "98.7654")
    subprocess.run([*map(str, argv)], check=True, capture_output=True, timeout=60)
    left = subprocess.run(["pgrep", "-f", "sleep 98.7654"], capture_output=True, check=False)
    assert left.stdout == b""


def test_doctor_says_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(pydamon_says("doctor", "--json"))
    assert {"ebpf", "refs"} <= set(found["probes"])
    for here in found["probes"].values():
        assert here["works"] or here["reason"]
    main(["doctor"])
    assert "to within" in capsys.readouterr().out


def test_demo_shows_a_heat_map() -> None:
    text = pydamon_says("demo", "--duration", "2s")
    assert "Working set" in text
    assert "access rate" in text


@pytest.mark.long
def test_what_nobody_hears_does_not_end_a_recording(
    quarter: Callable[..., Program], tmp_path: Path
) -> None:
    program, out = quarter(16), tmp_path / "q.damon"
    line = f"{' '.join(PYDAMON)} record -d 300ms --out {out} {program.pid} 2>&-"
    assert subprocess.run(["/bin/bash", "-c", line], timeout=60, check=False).returncode == 0
    assert pydamon.read_recording(out).complete


def test_a_command_does_not_start_before_everything_is_checked(tmp_path: Path) -> None:
    witness, out = tmp_path / "witness", tmp_path / "exists"
    out.write_text("precious")
    for options in (("-o", out), ("-o", tmp_path / "x", "-d", "garbage")):
        pydamon_says("record", *options, "--", "touch", witness, code=1)
        assert not witness.exists()
    assert out.read_text() == "precious"
    assert not (tmp_path / "x").exists()
