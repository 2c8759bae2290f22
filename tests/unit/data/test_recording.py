from __future__ import annotations

import dataclasses
import json
import mmap
import os
import random
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._data.formats.reader import open_recording, read_recording
from pydamon._data.recording import COLUMNS, Recording, RecordingInfo
from pydamon._data.recording import arrow as memory
from pydamon._data.recording import file as recording_file
from pydamon._data.recording.schema import OPTIONAL_COLUMNS
from pydamon._model.attrs import Attrs
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Cost, Snapshot, Target
from tests.recordings import (
    BEGIN_NS,
    MIB,
    MS,
    REDIS,
    WORKER,
    busy,
    comparable,
    info,
    killed,
    long_recording,
    record,
    snapshot,
    target,
)

_COLUMNS = ("target", "start", "end", "nr_accesses", "age", "touched_bytes", "unobservable_bytes")
_REALS = ("access_share", "access_share_error", "accessed_within")
_SCALARS = ("start_ns", "end_ns", "sampling_ns", "max_nr_accesses", "targets", "cost")


def same(first: Snapshot, second: Snapshot) -> bool:
    return (
        all(getattr(first, name) == getattr(second, name) for name in _SCALARS)
        and all(np.array_equal(getattr(first, name), getattr(second, name)) for name in _COLUMNS)
        and all(
            np.allclose(getattr(first, name), getattr(second, name), 1e-6, 0, equal_nan=True)
            for name in _REALS
        )
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    targets: list[Target] = []
    regions, touched, unobservable = [], [], []
    for pid in draw(st.lists(st.integers(0, 2**22), max_size=3, unique=True)):
        bounds = draw(st.lists(st.integers(0, 2**45), max_size=20, unique=True).map(sorted))
        kept = [(a * 4096, b * 4096) for a, b in pairwise(bounds) if draw(st.booleans())]
        if not kept:
            continue
        for start, end in kept:
            regions.append(
                (
                    len(targets),
                    start,
                    end,
                    draw(st.integers(0, 20)),
                    draw(st.integers(0, 2**31 - 1)),
                )
            )
            touched.append(draw(st.integers(0, end - start)))
            unobservable.append(draw(st.integers(0, end - start)))
        targets.append(Target(pid, draw(st.text(st.characters(codec="utf-8"), max_size=12))))
    numbers = st.integers(0, 2**31 - 1)
    most = draw(st.integers(20, 2**31 - 1))
    counted = snapshot(targets, regions, touched=touched, unobservable=unobservable)
    shares = [
        draw(st.one_of(st.just(count / most), st.floats(0, 1, width=32)))
        for count in counted.nr_accesses.tolist()
    ]
    curves = st.lists(st.integers(0, 255), min_size=7, max_size=7).map(sorted)
    within = np.array([draw(curves) for _ in shares], np.float64).reshape(-1, 7) / 255
    errors = [draw(st.one_of(st.just(np.nan), st.floats(0, 1, width=32))) for _ in shares]
    return dataclasses.replace(
        counted,
        sampling_ns=draw(st.integers(1, 2**60)),
        max_nr_accesses=most,
        access_share=np.array(shares, np.float64),
        access_share_error=np.array(errors, np.float64),
        accessed_within=np.where(within[:, 6:] > 0, within, np.nan),
        cost=Cost(draw(st.integers(0, 2**60)), draw(st.integers(0, 2**60)), draw(numbers)),
    )


@settings(max_examples=60, deadline=None)
@given(written=st.lists(snapshots(), max_size=8), windows=st.data())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[Snapshot], windows: st.DataObject
) -> None:
    now_ns = BEGIN_NS
    for index, each in enumerate(written):
        length_ns = windows.draw(st.integers(1, 3 * 10**9))
        written[index] = dataclasses.replace(each, start_ns=now_ns, end_ns=now_ns + length_ns)
        now_ns += length_ns
    recording = record(tmp_path_factory.mktemp("r") / "r.damon", written)
    expected = [each for each in written if len(each)]
    assert recording.complete
    assert recording.info == info()
    assert len(recording) == len(expected)
    assert all(map(same, recording.snapshots(), expected))


