from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

from pydamon._data.formats import FORMATS
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import merge_recordings, open_recording, read_recording
from pydamon._data.recording import COLUMNS, Recorder, Recording, RecordingInfo
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.snapshot import Snapshot
from tests.recordings import (
    BEGIN_NS,
    MS,
    busy,
    comparable,
    info,
    killed,
    long_recording,
    record,
)

EVERY = [one.name for one in FORMATS]

QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plain(recording: Recording) -> pa.Table:
    """The rows with names as strings, since codes may differ."""
    table = pa.table(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            for column in recording.table.columns
        ],
        recording.table.column_names,
    )
    return comparable(table.combine_chunks())


def again(path: Path, recording: Recording, name: str) -> Recording:
    """What is read of it when it was written in a format."""
    write_recording(path, recording, format=name, force=True)
    return read_recording(path)


def in_turn(written: list[Snapshot]) -> Iterator[Snapshot]:
    for number, each in enumerate(written):
        begin_ns = BEGIN_NS + number * 100 * MS + 7
        yield dataclasses.replace(each, start_ns=begin_ns, end_ns=begin_ns + 100 * MS)


@pytest.mark.parametrize("name", EVERY)
def test_the_format_is_found_in_the_content(tmp_path: Path, name: str) -> None:
    recording = record(tmp_path / "r.damon", busy(12))
    copy = again(tmp_path / "no-suffix", recording, name)
    assert len(copy) == 12
    assert copy.column("start").tolist() == recording.column("start").tolist()
    assert copy.column("nr_accesses").tolist() == recording.column("nr_accesses").tolist()
    assert copy.column("age").tolist() == recording.column("age").tolist()
    assert copy.column("touched_bytes").sum() == recording.column("touched_bytes").sum()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in {"json", "ndjson"} else [])
        for name in EVERY
    ],
)
def test_every_format_comes_in_chunks(tmp_path: Path, name: str) -> None:
    whole = long_recording(tmp_path / "r.damon", 300)
    path = tmp_path / "copy"
    write_recording(path, open_recording(tmp_path / "r.damon"), format=name)
    chunks = list(open_recording(path))
    assert len(chunks) >= 2
    assert all(len(chunk.table) % 500 == 0 for chunk in chunks)
    joined = np.concatenate([chunk.column("nr_accesses") for chunk in chunks])
    assert np.array_equal(joined, whole.column("nr_accesses"))


def test_the_suffix_says_what_to_write(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(2))
    for format in FORMATS:
        path = tmp_path / f"copy{format.suffixes[0]}"
        write_recording(path, recording)
        assert format.matches(path.read_bytes())
    with pytest.raises(UsageError, match="does not say in which format"):
        write_recording(tmp_path / "copy.xyz", recording)
    with pytest.raises(UsageError, match="no format 'xyz'"):
        write_recording(tmp_path / "copy", recording, format="xyz")


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(2))
    path = tmp_path / "there.csv"
    path.write_text("precious")
    with pytest.raises(RecordingError, match="exists already"):
        write_recording(path, recording)
    assert path.read_text() == "precious"
    write_recording(path, recording, force=True)
    assert len(read_recording(path)) == 2


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    record(tmp_path / "r.damon", busy(2))
    file = open_recording(tmp_path / "r.damon")
    (tmp_path / "r.damon").unlink()
    with pytest.raises(RecordingError):
        write_recording(tmp_path / "copy.parquet", file)
    with pytest.raises(RecordingError, match="cannot write"):
        write_recording(tmp_path / "missing" / "copy.csv", Recording(info(), COLUMNS.empty_table()))
    assert list(tmp_path.iterdir()) == []


