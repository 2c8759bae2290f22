from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pydamon.cli.report import Report
from pydamon.core.errors import RecordingError
from pydamon.core.snapshot import Target
from pydamon.recording import Recorder
from tests.recordings import MIB, info, record, snapshot, target

APP = target(7, "app", (MIB, 5 * MIB, "rw-p", "[heap]"))
WORKER = Target(8, "worker")


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "r.damon"
    record(
        file,
        [
            snapshot(
                (APP, WORKER),
                [
                    (0, MIB, 3 * MIB, 20, number),
                    (0, 3 * MIB, 5 * MIB, 0, number),
                    (1, 8 * MIB, 9 * MIB, 2, 0),
                ],
                number,
            )
            for number in range(30)
        ],
    )
    return str(file)


def report(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    command = Report()
    command.configure(parser)
    return command.run(parser.parse_args(argv))


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert report(*argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_regions_as_json_are_one_object_a_line(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, "regions", path, "--json").splitlines()
    assert len(lines) == 60
    first = snapshot((), [])
    assert json.loads(lines[0]) == {
        "start_ns": first.start_ns,
        "end_ns": first.end_ns,
        "pid": 7,
        "max_nr_accesses": 20,
        "regions": [[MIB, 3 * MIB, 20, 0], [3 * MIB, 5 * MIB, 0, 0]],
    }
    assert json.loads(lines[59])["regions"] == [[8 * MIB, 9 * MIB, 2, 0]]


def test_regions_for_people(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "regions", path, "--pid", "7")
    assert text.count("app (pid 7): after") == 30
    assert "worker" not in text
    assert "100000-300000     2 MiB     20/20      0     2 MiB  [heap] rw-p" in text


def test_access_says_what_is_hot_and_what_is_not(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "access", path)
    assert "app (pid 7), worker (pid 8)" in text
    hot = next(line for line in text.splitlines() if line.startswith("Hot "))
    assert "2 MiB" in hot
    assert "40 %" in hot
    assert "3 MiB in the median" in text
    document = json.loads(printed(capsys, "access", path, "--json"))
    assert document["bytes"]["hot"] == pytest.approx(2 * MIB)
    assert document["regions"][0]["mapping"] == "[heap]"
    assert document["recording"]["probe"] == "trace"


def test_wss(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(printed(capsys, "wss", path, "--json", "--percentiles", "50,99.9"))
    assert document["total"]["percentiles"] == {"50": 3 * MIB, "99.9": 3 * MIB}
    assert [one["pid"] for one in document["targets"]] == [7, 8]
    assert "99.9 %  3 MiB" in printed(capsys, "wss", path, "--percentiles", "99.9")


def test_heatmap(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--range", "all", "--width", "3", "--height", "2")
    text = printed(capsys, "heatmap", path, *options)
    assert "100000 │999│ [heap]" in text
    assert "│...│" in text
    assert "--pid 8" in text
    document = json.loads(printed(capsys, "heatmap", path, "--json", *options))
    assert document["access_rates"] == [[1, 1, 1], [0, 0, 0]]
    assert document["segments"] == [[MIB, 5 * MIB]]
    named = printed(capsys, "heatmap", path, "--range", "100000-200000", "--json")
    assert json.loads(named)["segments"] == [[MIB, 2 * MIB]]


@pytest.mark.parametrize(
    "argv",
    [
        ("heatmap", "--range", "nonsense"),
        ("heatmap", "--range", "2000-1000"),
        ("heatmap", "--width", "0"),
        ("wss", "--percentiles", "200"),
        ("wss", "--percentiles", ""),
        ("unknown",),
    ],
)
def test_options_that_make_no_sense_are_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        report(*argv)


@pytest.mark.parametrize("kind", ["access", "heatmap", "wss", "regions"])
def test_a_recording_without_snapshots_says_so(tmp_path: Path, kind: str) -> None:
    with Recorder(tmp_path / "r.damon", info()) as recorder:
        with pytest.raises(RecordingError, match="has no snapshots") as caught:
            report(kind, str(recorder.path))
        assert "not closed" in caught.value.hint


@pytest.mark.parametrize("kind", ["access", "heatmap", "wss", "regions"])
def test_a_process_that_is_not_in_there_is_said_so(path: str, kind: str) -> None:
    with pytest.raises(RecordingError, match="no process 99"):
        report(kind, path, "--pid", "99")


def test_what_a_crash_left_is_shown_with_a_word_of_warning(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(path)
    file.write_bytes(file.read_bytes()[:-9])
    assert report("wss", path) == 0
    captured = capsys.readouterr()
    assert "working set in" in captured.out
    assert "not complete" in captured.err


def test_a_reader_that_leaves_early_is_no_error(path: str) -> None:
    script = (
        "import sys\n"
        "from pydamon.cli.main import main\n"
        "sys.exit(max(main(['report', *sys.argv[1:]]) for _ in range(200)))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "regions", path, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