def test_regions_keep_the_names_of_their_mappings(tmp_path: Path) -> None:
    read = record(tmp_path / "r.damon", busy(3)).snapshot(-1)
    names = [(region.mapping.name, region.mapping.perms) for region in read if region.mapping]
    assert names == [
        ("/usr/bin/redis-server", "r-xp"),
        ("[heap]", "rw-p"),
        ("[anon]", "rw-p"),
    ]


def test_a_region_without_a_mapping_has_none_when_read(tmp_path: Path) -> None:
    written = snapshot((Target(7),), [(0, 0x1000, 0x2000, 1, 1)])
    assert record(tmp_path / "r.damon", [written]).snapshot(0)[0].mapping is None


def test_a_file_name_that_is_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    odd = target(7, "x\udcff", (0x1000, 0x2000, "r--p", "/tmp/\udcff\udc80"))
    recording = record(tmp_path / "r.damon", [snapshot((odd,), [(0, 0x1000, 0x2000, 1, 1)])])
    assert recording.names("mapping")[-1] == "/tmp/\\udcff\\udc80"


def test_one_target_can_be_picked(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(5))
    assert [each.pid for each in recording.targets] == [7, 8]
    worker = recording.of_pid(8)
    assert len(worker) == 5
    assert worker.snapshot(0).targets == (WORKER,)
    with pytest.raises(RecordingError, match="no process 9"):
        recording.of_pid(9)


def test_a_recording_of_nothing_can_be_read(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", [snapshot((REDIS,), [])])
    assert recording.complete
    assert len(recording) == 0
    assert list(recording.snapshots()) == []
    assert recording.targets == ()


def test_other_tools_read_the_file_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    recording = record(path, busy(35))
    rows, heap = 105, 35
    with pa.OSFile(str(path)) as file:
        arrow = pa.ipc.open_stream(file).read_all()
    assert arrow.num_rows == rows
    assert arrow.schema.names == COLUMNS.names
    pandas = arrow.to_pandas()
    assert isinstance(pandas, pd.DataFrame)
    assert (pandas["mapping"] == "[heap]").sum() == heap
    polars = pl.read_ipc_stream(path)
    assert polars.filter(pl.col("mapping") == "[heap]").height == heap
    assert polars["touched_bytes"].sum() == recording.column("touched_bytes").sum()
    query = "select count(*), sum(touched_bytes) from arrow where mapping = '[heap]'"
    touched = recording.column("touched_bytes")[recording.column("start") == 0x10_0000].sum()
    assert duckdb.connect().execute(query).fetchall() == [(heap, touched)]


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 400, b"\xff\xff\xff\xff\0\0\0\0"])
def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.damon"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no recording"):
        read_recording(tmp_path / "none.damon")
    with pytest.raises(RecordingError, match="no recording in"):
        read_recording(tmp_path)


def rewritten(path: Path, table: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"attrs": None},
        {"attrs": {"sampling_ns": 0}},
        {"schema_version": 2},
        {"schema_version": "1"},
        {"started_ns": 2**70},
        {"commands": 3},
        {"probe": ["x"]},
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    table = record(tmp_path / "r.damon", busy(2)).table
    text = json.dumps({**json.loads(info().to_json()), **change})
    path = rewritten(tmp_path / "x", table.replace_schema_metadata({"pydamon": text}))
    with pytest.raises(RecordingError, match="is not a recording"):
        read_recording(path)