def test_other_tools_read_parquet_by_themselves(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(35))
    path = tmp_path / "r.parquet"
    write_recording(path, recording)
    touched = int(recording.column("touched_bytes").sum())
    where = f"from '{path}' where mapping = '[heap]'"
    rows = duckdb.execute(f"select count(*), max(nr_accesses) {where}").fetchall()
    assert rows == [(35, 20)]
    polars = pl.scan_parquet(path)
    assert polars.select(pl.col("touched_bytes").sum()).collect().item() == touched
    assert polars.filter(pl.col("host") == info().hostname).collect().height == 105
    pandas = pd.read_parquet(path)
    assert int(pandas["touched_bytes"].sum()) == touched
    assert pandas.groupby("mapping", observed=True)["age"].max()["[heap]"] == 34


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_other_tools_read_the_texts_by_themselves(tmp_path: Path, name: str) -> None:
    recording = record(tmp_path / "r.damon", busy(35))
    path = tmp_path / f"r.{name}"
    write_recording(path, recording)
    touched = int(recording.column("touched_bytes").sum())
    query = f"select sum(touched_bytes), min(start_ns) from '{path}'"
    (row,) = duckdb.execute(query).fetchall()
    assert row == (touched, BEGIN_NS)
    polars = pl.read_csv(path) if name == "csv" else pl.read_ndjson(path)
    assert polars["touched_bytes"].sum() == touched
    pandas = pd.read_csv(path) if name == "csv" else pd.read_json(path, lines=True)
    assert pandas["start_ns"].min() == BEGIN_NS


def test_tables_that_other_tools_wrote_are_read(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(5))
    write_recording(tmp_path / "r.csv", recording)
    pl.read_csv(tmp_path / "r.csv").drop("pydamon", "host").write_csv(tmp_path / "x.csv")
    copy = read_recording(tmp_path / "x.csv")
    assert plain(copy).drop_columns("host").equals(plain(recording).drop_columns("host"))


def on(host: str, began_ns: int) -> RecordingInfo:
    return dataclasses.replace(info(), hostname=host, started_ns=began_ns)


def test_recordings_of_several_hosts_become_one(tmp_path: Path) -> None:
    paths = []
    for number, host in enumerate(["web1", "web2", "web3"]):
        path = tmp_path / f"{host}.damon"
        with Recorder(path, on(host, BEGIN_NS + number)) as recorder:
            for each in busy(20 + number):
                shift = number * 30 * MS
                moved = dataclasses.replace(
                    each, start_ns=each.start_ns + shift, end_ns=each.end_ns + shift
                )
                recorder.write(moved)
        paths.append(path)
    merged = merge_recordings(paths).read()
    assert merged.hosts == ("web1", "web2", "web3")
    assert merged.info.hostname == "web1, web2, web3"
    assert merged.info.started_ns == BEGIN_NS
    assert len(merged) == 22, "windows of several hosts that overlap are one snapshot"
    assert [len(merged.snapshot(index).targets) for index in (0, 19, 20, 21)] == [6, 6, 4, 2]
    assert (np.diff(merged.column("end_ns")) >= 0).all()
    for number, path in enumerate(paths):
        alone = merged.slice(hosts=[f"web{number + 1}"])
        assert plain(alone).equals(plain(read_recording(path)))
    (tmp_path / "notes.txt").write_text("of another kind")
    for path in (tmp_path, tmp_path / "web*.damon"):
        assert plain(read_recording(path)).equals(plain(merged))
    write_recording(tmp_path / "all.parquet", merge_recordings(paths))
    assert plain(read_recording(tmp_path / "all.parquet")).equals(plain(merged))
    with pytest.raises(RecordingError, match="no recording in"):
        read_recording(tmp_path / "db*.damon")


def test_a_recording_without_a_host_gets_the_name_of_its_file(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(5))
    for name in ("db1", "db2"):
        write_recording(tmp_path / f"{name}.json", recording)
    merged = read_recording(tmp_path / "*.json")
    assert merged.hosts == ("db1", "db2")
    assert len(merged) == 5


def test_what_is_missing_of_a_merged_recording_is_said(tmp_path: Path) -> None:
    paths = [tmp_path / "a.damon", tmp_path / "b.damon"]
    record(paths[0], busy(30))
    content = killed(paths[1], in_turn(busy(30)))
    paths[1].write_bytes(content[: len(content) * 2 // 3])
    merged = merge_recordings(paths)
    assert 90 < len(merged.read().table) < 180
    assert "b.damon: its end is cut off" in merged.problem


def test_a_file_is_sliced_when_it_is_read(tmp_path: Path) -> None:
    long_recording(tmp_path / "r.damon", 600)
    part = open_recording(tmp_path / "r.damon").slice(
        start_ns=BEGIN_NS + 50 * 100 * MS, addresses=(0x10_0000, 0x10_2000)
    )
    assert len(part.read()) == 550
    assert len(part.read().table) == 1100
