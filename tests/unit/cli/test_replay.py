"""`pydamon replay` without a process: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pydamon.workloads import parse
from tests.command_line import PROGRAM, main
from tests.recordings import MIB, record, snapshot
from tests.unit.cli.reports import APP


def replay(*argv: str) -> int:
    code: int = PROGRAM.main(["replay", *argv], "pydamon", standalone_mode=False)
    return code


def test_a_configuration_for_masim(
    report_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.cfg"
    assert replay(report_path, "--out", str(out), "--json") == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("app (pid 7) and 1 more: 5 MiB in 3 regions and 1 phase of 3 s:")
    document = json.loads(captured.out)
    assert document["size_bytes"] == 5 * MIB
    assert document["duration_ns"] == 3 * 10**9
    assert [region["size_bytes"] // MIB for region in document["regions"]] == [2, 2, 1]
    text = out.read_text()
    assert text.startswith("# app (pid 7) and 1 more: 5 MiB, written by `pydamon replay`")
    config = parse(text)
    (phase,) = config.phases
    hot, worker = phase.patterns
    assert (hot.region, worker.region) == ("7-100000", "8-800000")
    assert hot.weight > worker.weight
    assert main(["replay", report_path, "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert replay(report_path, "--out", str(out), "--force", "--pid", "8", "--scale", "50%") == 0
    config = parse(out.read_text())
    assert [region.size_bytes for region in config.regions] == [MIB // 2]


def test_a_part_of_the_time_at_another_speed(
    report_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.cfg"
    assert replay(report_path, "--time", "1s-2s", "--speed", "2", "--out", str(out)) == 0
    assert "of 500 ms: " in capsys.readouterr().err
    assert sum(phase.duration_ms for phase in parse(out.read_text()).phases) == 500


def test_only_some_regions(report_path: str, tmp_path: Path) -> None:
    out = tmp_path / "r.cfg"
    assert replay(report_path, "--where", "rate > 50%", "--out", str(out)) == 0
    assert [region.size_bytes for region in parse(out.read_text()).regions] == [2 * MIB]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--speed", "0"], "not a factor: '0' (as in 0.5 or 50%)"),
        (["--scale", "big"], "not a factor: 'big'"),
        (["--scale", "inf"], "not a factor: 'inf'"),
        (["--time", "2s-1s"], "must end after it starts"),
        (["--out", "-"], "cannot be written to standard output"),
    ],
)
def test_wrong_usage(
    report_path: str, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", report_path, *argv]) == 2
    assert message in capsys.readouterr().err


def test_an_empty_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "empty.damon", [])
    assert main(["replay", str(tmp_path / "empty.damon")]) == 1
    assert "has no snapshots" in capsys.readouterr().err


def test_a_time_without_snapshots(report_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", report_path, "--time", "1h-2h"]) == 1
    assert "the recording is 3 s long and has 30 snapshots" in capsys.readouterr().err


def test_a_recording_without_accesses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "idle.damon", [snapshot((APP,), [(0, 0, MIB, 0, 0)])])
    assert main(["replay", str(tmp_path / "idle.damon")]) == 1
    assert "no memory of the recording was accessed" in capsys.readouterr().err


def test_too_much_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "huge.damon", [snapshot((APP,), [(0, 0, 1 << 50, 20, 0)])])
    assert main(["replay", str(tmp_path / "huge.damon")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pydamon: the replay needs 1 PiB, and only ")
    scale = error.split("--scale ")[1].split()[0]
    assert 0 < float(scale) < 0.1
