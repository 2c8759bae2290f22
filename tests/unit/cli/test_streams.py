"""`convert`, `slice`, `merge` and `cat`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pydamon import read_recording
from tests.command_line import main
from tests.recordings import busy, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "r.damon"
    record(file, busy(30))
    return file


def test_convert(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "r.parquet"
    assert main(["convert", str(path), str(target)]) == 0
    assert len(read_recording(target)) == 30
    assert main(["convert", str(path), str(target)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["convert", "--force", "--format", "json", str(path), str(target)]) == 0
    assert json.loads(target.read_text())[0]["target_id"] == 7


def test_slice(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.csv"
    bounds = ["--from", "1s", "--to", "2s", "--pid", "8", "--addresses", "100000-200000"]
    assert main(["slice", *bounds, str(path), str(target)]) == 0
    part = read_recording(target)
    assert len(part) == 10
    assert [target.pid for target in part.targets] == [8]
    assert main(["slice", "--addresses", "5-3", str(path), str(target)]) == 2


def test_merge(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    assert main(["convert", str(path), str(other)]) == 0
    target = tmp_path / "all.damon"
    assert main(["merge", str(path), str(other), str(target)]) == 0
    assert len(read_recording(target).table) == 180
    assert main(["merge", str(path), str(path), str(tmp_path / "twice.damon")]) == 1
    assert "there twice" in capsys.readouterr().err


def test_a_truncated_recording_is_a_warning(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    assert main(["convert", str(path), str(tmp_path / "r.ndjson")]) == 0
    assert f"{path} is not complete: its end is cut off" in capsys.readouterr().err
    assert main(["merge", str(path), str(tmp_path / "merged.damon")]) == 0
    assert f"the merged recording is not complete: {path}: its end" in capsys.readouterr().err
    path.write_bytes(content[:-100])  # within its only batch of rows
    assert main(["convert", str(path), str(tmp_path / "none.ndjson")]) == 1
    assert "nothing of the recording can be read\n  its end is cut off" in capsys.readouterr().err
    assert not (tmp_path / "none.ndjson").exists()


@pytest.mark.parametrize("name", ["ndjson", "csv", "json", "perf_script"])
def test_cat_can_be_read_again(
    path: Path, tmp_path: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["cat", "--format", name, str(path)]) == 0
    copy = tmp_path / "copy"
    copy.write_bytes(capfdbinary.readouterr().out)
    assert len(read_recording(copy)) == 30


def test_cat_ends_with_its_reader(path: Path) -> None:
    command = f"{sys.executable} -m pydamon cat {path} | head -n 1"
    done = subprocess.run(command, shell=True, check=True, capture_output=True)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def test_a_pipe_can_be_read(path: Path) -> None:
    run = f"{sys.executable} -m pydamon"
    command = f"{run} cat --format csv {path} | {run} report wss --json /dev/stdin"
    done = subprocess.run(command, shell=True, check=True, capture_output=True)
    assert len(json.loads(done.stdout)["total"]["bytes"]) == 30
