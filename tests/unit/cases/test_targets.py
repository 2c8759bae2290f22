"""A target is a host, a pid and the start of its process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pydamon import analysis
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import open_recording, read_recording
from pydamon._data.recording import Recording
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Target
from pydamon._show.frames import Replay
from tests.recordings import MIB, busy, record, snapshot
from tests.unit.cases.helpers import FILES, S, printed


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    for name in ("fleet_hostA.ndjson", "fleet_hostB.ndjson"):
        (tmp_path / "fleet").mkdir(exist_ok=True)
        shutil.copy(FILES / name, tmp_path / "fleet")
    return tmp_path / "fleet"


def test_processes_of_two_hosts_are_two_targets(fleet: Path) -> None:
    for recording in (open_recording(fleet), read_recording(fleet)):
        working_set = analysis.working_set(recording)
        named = {
            (series.target.name, series.target.host): series.most
            for series in working_set.targets
            if series.target
        }
        assert named == {("nginx", "hostA"): 16 * MIB, ("postgres", "hostB"): 48 * MIB}
        assert working_set.total.size_bytes.tolist() == [64 * MIB] * 10
        summary = analysis.summary(recording)
        assert [each.host for each in summary.targets] == ["hostA", "hostB"]
        assert {(m.target.name, m.size.hot) for m in summary.mappings} == {
            ("nginx", 16 * MIB),
            ("postgres", 48 * MIB),
        }
        heat = analysis.heatmap(recording)
        assert (heat.target.name, [each.name for each in heat.others]) == ("postgres", ["nginx"])
        assert heat.rates == pytest.approx(np.ones_like(heat.rates))
        regions = analysis.regions(recording).sorted_by("address").regions
        assert [each.target.name for each in regions] == ["nginx", "nginx", "postgres"]


@pytest.mark.parametrize("suffix", ["json", "data", "perf"])
def test_two_hosts_stay_two_targets_where_a_file_knows_no_hosts(
    fleet: Path, tmp_path: Path, suffix: str
) -> None:
    lost = write_recording(tmp_path / f"r.{suffix}", open_recording(fleet))
    assert {"host", "pid", "target"} <= set(lost)
    copy, original = read_recording(tmp_path / f"r.{suffix}"), read_recording(fleet)
    working_set = analysis.working_set(copy)
    assert sorted(series.most for series in working_set.targets) == [16 * MIB, 48 * MIB]
    assert working_set.total.size_bytes.tolist() == [64 * MIB] * 10
    windows = ("end_ns",) if suffix == "perf" else ("start_ns", "end_ns")
    for name in windows:
        assert sorted(copy.column(name)) == sorted(original.column(name)), name


def test_both_hosts_are_named_wherever_targets_are(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for report in ("wss", "footprint", "summary", "heatmap", "access", "mappings", "regions"):
        text = printed(capsys, "report", report, str(fleet))
        assert "hostB" in text or report == "heatmap", report
        assert report == "heatmap" or "hostA" in text, report
    document = json.loads(printed(capsys, "report", "wss", "--json", str(fleet)))
    assert [(each["pid"], each["host"]) for each in document["targets"]] == [
        (1234, "hostA"),
        (1234, "hostB"),
    ]
    by_pid = json.loads(printed(capsys, "report", "wss", "--json", "--pid", "1234", str(fleet)))
    assert by_pid["targets"] == document["targets"]
    where = ["--where", "host = hostA"]
    alone = json.loads(printed(capsys, "report", "summary", "--json", *where, str(fleet)))
    assert {each["target"] for each in alone["mappings"]} == {"nginx"}


def test_a_fleet_is_replayed_with_its_targets_apart(fleet: Path) -> None:
    frames = Replay(read_recording(fleet)).history.frames()
    assert len(frames) == 10
    sets = {key[0]: size for key, size in frames[0].working_sets.items()}
    assert sets == {"hostA": 16 * MIB, "hostB": 48 * MIB}


def test_a_pid_that_was_given_anew_is_another_target(capsys: pytest.CaptureFixture[str]) -> None:
    path = FILES / "pid_reuse.ndjson"
    working_set = analysis.working_set(open_recording(path))
    assert [series.target.name for series in working_set.targets if series.target] == [
        "sh",
        "python3",
    ]
    assert [len(series.end_ns) for series in working_set.targets] == [5, 5]
    assert len(working_set.total.end_ns) == 10
    text = printed(capsys, "report", "summary", str(path))
    assert "sh (pid 77), python3 (pid 77)" in " ".join(text.split())
    assert [each.name for each in read_recording(path).targets] == ["sh", "python3"]


def test_a_process_is_its_start_and_not_its_name(tmp_path: Path) -> None:
    """One that renames itself is one target; two of one name and pid are two."""
    started = [1 * S, 1 * S, 1 * S, 2 * S]
    names = ["sh", "python3", "python3", "python3"]
    recording = record(
        tmp_path / "r.damon",
        [
            snapshot((Target(77, name, started_ns=began_ns),), [(0, 0x1000, 0x2000, 20, 0)], number)
            for number, (name, began_ns) in enumerate(zip(names, started, strict=True))
        ],
    )
    working_set = analysis.working_set(recording)
    assert [
        (series.target.name, len(series.end_ns)) for series in working_set.targets if series.target
    ] == [
        ("python3", 3),
        ("python3", 1),
    ]
    frames = Replay(recording).history.frames()
    assert len({key for frame in frames for key in frame.working_sets}) == 2
    first = recording.of_target(recording.targets[0])
    assert len(first) == 3


def test_there_is_no_such_target(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(3))
    assert isinstance(recording, Recording)
    with pytest.raises(RecordingError, match="no process 99"):
        recording.of_target(Target(99))
    with pytest.raises(RecordingError, match="no process 99"):
        list(open_recording(tmp_path / "r.damon").of_target(Target(99)))
