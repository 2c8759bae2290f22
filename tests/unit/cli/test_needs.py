"""`pydamon report needs` and `pydamon tune`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pydamon import Attrs, Recorder, RecordingError, RecordingInfo
from pydamon.policies import POLICIES, Reclaim, TargetSelection, Tier, load_config
from tests.ages import comb
from tests.command_line import PROGRAM, main, run_report
from tests.recordings import MIB, record
from tests.unit.cli.reports import printed

S = 10**9


@pytest.fixture
def comb_path(tmp_path: Path) -> str:
    record(tmp_path / "comb.damon", comb(120))
    return str(tmp_path / "comb.damon")


def tune(*argv: str) -> int:
    code: int = PROGRAM.main(["tune", *argv], "pydamon", standalone_mode=False)
    return code


def test_for_people(comb_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "needs", comb_path)
    assert text.startswith("comb (pid 7): needs 32 MiB of 256 MiB\n")
    text = printed(capsys, "needs", comb_path, "--max-refaults", "36000/min")
    assert text.startswith("comb (pid 7): needs at most 22 MiB of 256 MiB\n")


def test_as_json(comb_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "needs", comb_path, "--json"))
    (target,) = document["targets"]
    assert (target["pid"], target["name"]) == (7, "comb")
    points = {point["idle_ns"]: point for point in target["points"]}
    assert points[5 * S]["refaults_per_s"] == pytest.approx(512, rel=0.02)
    assert points[10 * S]["refaults_per_s"] == 0
    assert points[10 * S]["kept_bytes"] == pytest.approx(32 * MIB, rel=0.01)
    assert list(points) == sorted(points)
    assert document["total"]["points"] == target["points"]
    assert document["total"]["need"]["refaults_per_s"] == 0
    assert document["total"]["resident_bytes"] == 256 * MIB
    assert (document["total"]["shortest_ns"], document["total"]["longest_ns"]) == (2 * S, 120 * S)
    assert document["followed_share"] == 1
    assert document["peak"]["kept_bytes"] == pytest.approx(32 * MIB, rel=0.01)
    busy = json.loads(printed(capsys, "needs", comb_path, "--json", "--max-refaults", "600"))
    assert busy["total"]["need"]["refaults_per_s"] == pytest.approx(512, rel=0.02)
    assert busy["total"]["tolerated_refaults_per_s"] == 600


def test_a_probe_that_sees_writes_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "writes.damon"
    with Recorder(path, RecordingInfo(Attrs(), "writes", 0)) as recorder:
        for snapshot in comb(20):
            recorder.write(snapshot)
    assert run_report("needs", str(path)) == 0
    assert "what is only read counts as idle" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["svg", "png", "html"])
def test_pictures(
    comb_path: str, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"needs.{suffix}"
    assert run_report("needs", comb_path, "--out", str(out)) == 0
    assert str(out) in capsys.readouterr().err
    with pytest.raises(RecordingError, match="exists already"):
        run_report("needs", comb_path, "--out", str(out))


@pytest.mark.parametrize("command", [["report", "needs"], ["tune", "reclaim"]])
def test_a_recording_without_ages_is_an_error(
    report_path: str, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, report_path]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pydamon: the recording has no ages of pages")
    assert "record again" in error


@pytest.mark.parametrize("rate", ["x", "-1", "5/day", "nan", "inf/s", "/s", ""])
def test_a_wrong_rate_is_an_error(
    comb_path: str, capsys: pytest.CaptureFixture[str], rate: str
) -> None:
    assert main(["report", "needs", comb_path, "--max-refaults", rate]) == 2
    assert "not a rate of pages" in capsys.readouterr().err


def test_tuned_reclaim_is_a_configuration(
    comb_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.toml"
    assert tune("reclaim", comb_path, "--max-refaults", "10/s", "--output", str(out)) == 0
    captured = capsys.readouterr()
    assert "224 MiB of 256 MiB (88 %)" in captured.out
    assert f"pydamon reclaim --config {out}" in captured.err
    config = load_config(out, POLICIES, target=TargetSelection(pids=(1,)))
    assert config.policy == Reclaim(min_age="8.26s")
    with pytest.raises(RecordingError, match="exists already"):
        tune("reclaim", comb_path, "--output", str(out))
    text = out.read_text()
    assert tune("reclaim", comb_path, "--max-refaults", "10/s") == 0
    assert capsys.readouterr().out == text


def test_tuned_reclaim_as_json(comb_path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune("reclaim", comb_path, "--json", "--max-refaults", "10/s") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["policy"] == "reclaim"
    assert document["parameters"] == {"min_age": "8.26s"}
    assert document["saved_bytes"] == pytest.approx(224 * MIB, rel=0.01)
    assert document["saved_share"] == pytest.approx(0.875, rel=0.01)
    assert document["refaults_per_s"] == 0


def test_tuned_tiers(comb_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "policy.toml"
    assert tune("tier", comb_path, "--fast", "30M", "--output", str(out), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kept_bytes"] <= 30 * MIB
    assert document["slow_bytes"] + document["kept_bytes"] == 256 * MIB
    assert document["refaults_per_s"] == pytest.approx(512, rel=0.02)
    config = load_config(out, POLICIES, target=TargetSelection(pids=(1,)))
    assert config.policy == Tier(cold_min_age=document["parameters"]["cold_min_age"])
    assert tune("tier", comb_path, "--fast", "1GiB") == 0
    assert "fits into 1 GiB" in capsys.readouterr().out


def test_what_cannot_be_tuned_is_an_error(tmp_path: Path, comb_path: str) -> None:
    with pytest.raises(RecordingError, match="does not fit into 1 MiB"):
        tune("tier", comb_path, "--fast", "1M")
    record(tmp_path / "busy.damon", comb(7))
    with pytest.raises(RecordingError, match="no idle time in this recording is long enough"):
        tune("reclaim", str(tmp_path / "busy.damon"))
    record(tmp_path / "short.damon", comb(1))
    with pytest.raises(RecordingError, match="too short"):
        tune("reclaim", str(tmp_path / "short.damon"))
