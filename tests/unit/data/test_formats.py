from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydamon import analysis
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
    info,
    killed,
    long_recording,
    record,
    snapshot,
    target,
)
from tests.unit.data.test_recording import snapshots

EVERY = [one.name for one in FORMATS]
LOSSLESS = ["native", "parquet", "csv", "ndjson"]
DAMO = ["json_compressed", "json", "perf_script"]

_QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plain(recording: Recording) -> pa.Table:
    """The rows with names as strings, since codes may differ."""
    return pa.table(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            for column in recording.table.columns
        ],
        recording.table.column_names,
    ).combine_chunks()


def again(path: Path, recording: Recording, name: str) -> Recording:
    """What is read of it when it was written in a format."""
    write_recording(path, recording, format=name, force=True)
    return read_recording(path)


def in_turn(written: list[Snapshot]) -> Iterator[Snapshot]:
    for number, each in enumerate(written):
        begin_ns = BEGIN_NS + number * 100 * MS + 7
        yield dataclasses.replace(each, start_ns=begin_ns, end_ns=begin_ns + 100 * MS)


@pytest.mark.parametrize("name", LOSSLESS)
@_QUICK
@given(written=st.lists(snapshots(), max_size=5))
def test_nothing_is_lost_in_formats_with_every_column(
    tmp_path: Path, name: str, written: list[Snapshot]
) -> None:
    recording = record(tmp_path / "r.damon", in_turn(written))
    copy = again(tmp_path / "copy", recording, name)
    assert copy.complete
    assert copy.info == recording.info
    assert plain(copy).equals(plain(recording))


@pytest.mark.parametrize("name", DAMO)
@_QUICK
@given(written=st.lists(snapshots(), min_size=1, max_size=4))
def test_damo_is_told_the_same_working_sets(
    tmp_path: Path, name: str, written: list[Snapshot]
) -> None:
    # damo does not know what cannot be observed, which is in no working set.
    seen = [
        dataclasses.replace(each, unobservable_bytes=np.zeros_like(each.start)) for each in written
    ]
    recording = record(tmp_path / "r.damon", in_turn(seen))
    if len(recording) == 0:
        return
    copy = again(tmp_path / "copy", recording, name)
    assert copy.complete
    for pid in {each.pid for each in recording.targets}:
        # damo's formats have no names: processes that had a pid one after the other become one.
        ours, theirs = (
            {
                int(ends): int(amount)
                for series in analysis.working_set(which).targets
                if series.target and series.target.pid == pid
                for ends, amount in zip(series.end_ns, series.size_bytes, strict=True)
            }
            for which in (recording, copy)
        )
        assert theirs == ours or pid == 0
    heat = [
        (each.column("nr_accesses") * each.column("touched_bytes")).sum()
        for each in (recording, copy)
    ]
    assert heat[1] > 0 or heat[0] == 0


def test_a_region_touched_in_part_becomes_two_with_the_same_heat(tmp_path: Path) -> None:
    taken = snapshot((target(7, "x"),), [(0, 0, 0x8000, 5, 3)], touched=[0x2000])
    copy = again(tmp_path / "copy", record(tmp_path / "r.damon", [taken]), "json")
    assert copy.column("start").tolist() == [0, 0x2000]
    assert copy.column("end").tolist() == [0x2000, 0x8000]
    assert copy.column("nr_accesses").tolist() == [20, 0]
    assert copy.column("age").tolist() == [3, 3]


_ids = st.one_of(st.none(), st.integers(0, 5))
_numbers = st.one_of(st.integers(0, 10**6), st.integers(0, 10**6).map(lambda n: f"{n:,}"))


@st.composite
def damo_regions(draw: st.DrawFn) -> list[dict[str, Any]]:
    pages = draw(st.lists(st.integers(0, 2**40), min_size=2, max_size=8, unique=True).map(sorted))
    regions = []
    for low, high in pairwise(pages):
        if not draw(st.booleans()):
            continue
        region: dict[str, Any] = {"start": f"{low * 4096:,}", "end": f"{high * 4096:,}"}
        if draw(st.integers(0, 9)):
            region["nr_accesses"] = {
                "samples": draw(st.integers(0, 30)),
                "percent": draw(st.sampled_from([None, None, "40", "12 %"])),
            }
            region["age"] = {
                "usec": draw(st.sampled_from([None, None, "100000"])),
                "aggr_intervals": draw(_numbers),
            }
            region["probe_hits"] = draw(st.sampled_from([[], [], [1, 2]]))
            region["sz_filter_passed"] = draw(st.sampled_from(["0 B", "0 B", "1.500 MiB"]))
        regions.append(region)
    return regions