def test_the_arrow_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "x", pa.table({"a": [1, 2]}))
    with pytest.raises(RecordingError, match="start_ns is missing"):
        read_recording(path)
    other = pa.table({"a": [1]}).replace_schema_metadata({"pydamon": info().to_json()})
    with pytest.raises(RecordingError, match="start_ns is missing"):
        read_recording(rewritten(path, other))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("start", 2**62),
        ("end", -1),
        ("end", 2**60),
        ("nr_accesses", 21),
        ("max_nr_accesses", 0),
        ("touched_bytes", 2**50),
        ("end_ns", 5),
        ("age", -1),
        ("pid", -1),
    ],
)
def test_values_that_make_no_sense_are_left_out(tmp_path: Path, column: str, value: int) -> None:
    table = record(tmp_path / "r.damon", busy(30)).table
    values = table[column].to_numpy().copy()
    values[-1] = value
    index = COLUMNS.get_field_index(column)
    damaged = table.set_column(index, COLUMNS.field(column), pa.array(values))
    damaged = damaged.replace_schema_metadata({"pydamon": info().to_json()})
    path = tmp_path / "x"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, damaged.schema) as writer:
        writer.write_table(damaged, max_chunksize=30)
    recording = read_recording(path)
    assert len(recording) == 29
    assert "damaged" in recording.problem


