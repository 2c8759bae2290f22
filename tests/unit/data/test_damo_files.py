"""Files of damo: whose regions they list, and numbers in every way that damo writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pydamon import analysis
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import read_recording
from pydamon._model.damo_values import bytes_of, ns_of, number_of
from tests.recordings import MIB
from tests.unit.data.test_foreign_files import CASES, refusal

INTERVALS = {"sample_us": "5000", "aggr_us": "100000", "ops_update_us": "1000000"}


def damo_json(*records: tuple[Any, list[dict[str, Any]]], **more: Any) -> bytes:
    """damo's JSON: of each record its target's id and the regions of its one snapshot."""
    return json.dumps(
        [
            {
                "intervals": INTERVALS,
                "target_id": target_id,
                "snapshots": [
                    {"start_time": "1000", "end_time": "100001000", "regions": regions} | more
                ],
            }
            for target_id, regions in records
        ]
    ).encode()


def damo_region(**changed: Any) -> dict[str, Any]:
    """A region of damo's; `samples` and `age` stand for what is inside of it."""
    samples, age = changed.pop("samples", 3), changed.pop("age", 2)
    return {
        "start": 4096,
        "end": 8192,
        "nr_accesses": {"samples": samples, "percent": None},
        "age": {"usec": None, "aggr_intervals": age},
    } | changed


def test_targets_have_the_numbers_that_damo_gave_them(tmp_path: Path) -> None:
    recording = read_recording(CASES / "target_0_1.json")
    assert [(each.pid, each.name) for each in recording.targets] == [
        (0, "target 0"),
        (1, "target 1"),
    ]
    write_recording(tmp_path / "r.perf", recording)
    write_recording(tmp_path / "r.data", read_recording(tmp_path / "r.perf"))
    for copy in map(read_recording, (tmp_path / "r.perf", tmp_path / "r.data")):
        assert [each.pid for each in copy.targets] == [0, 1]
        for pid in (0, 1):
            touched = analysis.working_set(copy.of_pid(pid)).total.size_bytes
            ours = analysis.working_set(recording.of_pid(pid)).total.size_bytes
            assert touched.tolist() == ours.tolist()


def test_a_target_without_a_number_gets_one_that_no_other_has(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(
        damo_json(
            (None, [damo_region()]),
            (0, [damo_region()]),
            (2**60, [damo_region()]),
            (1, [damo_region()]),
        )
    )
    assert {each.pid: each.name for each in read_recording(path).targets} == {
        0: "target 0",
        1: "target 1",
        2: "",
        3: f"target {2**60}",
    }
    event = "k 1 [0] {}.0: damon:damon_aggregated: target_id={} nr_regions=1 0-4096: 1 1\n"
    path.write_text(event.format(1, 2**60) + event.format(1, 0))
    pids = {each.name: each.pid for each in read_recording(path).targets}
    assert pids == {f"target {2**60}": 1, "target 0": 0}


def test_a_scheme_lists_the_regions_of_several_targets(tmp_path: Path) -> None:
    path = CASES / "tried_regions_two_targets.json"
    recording = read_recording(path)
    assert recording.complete
    assert [each.pid for each in recording.targets] == [0, 1]
    assert analysis.working_set(recording).total.size_bytes.tolist() == [MIB + MIB // 2]
    write_recording(tmp_path / "r.json", recording)
    (record_again,) = json.loads((tmp_path / "r.json").read_bytes())
    (theirs,) = json.loads(path.read_bytes())
    starts, again = (
        [each["start"] for each in document["snapshots"][0]["regions"]]
        for document in (theirs, record_again)
    )
    assert again == starts


@pytest.mark.parametrize(
    "changed",
    [
        {"age": 2**31},
        {"age": "4,294,967,296"},
        {"age": -1},
        {"age": True},
        {"age": 1e30},
        {"age": "1e3"},
        {"samples": 2**32 + 5},
        {"samples": 2**64},
        {"samples": [1]},
        {"samples": "12,34"},
        {"start": 2**63},
        {"start": -4096},
        {"end": 1e308},
        {"end": "99999999999999999999"},
        {"end": "8192 x"},
        {"end": None},
    ],
)
def test_damos_numbers_that_do_not_fit_are_refused_by_their_place(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    content = damo_json(
        (
            0,
            [
                damo_region(),
                damo_region(start=8192, end=12288)
                | damo_region(**{"start": 8192, "end": 12288, **changed}),
            ],
        )
    )
    said = refusal(tmp_path / "r.json", content)
    assert any(place in said for place in ("region 2", "regions[1]", "region 0x", "region -0x"))


@pytest.mark.parametrize("time", [2**63, 1e30, "99999999999999999999", -1, True, "soon"])
def test_damos_times_that_do_not_fit_are_refused(tmp_path: Path, time: Any) -> None:
    said = refusal(tmp_path / "r.json", damo_json((0, [damo_region()]), end_time=time))
    assert "damaged" in said


def test_what_comes_before_a_number_that_does_not_fit_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(
        damo_json((0, [damo_region()]), (1, [damo_region()]), (2, [damo_region(age=2**32)]))
    )
    recording = read_recording(path)
    assert [each.pid for each in recording.targets] == [0, 1]
    assert "record 3, snapshot 1, region 1: age cannot be 4294967296" in recording.problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("94,737,092,173,824", 94737092173824),
        ("94 737 092", 94737092),
        ("94\u202f737", 94737),
        ("94'737", 94737),
        ("12,34", None),
        ("1,2345", None),
        ("1,234,", None),
        ("1.234.567", None),
        ("5 5", None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_thousands_are_told_from_nonsense(written: Any, meant: int | None) -> None:
    for parse in (number_of, bytes_of, ns_of):
        if meant is None:
            with pytest.raises(ValueError, match="not a number"):
                parse(written)
        else:
            assert parse(written) == meant