@st.composite
def damo_documents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What damo 3.4 writes: records of targets, or of schemes."""
    records = []
    ids = draw(st.lists(_ids, max_size=3, unique=True))
    for target_id in ids:
        at_ns, kept = draw(st.integers(10**9, 2 * 10**18)), []
        for _ in range(draw(st.integers(0, 4))):
            regions = draw(damo_regions())
            end_ns = at_ns + draw(st.integers(1, 10**9))
            total = sum(_int(region["end"]) - _int(region["start"]) for region in regions)
            taken = {
                "start_time": str(at_ns),
                "end_time": str(end_ns),
                "regions": regions,
                "total_bytes": draw(st.sampled_from([str(total), "1.250 GiB"])),
                "damos_stats": draw(st.sampled_from([None, None, {"nr_tried": "3", "a": [{}]}])),
                "sample_interval_us": draw(st.sampled_from([None, None, "8000000"])),
            }
            if regions:  # the one thing that is lost: snapshots of nothing
                kept.append(taken)
            at_ns = end_ns
        if not kept:
            continue
        interval = {"sample_us": "5000", "aggr_us": "100000", "ops_update_us": "1000000"}
        records.append(
            {
                "kdamond_idx": draw(_ids),
                "context_idx": draw(_ids),
                "intervals": draw(st.sampled_from([None, interval])),
                "scheme_idx": draw(_ids),
                "target_id": target_id,
                "scheme_filters": draw(st.sampled_from([[], [{"memcg": 'a"]}[{'}]])),
                "snapshots": kept,
                "data_source": draw(st.sampled_from(["unknown", "unknown", "damon_stat"])),
            }
        )
    return records


def _int(digits: str) -> int:
    return int(digits.replace(",", ""))


def as_damo_means(document: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with plain numbers, and with what it leaves unsaid."""
    for written in document:
        for taken in written["snapshots"]:
            for region in taken["regions"]:
                region["start"], region["end"] = _int(region["start"]), _int(region["end"])
                region.setdefault("nr_accesses", None)
                if region["nr_accesses"] is None:
                    region.pop("age", None)
                else:
                    region["age"]["aggr_intervals"] = _int(str(region["age"]["aggr_intervals"]))
                region.setdefault("probe_hits", [])
                region.setdefault("sz_filter_passed", "0 B")
    return sorted(document, key=lambda written: str(written["target_id"]))


@pytest.mark.parametrize("name", ["json", "json_compressed"])
@settings(_QUICK, max_examples=60)
@given(document=damo_documents(), indent=st.sampled_from([None, 4]))
def test_nothing_that_damo_wrote_is_lost(
    tmp_path: Path, name: str, document: list[dict[str, Any]], indent: int | None
) -> None:
    text = json.dumps(document, indent=indent).encode()
    path = tmp_path / "theirs"
    path.write_bytes(text if name == "json" else zlib.compress(text))
    copy = again(tmp_path / "ours.damon", read_recording(path), "native")
    assert copy.complete
    write_recording(path, copy, format=name, force=True)
    content = path.read_bytes()
    written = json.loads(content if name == "json" else zlib.decompress(content))
    assert as_damo_means(written) == as_damo_means(document)


@settings(_QUICK, max_examples=40)
@given(data=st.data())
def test_nothing_that_perf_printed_is_lost(tmp_path: Path, data: st.DataObject) -> None:
    lines, at_us = [], data.draw(st.integers(10**6, 10**12))
    ids = data.draw(st.lists(st.sampled_from([0, 1, 2, 18446623435582458880]), unique=True))
    for _ in range(data.draw(st.integers(2, 5))):
        for target_id in ids:
            at_us += data.draw(st.integers(1, 10**6))
            count = data.draw(st.integers(1, 4))
            task = data.draw(st.sampled_from(["kdamond.0  4452 [000]", "kd x 1 [001]"]))
            lines += [
                f"{task} {at_us // 10**6}.{at_us % 10**6:06d}: "
                f"damon:damon_aggregated: target_id={target_id} nr_regions={count} "
                f"{number * 8192}-{number * 8192 + 4096}: {data.draw(st.integers(0, 40))} "
                f"{data.draw(st.integers(0, 9))}\n"
                for number in range(count)
            ]
    path = tmp_path / "theirs.perf"
    path.write_text("".join(lines))
    if not lines:
        with pytest.raises(RecordingError):
            read_recording(path)
        return
    copy = again(tmp_path / "ours.damon", read_recording(path), "native")
    write_recording(path, copy, force=True)
    assert path.read_text() == "".join(lines)


@pytest.mark.parametrize("name", EVERY)
def test_the_format_is_found_in_the_content(tmp_path: Path, name: str) -> None:
    recording = record(tmp_path / "r.damon", busy(12))
    copy = again(tmp_path / "no-suffix", recording, name)
    assert len(copy) == 12
    assert copy.column("start").tolist() == recording.column("start").tolist()
    assert copy.column("nr_accesses").tolist() == recording.column("nr_accesses").tolist()
    assert copy.column("age").tolist() == recording.column("age").tolist()
    assert copy.column("touched_bytes").sum() == recording.column("touched_bytes").sum()


@pytest.mark.parametrize("name", EVERY)
def test_every_format_comes_in_parts(tmp_path: Path, name: str) -> None:
    whole = long_recording(tmp_path / "r.damon", 300)
    path = tmp_path / "copy"
    write_recording(path, open_recording(tmp_path / "r.damon"), format=name)
    parts = list(open_recording(path))
    assert len(parts) >= 2
    assert all(len(part.table) % 500 == 0 for part in parts)
    joined = np.concatenate([part.column("nr_accesses") for part in parts])
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


def test_a_slice_of_what_comes_in_parts(tmp_path: Path) -> None:
    long_recording(tmp_path / "r.damon", 600)
    part = open_recording(tmp_path / "r.damon").slice(
        start_ns=BEGIN_NS + 50 * 100 * MS, addresses=(0x10_0000, 0x10_2000)
    )
    assert len(part.read()) == 550
    assert len(part.read().table) == 1100
