"""Conversions between formats keep every value, or name its column."""

from __future__ import annotations

import dataclasses
import json
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._data.formats import FORMATS
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import read_recording
from pydamon._data.recording import Recording
from pydamon._data.recording.accessed_within import packed
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot
from tests.recordings import (
    REDIS,
    WORKER,
    busy,
    comparable,
    record,
    snapshot,
    target,
)
from tests.unit.data.test_damo_files import damo_json, damo_region
from tests.unit.data.test_formats import EVERY, QUICK, again, in_turn, plain
from tests.unit.data.test_recording import snapshots

LOSSLESS = ["native", "parquet", "csv", "ndjson"]
DAMO = ["json_compressed", "json", "perf_script"]


@pytest.mark.parametrize("name", LOSSLESS)
@QUICK
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
@QUICK
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
@settings(QUICK, max_examples=60)
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


def test_processes_that_come_and_go_are_written_to_the_letter_again(tmp_path: Path) -> None:
    """damo adds up working sets by the number of the snapshot: all records have all snapshots."""
    both = [(0, 0x1000, 0x9000, 5, 1), (1, 0x10_0000, 0x20_0000, 3, 4)]
    taken = [snapshot((REDIS, WORKER), both[:1] if n != 1 else both, n) for n in range(3)]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    write_recording(first, record(tmp_path / "r.damon", taken))
    write_recording(second, again(tmp_path / "ours.damon", read_recording(first), "native"))
    assert [len(each["snapshots"]) for each in json.loads(first.read_bytes())] == [3, 3]
    assert second.read_bytes() == first.read_bytes()


@settings(QUICK, max_examples=40)
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


def lost(tmp_path: Path, recording: Recording, name: str) -> tuple[tuple[str, ...], Recording]:
    """What is said to be lost in a format, and what it made of a recording."""
    path = tmp_path / f"copy.{name}"
    names = write_recording(path, recording, format=name, force=True)
    return names, read_recording(path)


FILTERED = [
    damo_region(start=4096, end=8192, sz_filter_passed="1.500 KiB"),
    damo_region(start=8192, end=12288, sz_filter_passed="0 B", probe_hits=[1, 2]),
    damo_region(start=12288, end=16384, samples=0),
]


@pytest.mark.parametrize("between", [one.name for one in FORMATS])
def test_what_damo_says_of_a_region_survives_or_is_named(tmp_path: Path, between: str) -> None:
    path = tmp_path / "theirs.json"
    path.write_bytes(damo_json((None, FILTERED), damos_stats={"nr_tried": 3}))
    names, copy = lost(tmp_path, read_recording(path), between)
    if between == "perf_script":
        assert {"damos_stats", "sz_filter_passed", "probe_hits"} <= set(names)
        return
    assert names == ()
    lost(tmp_path, copy, "json")
    (taken,) = json.loads((tmp_path / "copy.json").read_bytes())[0]["snapshots"]
    assert taken["damos_stats"] == {"nr_tried": 3}
    assert [each["sz_filter_passed"] for each in taken["regions"]] == ["1.500 KiB", "0 B", "0 B"]
    assert [each["probe_hits"] for each in taken["regions"]] == [[], [1, 2], []]


def _with_other_values(recording: Recording, rng: np.random.Generator) -> Recording:
    table = recording.table
    for field in table.schema:
        if (values := _other_values(recording, field, rng)) is not None:
            table = table.set_column(table.column_names.index(field.name), field.name, values)
    return Recording(recording.info, table.cast(recording.table.schema))


def _other_values(recording: Recording, field: pa.Field, rng: np.random.Generator) -> Any:
    """Other values of a column, or `None` where they stay."""
    rows, chance = len(recording.table), rng.random()
    usual = {"mapping": "", "perms": "", "host": ""}
    if field.name in usual and chance < 0.5:
        return pa.array([usual[field.name]] * rows).dictionary_encode()
    if field.name in ("cpu_ns", "interruption_ns", "late_ticks") and chance < 0.5:
        return pa.array(np.zeros(rows), field.type)
    if field.name == "touched_bytes" and chance < 0.3:
        return pa.array(recording.column("touched_bytes") // 2)
    if field.name in ("access_share", "access_share_error") and chance < 0.5:
        return pa.array(rng.random(rows), field.type)
    if field.name == "accessed_within" and chance < 0.5:
        return pa.array(packed(np.sort(rng.random((rows, 7)))))
    if field.name in ("vsz_bytes", "rss_bytes") and chance < 0.5:
        return pa.array(rng.integers(1, 9, rows), field.type)
    return None


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
@pytest.mark.parametrize("seed", range(8))
def test_a_conversion_keeps_every_value_or_names_its_column(
    tmp_path: Path, name: str, seed: int
) -> None:
    """Recordings of which some columns say something, and others nothing."""
    recording = record(tmp_path / "r.damon", busy(6))
    changed = _with_other_values(recording, np.random.default_rng(seed))
    names, copy = lost(tmp_path, changed, name)
    if "touched_bytes" in names:
        return  # regions that are touched in part become two
    theirs, ours = (
        sorted(
            comparable(each.table).to_pylist(),
            key=lambda row: (row["end_ns"], row["pid"], row["start"]),
        )
        for each in (copy, changed)
    )
    differing = {key for a, b in zip(theirs, ours, strict=True) for key in b if a[key] != b[key]}
    assert differing <= set(names)
    for field in ("commands", "kernel", "hostname", "pydamon_version", "probe"):
        if getattr(copy.info, field) != getattr(recording.info, field):
            assert field in names
    if FORMATS[[format.name for format in FORMATS].index(name)].holds is None:
        assert names == ()


@pytest.mark.parametrize("name", EVERY)
def test_a_filtered_recording_is_written_in_every_format(tmp_path: Path, name: str) -> None:
    """Snapshots and targets of which a filter has left nothing are in the recording, still."""
    hot = analysis.where(record(tmp_path / "r.damon", busy(40)), "rate > 50% and time < 3s")
    assert min(map(len, hot.snapshots())) == 0
    copy = again(tmp_path / "copy", hot, name)
    assert copy.column("start").tolist() == hot.column("start").tolist()
    sizes = analysis.working_set(hot).total.size_bytes
    assert analysis.working_set(copy).total.size_bytes.tolist() == sizes[sizes > 0].tolist()
