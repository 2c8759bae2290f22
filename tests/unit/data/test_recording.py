from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

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
from pydamon._data.recording import COLUMNS, Recorder, Recording, RecordingInfo, compact
from pydamon._data.recording import arrow as memory
from pydamon._data.recording import file as recording_file
from pydamon._data.recording.schema import OPTIONAL_COLUMNS
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Cost, Snapshot, Target
from tests.recordings import (
    BEGIN_NS,
    MIB,
    MS,
    REDIS,
    WORKER,
    busy,
    info,
    killed,
    long_recording,
    record,
    snapshot,
    target,
)

_COLUMNS = ("target", "start", "end", "nr_accesses", "age", "touched_bytes", "unobservable_bytes")
_SCALARS = ("start_ns", "end_ns", "sampling_ns", "max_nr_accesses", "targets", "cost")


def same(first: Snapshot, second: Snapshot) -> bool:
    return all(getattr(first, name) == getattr(second, name) for name in _SCALARS) and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in _COLUMNS
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
    return dataclasses.replace(
        snapshot(targets, regions, touched=touched, unobservable=unobservable),
        sampling_ns=draw(st.integers(1, 2**60)),
        max_nr_accesses=draw(st.integers(20, 2**31 - 1)),
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


def test_many_names_do_not_pile_up_in_the_file(tmp_path: Path) -> None:
    def written(number: int) -> Snapshot:
        places = [(n << 12, (n + 1) << 12) for n in range(1, 11)]
        names = [(*place, "r--p", f"/memfd:{number}.{n}") for n, place in enumerate(places)]
        regions = [(0, *place, 1, 1) for place in places]
        return snapshot((target(7, "jit", *names),), regions, number, window_ns=1100 * MS)

    path = tmp_path / "r.damon"
    content = killed(path, map(written, range(120)))
    with pa.ipc.open_stream(content) as reader:
        known = [len(batch["mapping"].dictionary) for batch in reader]
    assert len(known) == 120
    assert 1000 < max(known) <= 1010
    for number in (98, 119):
        named = [
            region.mapping.name
            for region in read_recording(path).snapshot(number)
            if region.mapping
        ]
        assert named == [f"/memfd:{number}.{n}" for n in range(10)]


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


def test_every_second_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    with Recorder(path, info()) as recorder:
        for number, each in enumerate(busy(35)):
            recorder.write(each)
            lost_ns = each.end_ns - int(read_recording(path).column("end_ns").max(initial=BEGIN_NS))
            assert lost_ns < 10**9, number
        assert "not closed" in read_recording(path).problem
        recorder.flush()
        assert len(read_recording(path)) == 35
    assert read_recording(path).complete


def test_long_aggregations_reach_the_file_at_once(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r.damon", info()) as recorder:
        recorder.write(snapshot((REDIS,), [(0, 0x1000, 0x2000, 1, 1)], window_ns=5 * 10**9))
        assert len(read_recording(recorder.path)) == 1


def test_a_recorder_that_was_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pydamon import Recorder\n"
        "from tests.recordings import busy, info\n"
        "recorder = Recorder(Path(sys.argv[1]), info())\n"
        "for one in busy(25): recorder.write(one)\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    recording = read_recording(path)
    assert len(recording) >= 15
    assert not recording.complete
    assert all(map(same, recording.snapshots(), busy(25)))


def test_closing_makes_the_file_compact(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    written = killed(path, busy(300))
    assert path.stat().st_size < len(written) / 3
    assert all(map(same, read_recording(path).snapshots(), busy(300)))
    assert list(tmp_path.iterdir()) == [path]


def test_a_compact_file_is_its_owner_s_as_before(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    path.touch(0o640)
    link = tmp_path / "link.damon"
    link.symlink_to(path)
    record(link, busy(300))
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(read_recording(path)) == 300


@pytest.mark.parametrize("change", ["moved", "removed", "replaced", "linked"])
def test_what_somebody_did_to_the_file_meanwhile_stands(tmp_path: Path, change: str) -> None:
    path = tmp_path / "r.damon"
    with Recorder(path, info()) as recorder:
        for each in busy(30):
            recorder.write(each)
        if change == "linked":
            os.link(path, tmp_path / "other")
        elif change == "moved":
            path.rename(tmp_path / "other")
        else:
            path.unlink()
        if change == "replaced":
            path.write_text("precious")
    if change == "replaced":
        assert path.read_text() == "precious"
    elif change != "removed":
        assert len(read_recording(tmp_path / "other")) == 30
    assert path.exists() is (change in ("replaced", "linked"))


@pytest.mark.parametrize("fails", ["open", "link", "fsync"])
def test_a_recording_that_cannot_be_made_compact_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    untouched = getattr(os, fails)

    def failing(*args: Any, **more: Any) -> Any:
        if fails != "open" or args[1] & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return untouched(*args, **more)

    monkeypatch.setattr(os, fails, failing)
    path = tmp_path / "r.damon"
    assert record(path, busy(30)).complete
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_memory_to_make_it_compact_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.damon"
    monkeypatch.setattr(compact, "concatenate", Mock(side_effect=MemoryError))
    with Recorder(path, info()) as recorder:
        for each in busy(30):
            recorder.write(each)
    monkeypatch.undo()
    assert read_recording(path).complete
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    path.write_text("precious")
    with pytest.raises(RecordingError, match="exists already") as caught:
        Recorder(path, info())
    assert "--force" in caught.value.hint
    assert path.read_text() == "precious"
    with Recorder(path, info(), force=True):
        pass
    assert read_recording(path).complete


@pytest.mark.parametrize("where", ["missing/r.damon", "", "nul\0"])
def test_a_path_that_cannot_be_written_is_said_so(tmp_path: Path, where: str) -> None:
    with pytest.raises(RecordingError, match="cannot write"):
        Recorder(tmp_path / where, info(), force=True)


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_a_full_disk_is_said_so() -> None:
    with pytest.raises(RecordingError, match="No space left"):
        Recorder("/dev/full", info(), force=True)


def test_a_disk_that_fills_up_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.damon"
    recorder = Recorder(path, info())
    recorder.write(busy(1)[0])
    recorder.flush()

    def full(_fd: int, _data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    def go_on() -> None:
        for each in busy(20):
            recorder.write(each)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordingError, match="No space left"):
        go_on()
    monkeypatch.undo()
    recorder.close()
    recording = read_recording(path)
    assert len(recording) == 1
    assert not recording.complete
    with pytest.raises(RecordingError, match="closed"):
        recorder.write(busy(1)[0])


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
    assert RecordingInfo.from_json(here.to_json()) == here


def test_a_long_recording_is_read_in_parts_of_whole_snapshots(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    whole = long_recording(path, 600)
    file = open_recording(path)
    for _ in range(2):
        parts = list(file)
        assert len(parts) >= 2
        assert all(len(part.table) % 500 == 0 for part in parts)
        assert sum(map(len, parts)) == len(whole) == 600
        assert pa.concat_tables(part.table for part in parts).equals(whole.table)
        assert not file.problem


def test_what_is_damaged_ends_the_parts(tmp_path: Path) -> None:
    path = tmp_path / "r.damon"
    long_recording(path, 600)
    content = bytearray(path.read_bytes())
    content[len(content) * 7 // 10] ^= 0xFF
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


def test_a_part_can_be_cut_out(tmp_path: Path) -> None:
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


def test_an_earlier_file_without_later_columns_is_read(tmp_path: Path) -> None:
    table = record(tmp_path / "r.damon", busy(3)).table
    old = table.drop_columns(sorted(OPTIONAL_COLUMNS)).replace_schema_metadata(
        {"pydamon": info().to_json()}
    )
    recording = read_recording(rewritten(tmp_path / "old", old))
    assert recording.hosts == (info().hostname,)
    assert recording.column("rss_bytes").sum() == 0
    assert recording.snapshot(0).footprints == ()
    assert recording.table.equals(table)
