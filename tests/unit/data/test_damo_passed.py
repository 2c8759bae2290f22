"""What passed filters in damo's files: sz_filter_passed of one filter, hits of several probes."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pydamon
from pydamon import PassedBytes, Recording
from pydamon._data.formats.damo_passed import filters_of, kind_of_filters
from tests.recordings import REDIS, snapshot

REGIONS = [(0, 0x1000, 0x9000, 5, 1), (0, 0x10_0000, 0x20_0000, 0, 4)]
ALL_KINDS = ("anon", "file", "active", "huge", "young", "memcg:/app")


def recording(**sizes: list[int]) -> Recording:
    """Two snapshots whose regions have so many bytes of each kind."""
    passed = PassedBytes(tuple(sizes), np.array(list(sizes.values())))
    snapshots = [replace(snapshot((REDIS,), REGIONS, n), passed=passed) for n in range(2)]
    return Recording.from_snapshots(snapshots)


def document(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(zlib.decompress(path.read_bytes()))
    return records


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_one_kind_is_the_filter_of_the_record(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "damon.data"
    lost = pydamon.write_recording(path, recording(**{kind: [0x3000, 0]}))
    assert "passed" not in lost
    (record,) = document(path)
    assert record["scheme_filters"] == filters_of(kind)
    first, second = record["snapshots"][0]["regions"]
    assert (first["sz_filter_passed"], second["sz_filter_passed"]) == (f"{0x3000} B", "0 B")
    again = pydamon.read_recording(path)
    assert again.passed_kinds == (kind,)
    assert again.passed(kind).of(kind).tolist() == [0x3000, 0] * 2
    # It is written again as it was.
    pydamon.write_recording(tmp_path / "again.data", again)
    assert document(tmp_path / "again.data") == [record]


def test_several_kinds_are_probes(tmp_path: Path) -> None:
    path = tmp_path / "damon.data"
    lost = pydamon.write_recording(path, recording(anon=[0x6000, 0x8_0000], huge=[0, 0x10_0000]))
    assert "passed" in lost  # in so many samples only
    (record,) = document(path)
    hits = [region["probe_hits"] for region in record["snapshots"][0]["regions"]]
    assert hits == [[15, 0], [10, 20]]
    again = pydamon.read_recording(path)
    assert again.passed_kinds == ("anon", "huge")
    assert again.passed("huge").of("huge").tolist() == [0, 0x10_0000] * 2
    assert again.passed("anon").of("anon").tolist() == [0x6000, 0x8_0000] * 2
    # Nobody knows what the probes were for.
    (tmp_path / "damon.data.kdamonds").unlink()
    without = pydamon.read_recording(path)
    assert without.passed_kinds == ()
    pydamon.write_recording(tmp_path / "again.data", without)
    assert document(tmp_path / "again.data")[0]["snapshots"] == record["snapshots"]


@pytest.mark.parametrize(
    ("filters", "kind"),
    [
        ([{"filter_type": "anon", "matching": True, "allow": True}], "anon"),
        ([{"filter_type": "anon", "matching": False, "filter_pass": True}], "file"),
        ([{"filter_type": "anon", "matching": True}], "file"),  # what matches is rejected
        ([{"filter_type": "young", "matching": False, "allow": True}], ""),
        ([{"filter_type": "memcg", "matching": True, "allow": True}], ""),
        ([{"filter_type": "unmapped", "matching": True, "allow": True}], ""),
        ([], ""),
        ([{}, {}], ""),
        ("anon", ""),
        (None, ""),
    ],
)
def test_other_filters_are_kept_as_they_are(tmp_path: Path, filters: Any, kind: str) -> None:
    assert kind_of_filters(filters) == kind
    path = tmp_path / "damon.data"
    pydamon.write_recording(path, recording(anon=[0x3000, 0]))
    (record,) = document(path)
    record["scheme_filters"] = filters
    path.write_text(json.dumps([record]))
    again = pydamon.read_recording(path)
    assert again.passed_kinds == ((kind,) if kind else ())
    pydamon.write_recording(tmp_path / "again.data", again)
    assert document(tmp_path / "again.data") == [record]


def test_hits_that_make_no_sense_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "damon.data"
    pydamon.write_recording(path, recording(anon=[0x6000, 0], huge=[0, 0]))
    (record,) = document(path)
    first, second = record["snapshots"][0]["regions"]
    first["probe_hits"], second["probe_hits"] = [1, 2, 3], ["x", -1]
    path.write_text(json.dumps([record]))
    told = pydamon.read_recording(path).passed("anon").of("anon").tolist()
    assert told == [-1, -1, 0x6000, 0]
