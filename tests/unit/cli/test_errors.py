"""Bad input: a clear line, an exit code other than 0, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from pydamon._cli.record import _Progress
from tests.command_line import main
from tests.recordings import busy, record, snapshot


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must fail, and return its standard error."""
    assert main(argv) in (1, 2)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return captured.err


def dead_pid() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return str(process.pid)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sample", "0ms"], "sampling interval must be longer than 0"),
        (["--aggr", "0s"], "aggregation interval must be longer than 0"),
        (["--sample", "1s", "--aggr", "100ms"], "longer than the aggregation interval"),
        (["--aggr", "2s", "--update", "1s"], "longer than the update interval"),
        (["--sample", "5"], "not a duration"),
        (["--sample", "soon"], "not a duration"),
        (["--duration", "0s"], "longer than 0"),
        (["--min-regions", "2"], "at least 3 regions"),
        (["--min-regions", "20", "--max-regions", "10"], "below the minimum"),
        (["--cpu-budget", "0"], "not a CPU budget"),
        (["--cpu-budget", "-3"], "not a percentage"),
        (["--cpu-budget", "nan"], "not a percentage"),
        (["--probe", "telepathy"], "is not one of"),
        (["--range", "zz-11"], "not an address range"),
        (["--range", "20-10"], "start below its end"),
        (["--range", "ffffffffffffffff-fffffffffffffffff"], "outside what a process can map"),
        (["--sample", "1ns"], "more often than every 100 us"),
        (["--range", "1000-3000", "--range", "2000-4000"], "overlap"),
    ],
)
def test_invalid_options(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with subprocess.Popen(["/bin/sleep", "30"]) as process:
        try:
            out = str(tmp_path / "x")
            assert words in complaint(capsys, "record", "--out", out, *options, str(process.pid))
            assert not Path(out).exists()
        finally:
            process.kill()


def test_missing_targets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "x")

    def record(*argv: str) -> str:
        return complaint(capsys, "record", "--out", out, *argv)

    assert "there is no process with pid" in record(dead_pid())
    assert "there is no process with pid" in record("999999999999")
    assert "there is no process with pid 0" in record("0")
    assert "kernel thread" in record("2") or not Path("/proc/2").exists()
    assert "name one or more processes" in record()
    assert "pids and command: name one of them only" in record("1", "--", "true")
    assert "no such command" in record("--", "no-such-command-anywhere")
    assert "not an executable" in record("--", str(tmp_path))
    assert "name one or more processes" in record("--")
    assert "not a valid integer" in record("redis")
    assert not Path(out).exists()


def test_files_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    existing = tmp_path / "existing"
    existing.write_text("precious")
    assert "--force" in complaint(capsys, "record", "--out", str(existing), "--", "sleep", "1")
    assert existing.read_text() == "precious"
    missing = tmp_path / "missing" / "x"
    assert str(missing) in complaint(capsys, "record", "--out", str(missing), "--", "sleep", "1")
    full = complaint(capsys, "record", "--force", "--out", "/dev/full", "--", "sleep", "1")
    assert "No space left" in full


@pytest.mark.parametrize("report", ["access", "heatmap", "wss", "regions"])
def test_files_that_are_not_recordings(
    report: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    empty, random = tmp_path / "empty", tmp_path / "random"
    empty.write_bytes(b"")
    random.write_bytes(bytes(range(256)) * 40)
    for path in (tmp_path / "missing", empty, random, tmp_path):
        assert str(path) in complaint(capsys, "report", report, str(path))


def test_a_missing_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "COMMAND" in complaint(capsys)
    assert "Did you mean 'record'" in complaint(capsys, "recrod")


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "2>&-", "2>/dev/full", "| head -c 9"])
def test_output_that_cannot_be_written(redirection: str, tmp_path: Path) -> None:
    record(tmp_path / "r.damon", busy(30))
    line = f"{sys.executable} -m pydamon report wss --json {tmp_path}/r.damon {redirection}"
    done = subprocess.run(
        ["/bin/bash", "-c", line], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if redirection == ">/dev/full":
        assert done.returncode == 1
        assert "cannot write the output: No space left" in done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/proc/1/maps"), "/proc/1/maps: Permission"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (OSError("odd"), "odd"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_system_is_one_line(
    error: OSError, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The error must come from below the command, wherever that is.
    monkeypatch.setattr("pydamon._cli.streams.open_source", Mock(side_effect=error))
    assert complaint(capsys, "convert", "a", "b").startswith(f"pydamon: {line}")


def test_a_terminal_without_unicode() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "pydamon", "doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert "to within" in done.stdout


def test_ctrl_c_during_the_import_of_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.import_module", Mock(side_effect=KeyboardInterrupt))
    assert main(["report", "wss"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["system.slice"], ["--interval", "1s"], ["--duration", "1s"]])
def test_files_in_the_page_cache_are_of_no_cgroup_and_no_time(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    error = complaint(capsys, "cache", "--file", __file__, *words)
    assert "whoever reads it: leave out" in error
    assert words[0] in error


def test_a_program_that_exits_at_once_has_no_snapshot(capsys: pytest.CaptureFixture[str]) -> None:
    """The last window of a program that is gone has no regions."""
    progress = _Progress()
    progress.show(snapshot((), []))
    progress.finish(Path("x.damon"))
    said = capsys.readouterr().err
    assert ", 0 snapshots, " in said
    assert "the program exited before the first one" in said
