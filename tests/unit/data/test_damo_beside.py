"""The files that damo has beside a recording: footprints, mappings, pids of targets."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pydamon
from pydamon import Footprint, Recording, RecordingError, analysis
from tests.command_line import main
from tests.recordings import BEGIN_NS, MIB, info, snapshot, target
from tests.unit.data.test_damo_files import damo_json, damo_region

APP = target(7, "app", (MIB, 3 * MIB, "rw-p", "[heap]"), (4 * MIB, 5 * MIB, "r-xp", "/lib/x.so"))
CHILD = target(8, "child", (MIB, 2 * MIB, "rw-p", "[anon]"))


def footprints(*moments: tuple[float, dict[int | None, tuple[int, int]]]) -> list[dict[str, Any]]:
    return [
        {
            "time": time_s,
            "footprints": [
                {"pid": pid, "footprint": {"size": size, "resident": resident, "shared": 1}}
                for pid, (size, resident) in sizes.items()
            ],
        }
        for time_s, sizes in moments
    ]


def vmas(*moments: tuple[float, int, list[tuple[int, int, str]]]) -> list[dict[str, Any]]:
    return [
        {
            "time": time_s,
            "procvmas": [
                {"pid": pid, "vmas": [{"start": a, "end": b, "name": name} for a, b, name in maps]}
            ],
        }
        for time_s, pid, maps in moments
    ]


def kdamonds(*pids: int, contexts: int = 1) -> list[dict[str, Any]]:
    targets = [{"pid": str(pid), "obsolete": False, "regions": []} for pid in pids]
    return [{"state": "on", "contexts": [{"ops": "vaddr", "targets": targets}] * contexts}]


def written(folder: Path, *target_ids: int, **beside: Any) -> Path:
    """A recording of damo's, with files beside it."""
    path = folder / "damon.json"
    path.write_bytes(damo_json(*((number, [damo_region()]) for number in target_ids)))
    for suffix, value in beside.items():
        path.with_name(f"{path.name}.{suffix}").write_text(json.dumps(value))
    return path


def test_footprints_and_names_of_another_clock_begin_with_the_recording(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        0,
        kdamonds=kdamonds(4711),
        mem_footprint=footprints(
            (1.7e9, {4711: (100, 50), None: (1, 1)}), (1.7e9 + 1, {4711: (9, 9)})
        ),
        vmas=vmas((1.7e9, 4711, [(4096, 8192, "[heap]")])),
    )
    recording = pydamon.read_recording(path)
    assert [each.pid for each in recording.targets] == [4711]
    assert recording.per_target("vsz_bytes").tolist() == [100 * 4096]
    assert recording.per_target("rss_bytes").tolist() == [50 * 4096]
    (read,) = recording.snapshots()
    assert read[0].mapping is not None
    assert read[0].mapping.name == "[heap]"


def test_a_mapping_without_a_name_is_anonymous(tmp_path: Path) -> None:
    path = written(tmp_path, 0, vmas=vmas((0.0, 5, [(0, 2**40, "")])))
    (mapping,) = analysis.mappings(pydamon.read_recording(path))
    assert (mapping.name, mapping.target.pid) == ("[anon]", 5)


def test_targets_have_the_pids_of_their_places(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        0,
        1,
        kdamonds=kdamonds(70, 80),
        mem_footprint=footprints((0.0, {80: (8, 8), 70: (7, 7)})),
    )
    recording = pydamon.read_recording(path)
    assert [each.pid for each in recording.targets] == [70, 80]
    assert recording.per_target("rss_bytes").tolist() == [7 * 4096, 8 * 4096]


def test_several_contexts_leave_targets_their_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, 0, kdamonds=kdamonds(70, contexts=2))
    assert [each.pid for each in pydamon.read_recording(path).targets] == [0]


def test_without_files_beside_it_nothing_is_known(tmp_path: Path) -> None:
    recording = pydamon.read_recording(written(tmp_path, 0))
    assert [each.pid for each in recording.targets] == [0]
    assert not recording.per_target("rss_bytes").any()


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("mem_footprint", [{"time": 1.0, "footprints": [{"pid": 1, "footprint": {"size": -1}}]}]),
        ("mem_footprint", [{"time": -1.0}]),
        ("mem_footprint", {"time": 1.0}),
        ("mem_footprint", [{"time": 1e300}]),
        ("vmas", vmas((1.0, 1, [(0, 9, "a"), (5, 20, "b")]))),
        ("vmas", vmas((1.0, 1, [(9, 5, "a")]))),
        ("vmas", vmas((1.0, 1, [(0, 2**80, "a")]))),
        ("kdamonds", "nothing"),
        ("kdamonds", [{"contexts": [{"targets": [{"pid": "x"}]}]}]),
    ],
)
def test_a_damaged_file_is_left_out_with_a_warning(
    tmp_path: Path, suffix: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, 0, **{suffix: value})
    with caplog.at_level(logging.WARNING, "pydamon"):
        recording = pydamon.read_recording(path)
    assert recording.complete
    assert [each.pid for each in recording.targets] == [0]
    (message,) = caplog.messages
    assert "left out" in message
    assert "\n" not in message


