"""Recordings that earlier versions wrote still open, and mean what they meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pydamon import open_recording, read_recording
from pydamon._data.recording import COLUMNS
from tests.unit.data.recordings_of_earlier_versions.make import figures

FILES = Path(__file__).parent / "recordings_of_earlier_versions"
FIRST, HOSTS, FOOTPRINTS, AGES, LAST = ("419e324", "3e91941", "0b260d2", "c0a5788", "ca3c59d")
VERSIONS = (FIRST, HOSTS, FOOTPRINTS, AGES, LAST)
CONVERTING = (FOOTPRINTS, LAST)
COUNTS_REGIONS_AS_WARM = (FIRST, HOSTS, FOOTPRINTS, AGES)
"""A warm region was warm as a whole. Today the bytes that were not touched in it are cold."""
COUNTS_SNAPSHOTS_ALIKE = (FIRST, HOSTS)
"""Percentiles counted snapshots, however long each was. Today long windows count more."""


def noted(version: str) -> dict[str, Any]:
    """The figures that the version itself computed of its recording."""
    document: dict[str, Any] = json.loads((FILES / version / "figures.json").read_text())
    return document


def comparable(version: str, document: dict[str, Any]) -> dict[str, Any]:
    """The figures without those whose definition has changed since."""
    del document["columns"]
    if version in COUNTS_REGIONS_AS_WARM:
        sizes = document["summary"]["bytes"]
        sizes["not hot"] = sizes.pop("warm") + sizes.pop("cold")
        for mapping in document["summary"]["mappings"]:
            del mapping[3:]
    if version in COUNTS_SNAPSHOTS_ALIKE:
        marks = document["working_set"]["percentiles"]
        document["working_set"]["percentiles"] = [marks[0], marks[-1]]
    return document


def assert_alike(today: Any, then: Any, place: str = "") -> None:
    """Same structure, and the same numbers but for the last digits."""
    if isinstance(then, dict):
        assert today.keys() == then.keys(), place
        for key, value in then.items():
            assert_alike(today[key], value, f"{place}.{key}")
    elif isinstance(then, list):
        assert len(today) == len(then), place
        for index, value in enumerate(then):
            assert_alike(today[index], value, f"{place}[{index}]")
    elif isinstance(then, float):
        assert today == pytest.approx(then, rel=1e-9, nan_ok=True), place
    else:
        assert today == then, place


@pytest.mark.parametrize("name", ["recording.damon", "killed.damon"])
@pytest.mark.parametrize("version", VERSIONS)
def test_figures_of_a_recording_are_what_its_version_said(version: str, name: str) -> None:
    recording = read_recording(FILES / version / name)
    assert recording.complete == (name == "recording.damon")
    assert recording.info.hostname == "host1"
    assert recording.info.commands == (("app", "--fast"), ("worker",))
    assert recording.table.column_names == COLUMNS.names
    assert_alike(
        comparable(version, figures(recording)), comparable(version, noted(version)), version
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv.gz", "ndjson.gz"])
@pytest.mark.parametrize("version", CONVERTING)
def test_lossless_conversions_say_the_same(version: str, suffix: str) -> None:
    recording = open_recording(FILES / version / f"recording.{suffix}").read()
    assert_alike(
        comparable(version, figures(recording)), comparable(version, noted(version)), version
    )


@pytest.mark.parametrize("suffix", ["data", "json.gz", "perf.gz"])
@pytest.mark.parametrize("version", CONVERTING)
def test_files_written_for_damo_have_the_same_working_sets(version: str, suffix: str) -> None:
    recording = read_recording(FILES / version / f"recording.{suffix}")
    for name in ("bytes", "of_targets"):
        assert figures(recording)["working_set"][name] == noted(version)["working_set"][name]


@pytest.mark.parametrize(
    ("version", "count"), list(zip(VERSIONS, (17, 18, 20, 25, 25), strict=True))
)
def test_every_version_wrote_its_own_columns(version: str, count: int) -> None:
    """Otherwise the files would test nothing."""
    with pa.ipc.open_stream(FILES / version / "recording.damon") as reader:
        names = reader.schema.names
    assert names == COLUMNS.names[:count]