@pytest.mark.long
def test_a_file_cut_anywhere_gives_a_prefix(tmp_path: Path) -> None:
    written = busy(40)
    content = killed(tmp_path / "r.damon", written)
    path = tmp_path / "cut.damon"
    counts = set()
    for length in [*range(0, len(content), 61), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        try:
            recording = read_recording(path)
        except RecordingError:
            assert length < 5000
            continue
        assert not recording.complete
        assert all(map(same, recording.snapshots(), written))
        counts.add(len(recording))
    assert len(counts) >= 4


def everything(recording: Recording) -> None:
    """Use a recording in every way; an error must be one for people."""
    list(recording.snapshots())
    analysis.working_set(recording)
    for use in (analysis.summary, analysis.regions, analysis.heatmap):
        try:
            use(recording)
        except RecordingError:
            continue


def test_flipped_bits_do_no_harm(tmp_path: Path) -> None:
    contents = [killed(tmp_path / "r.damon", busy(40)), (tmp_path / "r.damon").read_bytes()]
    path = tmp_path / "flipped.damon"
    rng = random.Random(1)
    for number in range(200):
        damaged = bytearray(contents[number % 2])
        for _ in range(rng.choice([1, 1, 1, 3, 20])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with suppress(RecordingError):
            everything(read_recording(path))


def test_info_says_where_it_was_recorded() -> None:
    here = info()
    assert here.kernel == os.uname().release
    assert here.hostname
    assert here.page_size == mmap.PAGESIZE
    assert RecordingInfo.from_json(here.to_json()) == here


def test_a_recording_that_names_no_page_size_is_of_4_kib() -> None:
    facts = json.loads(dataclasses.replace(info(), page_size=65536).to_json())
    assert RecordingInfo.from_json(json.dumps(facts).encode()).page_size == 65536
    for nonsense in (0, -4096, 4095, 3 << 12, 1 << 62, "4096", None):
        with pytest.raises(ValueError, match="cannot be read"):
            RecordingInfo.from_json(json.dumps(facts | {"page_size": nonsense}).encode())
    del facts["page_size"]
    assert RecordingInfo.from_json(json.dumps(facts).encode()).page_size == 4096


def test_a_long_recording_is_read_in_chunks_of_whole_snapshots(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    whole = long_recording(path, 600)
    file = open_recording(path)
    for _ in range(2):
        chunks = list(file)
        assert len(chunks) >= 2
        assert all(len(chunk.table) % 500 == 0 for chunk in chunks)
        assert sum(map(len, chunks)) == len(whole) == 600
        joined = pa.concat_tables(chunk.table for chunk in chunks)
        assert comparable(joined).equals(comparable(whole.table))
        assert not file.problem


def test_damage_ends_the_chunks(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    long_recording(path, 600)
    content = bytearray(path.read_bytes())
    middle = len(content) * 7 // 10
    content[middle : middle + 256] = bytes(256)  # a single byte can be one that nothing needs
    path.write_bytes(content)
    file = open_recording(path)
    assert 100 < sum(map(len, file)) < 600
    assert "damaged" in file.problem


def test_a_recording_that_does_not_fit_into_memory_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.damon"
    long_recording(path, 10)
    monkeypatch.setattr(recording_file, "free_memory", lambda: 2**20)
    with pytest.raises(RecordingError, match="does not fit into memory") as caught:
        read_recording(path)
    assert "slice" in caught.value.hint
    assert len(list(open_recording(path))) == 1


def test_the_page_cache_of_a_container_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{64 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{63 * MIB}\n")
    (tmp_path / "memory.stat").write_text(
        f"anon {3 * MIB}\nfile {60 * MIB}\ninactive_file {40 * MIB}\nactive_file {20 * MIB}\n"
    )
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_memory() == 61 * MIB


def test_a_slice_is_cut_by_time_addresses_and_processes(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(30))
    early = recording.slice(end_ns=BEGIN_NS + 1000 * MS)
    assert len(early) == 10
    late = recording.slice(start_ns=BEGIN_NS + 1000 * MS, pids=[8])
    assert len(late) == 20
    assert late.targets == (WORKER,)
    heap = recording.slice(addresses=(0x10_0000, 0x10_1000), pids=[7])
    assert set(heap.column("start").tolist()) == {0x10_0000}
    assert recording.slice(hosts=[info().hostname]) is recording
    assert len(recording.slice(hosts=["elsewhere"])) == 0


@pytest.mark.parametrize("change", ["overlap", "order"])
def test_regions_that_overlap_are_left_out(tmp_path: Path, change: str) -> None:
    sound = snapshot((WORKER,), [(0, 0x1000, 0x2000, 1, 1), (0, 0x2000, 0x3000, 1, 1)])
    second = {"overlap": (0, 0x1800, 0x3000, 1, 1), "order": (0, 0, 0x1000, 1, 1)}[change]
    wrong = snapshot((WORKER,), [(0, 0x1000, 0x2000, 1, 1), second], 1)
    recording = record(tmp_path / "r.damon", [sound, wrong])
    assert len(recording) == 1
    assert "damaged" in recording.problem


def test_no_rows_follow_nonsense_in_an_earlier_chunk(tmp_path: Path) -> None:
    table = long_recording(tmp_path / "r.damon", 600).table
    values = table["end"].to_numpy().copy()
    values[1250] = values[1250] - 2**40
    index = table.column_names.index("end")
    damaged = table.set_column(index, COLUMNS.field("end"), pa.array(values))
    path = rewritten(tmp_path / "x", damaged.replace_schema_metadata({"pydamon": info().to_json()}))
    recording = read_recording(path)
    assert len(recording) == 2
    assert "end is negative" in recording.problem


@settings(max_examples=30, deadline=None)
@given(written=st.lists(snapshots(), max_size=5))
def test_snapshots_become_the_recording_that_a_file_would_have(
    tmp_path_factory: pytest.TempPathFactory, written: list[Snapshot]
) -> None:
    windows = [
        dataclasses.replace(each, start_ns=BEGIN_NS + number, end_ns=BEGIN_NS + number + 1)
        for number, each in enumerate(written)
    ]
    from_file = record(tmp_path_factory.mktemp("r") / "r.damon", windows)
    recording = Recording.from_snapshots(windows, info())
    assert recording.info == from_file.info
    assert comparable(recording.table).to_pylist() == comparable(from_file.table).to_pylist()
    assert len(recording) == len(from_file)
    assert Recording.from_snapshots(windows).info.attrs == Attrs()


def test_an_earlier_file_without_later_columns_is_read(tmp_path: Path) -> None:
    table = record(tmp_path / "r.damon", busy(3)).table
    old = table.drop_columns(sorted(OPTIONAL_COLUMNS)).replace_schema_metadata(
        {"pydamon": info().to_json()}
    )
    recording = read_recording(rewritten(tmp_path / "old", old))
    assert recording.hosts == (info().hostname,)
    assert recording.column("rss_bytes").sum() == 0
    assert recording.snapshot(0).footprints == ()
    assert comparable(recording.table).equals(comparable(table))