def grown(count: int = 30) -> Recording:
    """A process that grows from second to second, and a child."""
    snapshots = []
    for number in range(count):
        second = (number + 1) // 10  # in which the snapshot ends
        bare = snapshot(
            (APP, CHILD),
            [(0, MIB, 3 * MIB, 20, 0), (0, 4 * MIB, 5 * MIB, 0, 0), (1, MIB, 2 * MIB, 1, 0)],
            number,
        )
        sizes = Footprint((100 + second) * 4096, (50 + second) * 4096), Footprint(8192, 4096)
        snapshots.append(replace(bare, footprints=sizes))
    return Recording.from_snapshots(snapshots, info())


@pytest.mark.parametrize("name", ["x.data", "x.json"])
def test_what_is_written_for_damo_is_read_again(tmp_path: Path, name: str) -> None:
    recording = grown()
    path = tmp_path / name
    pydamon.write_recording(path, recording)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [name, *(f"{name}{suffix}" for suffix in (".kdamonds", ".mem_footprint", ".vmas"))]
    )
    assert all(file.stat().st_mode & 0o77 == 0 for file in tmp_path.iterdir())
    again = pydamon.read_recording(path)
    assert [each.pid for each in again.targets] == [7, 8]
    assert again.per_target("rss_bytes").tolist() == recording.per_target("rss_bytes").tolist()
    assert again.per_target("vsz_bytes").tolist() == recording.per_target("vsz_bytes").tolist()
    names = [again.names("mapping")[code] for code in again.codes("mapping")]
    assert names == [recording.names("mapping")[code] for code in recording.codes("mapping")]


def test_files_for_damo_have_its_keys_and_units(tmp_path: Path) -> None:
    path = tmp_path / "x.data"
    pydamon.write_recording(path, grown())
    beside = {
        suffix: json.loads((tmp_path / f"x.data.{suffix}").read_text())
        for suffix in ("kdamonds", "mem_footprint", "vmas")
    }
    first = beside["mem_footprint"][0]
    assert first["time"] == pytest.approx(BEGIN_NS / 1e9 + 0.1)
    assert len(beside["mem_footprint"]) == 4
    footprint = first["footprints"][0]
    assert footprint["pid"] == 7
    assert footprint["footprint"] == {
        **{"size": 100, "resident": 50},
        **dict.fromkeys(("shared", "trs", "lrs", "drs", "dt"), 0),
    }
    assert len(beside["vmas"]) == 1
    heap = beside["vmas"][0]["procvmas"][0]["vmas"][0]
    assert heap == {"start": MIB, "end": 3 * MIB, "name": "[heap]"}
    assert beside["vmas"][0]["procvmas"][1]["vmas"][0]["name"] == ""
    (context,) = beside["kdamonds"][0]["contexts"]
    assert [each["pid"] for each in context["targets"]] == ["7", "8"]
    assert context["intervals"]["aggr_us"] == "100000 us"


def test_files_beside_are_overwritten_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "x.data"
    other = tmp_path / "x.data.vmas"
    other.write_text("of somebody else")
    with pytest.raises(RecordingError, match=r"x\.data\.vmas exists already"):
        pydamon.write_recording(path, grown())
    assert not path.exists()
    bare = Recording.from_snapshots([snapshot((target(7, "app"),), [(0, MIB, 2 * MIB, 1, 0)])])
    pydamon.write_recording(path, bare, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["x.data"]


def test_recordings_of_several_hosts_have_no_files_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for host in ("a", "b"):
        paths.append(tmp_path / f"{host}.damon")
        facts = replace(info(), hostname=host)
        whole = Recording.from_snapshots(grown().snapshots(), facts)
        pydamon.write_recording(paths[-1], whole)
    (tmp_path / "out").mkdir()
    assert main(["merge", *map(str, paths), str(tmp_path / "out" / "x.data")]) == 0
    assert "mapping, " in capsys.readouterr().err  # which the file cannot hold, either
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["x.data"]


def test_a_conversion_says_what_lies_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pydamon.write_recording(tmp_path / "a.damon", grown())
    assert main(["convert", str(tmp_path / "a.damon"), str(tmp_path / "x.data")]) == 0
    wholly, partly = capsys.readouterr().err.splitlines()
    assert "mapping" not in wholly
    assert partly == "the files beside it hold once a second: mapping, vsz_bytes, rss_bytes"


def test_reports_show_what_lies_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.data"
    pydamon.write_recording(path, grown())
    assert main(["report", "footprint", str(path), "--pid", "7", "--json"]) == 0
    (process,) = json.loads(capsys.readouterr().out)["targets"]
    assert process["rss_bytes"][0] == 50 * 4096
    assert np.all(np.diff(process["rss_bytes"]) >= 0)
    assert main(["report", "mappings", str(path)]) == 0
    assert "[heap]" in capsys.readouterr().out
