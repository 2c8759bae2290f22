"""What belongs to one snapshot, what a target is, what is there twice, and where it all begins."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from pydamon import analysis
from pydamon._cli.main import main
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import merge_recordings, open_recording, read_recording
from pydamon._data.recording import Recording
from pydamon._data.recording.grouping import new_snapshots
from pydamon._model.errors import RecordingError
from pydamon._model.snapshot import Snapshot, Target
from pydamon._show.frames import Replay
from tests.recordings import BEGIN_NS, MIB, REDIS, WORKER, busy, record, snapshot

FILES = Path(__file__).parent
S = 10**9


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def shifted(snapshots: Sequence[Snapshot], by_ns: int) -> list[Snapshot]:
    return [
        dataclasses.replace(each, start_ns=each.start_ns + by_ns, end_ns=each.end_ns + by_ns)
        for each in snapshots
    ]


# Kind 1: aggregations that overlap are one snapshot.


def test_targets_that_are_told_some_microseconds_apart_are_in_one_snapshot() -> None:
    path = FILES / "ps_two_targets.txt"
    for recording in (open_recording(path), read_recording(path)):
        working_set = analysis.working_set(recording)
        assert working_set.total.size_bytes.tolist() == [32 * MIB] * 10
        assert [series.size_bytes.tolist() for series in working_set.targets] == [
            [16 * MIB] * 10
        ] * 2
        size = analysis.summary(recording).size
        assert (size.total, size.hot) == pytest.approx((96 * MIB, 32 * MIB))
        assert analysis.idle(recording).total_bytes == 96 * MIB
        assert len(analysis.footprint(recording)[0].wss_bytes) == 10
    recording = read_recording(path)
    assert len(recording) == 10
    assert [len(each.targets) for each in recording.snapshots()] == [2] * 10
    apart_ns = np.unique(np.diff(recording.column("end_ns")))
    assert 100_000 in apart_ns, "rows keep their own times"
    assert len(Replay(recording).history.frames()) == 10


@pytest.mark.parametrize("by_us", [0, 1, 100, 40_000])
def test_windows_that_mostly_overlap_are_one_snapshot_in_every_format(
    tmp_path: Path, by_us: int
) -> None:
    first = [snapshot((REDIS,), [(0, 0x10_0000, 0x20_0000, 20, n)], n) for n in range(30)]
    second = [snapshot((WORKER,), [(0, 0x10_0000, 0x20_0000, 20, n)], n) for n in range(30)]
    record(tmp_path / "a.damon", first)
    record(tmp_path / "b.damon", shifted(second, by_us * 1000))
    merged = merge_recordings([tmp_path / "a.damon", tmp_path / "b.damon"])
    for suffix in ("damon", "parquet", "csv", "ndjson", "json", "data", "perf"):
        write_recording(tmp_path / f"m.{suffix}", merged, force=True)
        again = open_recording(tmp_path / f"m.{suffix}")
        working_set = analysis.working_set(again)
        assert working_set.total.size_bytes.tolist() == [2 * MIB] * 30, suffix
        assert analysis.summary(again).size.hot == pytest.approx(2 * MIB), suffix


def test_parts_of_a_merge_do_not_cut_snapshots_in_two(tmp_path: Path) -> None:
    rows = [(0, 0x1000 * (n + 1), 0x1000 * (n + 2), 20, n) for n in range(100)]
    for name, target, by_ns in (("a", REDIS, 0), ("b", WORKER, 7000), ("c", Target(9, "c"), 90)):
        taken = [snapshot((target,), rows, number) for number in range(300)]
        record(tmp_path / f"{name}.damon", shifted(taken, by_ns))
    merged = merge_recordings([tmp_path / f"{name}.damon" for name in "abc"]).sorted()
    sizes = [len(each.targets) for chunk in merged for each in chunk.snapshots()]
    assert sizes == [3] * 300


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], []),
        ([(0, 10, 1)], [1]),
        ([(0, 10, 1), (0, 10, 2), (10, 20, 1), (10, 20, 2)], [1, 0, 1, 0]),
        ([(0, 10, 1), (0, 10, 1)], [1, 1]),
        ([(0, 100, 1), (40, 140, 2), (80, 180, 3), (100, 200, 1)], [1, 0, 0, 1]),
        ([(0, 100, 1), (99, 199, 2)], [1, 1]),
        ([(5, 5, 1), (5, 5, 2)], [1, 0]),
        # The next window of each target is that of another snapshot, however they lie.
        ([(0, 100, 1), (45, 145, 2), (100, 200, 1), (145, 245, 2)], [1, 0, 1, 0]),
    ],
)
def test_a_target_is_in_a_snapshot_at_most_once(
    windows: list[tuple[int, int, int]], expected: list[int]
) -> None:
    columns = np.array(windows, np.int64).reshape(-1, 3).T
    assert new_snapshots(*columns).tolist() == [bool(begins) for begins in expected]


def test_what_a_snapshot_cost_counts_once_a_window(tmp_path: Path) -> None:
    record(tmp_path / "a.damon", busy(30))
    others = [dataclasses.replace(each, targets=(Target(1), Target(2))) for each in busy(30)]
    record(tmp_path / "b.damon", shifted(others, 5000))
    merged = merge_recordings([tmp_path / "a.damon", tmp_path / "b.damon"]).read()
    assert len(merged) == 30
    assert merged.per_snapshot("late_ticks").tolist() == [2] * 30
    assert analysis.summary(merged).cost.late_ticks == 60


# Kind 5: what is there twice.


def test_a_text_put_together_with_itself_is_not_counted_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = FILES / "ps_concat.txt"
    assert max(analysis.working_set(open_recording(path)).total.size_bytes) == 16 * MIB
    assert "is in it twice at" in read_recording(path).overlap
    assert main(["report", "wss", str(path)]) == 0
    captured = capsys.readouterr()
    assert "target 0 is in it twice at" in captured.err
    assert "32 MiB" not in captured.out


def test_damos_own_file_twice_is_read_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "wss", "--json", str(FILES / "concat.data")]) == 0
    captured = capsys.readouterr()
    assert "target 0 is in it twice at" in captured.err
    assert set(json.loads(captured.out)["total"]["bytes"]) == {16 * MIB}


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "damon", "data", "json", "perf", "parquet"])
@pytest.mark.parametrize("same", [True, False])
def test_files_put_together_say_what_overlaps_or_have_both_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, same: bool
) -> None:
    taken = [snapshot((WORKER,), [(0, 0x10_0000, 0x20_0000, 20, n)], n) for n in range(10)]
    second = taken if same else shifted(taken, 60 * S)
    parts = []
    for name, snapshots in (("a", taken), ("b", second)):
        record(tmp_path / f"{name}.damon", snapshots)
        file = tmp_path / f"{name}.{suffix}"
        if suffix != "damon":
            write_recording(file, open_recording(tmp_path / f"{name}.damon"))
        parts.append(file.read_bytes())
    whole = tmp_path / f"whole.{suffix}"
    whole.write_bytes(b"".join(parts))
    if main(["report", "wss", "--json", str(whole)]):
        assert "put together" in capsys.readouterr().err
        return
    captured = capsys.readouterr()
    total = json.loads(captured.out)["total"]
    assert max(total["bytes"]) == MIB
    complete = len(total["bytes"]) == 20
    assert complete or "put together" in captured.err, "nothing is lost without a word"
    assert not same or "put together" in captured.err, "nothing is there twice without a word"


@pytest.mark.parametrize("index", [False, True])
def test_parquet_files_of_other_tools_are_one_file(tmp_path: Path, index: bool) -> None:
    """Some have more between their columns and their footer."""
    path = tmp_path / "r.parquet"
    table = read_recording(FILES / "target_0_1.json").table
    parquet.write_table(table, path, write_page_index=index)
    assert len(read_recording(path)) == 3


def test_a_recording_is_not_merged_with_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(FILES / "fleet_hostA.ndjson")
    target = tmp_path / "twice.damon"
    assert main(["merge", source, source, str(target)]) == 1
    assert "there twice" in capsys.readouterr().err
    assert not target.exists()
    # A part of it overlaps, and that is said.
    part = tmp_path / "part.ndjson"
    assert main(["slice", "--from", "300ms", source, str(part)]) == 0
    assert main(["merge", source, str(part), str(target)]) == 0
    assert "nginx (pid 1234) is in it twice" in capsys.readouterr().err
    assert analysis.working_set(open_recording(target)).total.most == 16 * MIB


def test_recordings_of_one_process_one_after_the_other_are_merged_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "a.damon", busy(30))
    record(tmp_path / "b.damon", shifted(busy(30), 100 * S))
    sources = [str(tmp_path / name) for name in ("b.damon", "a.damon")]
    assert main(["merge", *sources, str(tmp_path / "m.damon")]) == 0
    assert capsys.readouterr().err == ""
    assert len(read_recording(tmp_path / "m.damon")) == 60


# Kind 6: a target is a host, a pid and a start.


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


# Kind 7: where a recording begins.


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A snapshot a minute for twelve hours."""
    path = tmp_path / "day.damon"
    record(
        path,
        [
            snapshot((WORKER,), [(0, 0x10_0000, 0x20_0000, 20, n)], n, window_ns=60 * S)
            for n in range(720)
        ],
    )
    return path


def test_a_slice_begins_where_it_begins(
    day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hour, rest = tmp_path / "hour.damon", tmp_path / "rest.parquet"
    assert main(["slice", "--from", "10h", "--to", "11h", str(day), str(hour)]) == 0
    document = json.loads(printed(capsys, "report", "summary", "--json", str(hour)))
    assert document["began_ns"] == document["recording"]["started_ns"] == BEGIN_NS + 36_000 * S
    assert document["duration_ns"] == 3600 * S
    assert main(["slice", "--from", "50min", str(hour), str(rest)]) == 0
    document = json.loads(printed(capsys, "report", "summary", "--json", str(rest)))
    assert document["began_ns"] == BEGIN_NS + 39_000 * S
    assert document["duration_ns"] == 600 * S
    # Filters count from the same time.
    text = printed(capsys, "report", "times", "--json", "--where", "time < 10min", str(hour))
    (only,) = json.loads(text)["times"]
    assert only["start_ns"] == BEGIN_NS + 36_000 * S
    assert only["end_ns"] == only["start_ns"] + 600 * S


@pytest.mark.parametrize("suffix", ["damon", "json", "perf"])
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--from", "20h"], "12 h long"),
        (["--pid", "99"], "pid 8"),
        (["--host", "elsewhere"], "12 h long"),
        (["--addresses", "1-2"], "of addresses 100000-200000"),
    ],
)
def test_an_empty_slice_is_an_error_that_says_what_there_is(
    day: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    said: str,
    suffix: str,
) -> None:
    source, target = tmp_path / f"source.{suffix}", tmp_path / "none.damon"
    write_recording(source, open_recording(day), force=True)
    assert main(["slice", *argv, str(day), str(target)]) == 1
    error = capsys.readouterr().err
    assert "nothing of" in error
    assert said in error
    assert not target.exists()


def test_there_is_one_beginning_whatever_the_order_of_the_parts(tmp_path: Path) -> None:
    record(tmp_path / "late.damon", shifted(busy(10), 50 * S))
    record(tmp_path / "early.damon", busy(10))
    both = merge_recordings([tmp_path / "late.damon", tmp_path / "early.damon"])
    assert both.began_ns == both.sorted().began_ns == BEGIN_NS
    write_recording(tmp_path / "both.json", both)
    assert open_recording(tmp_path / "both.json").began_ns == BEGIN_NS


def test_there_is_no_such_target(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", busy(3))
    assert isinstance(recording, Recording)
    with pytest.raises(RecordingError, match="no process 99"):
        recording.of_target(Target(99))
    with pytest.raises(RecordingError, match="no process 99"):
        list(open_recording(tmp_path / "r.damon").of_target(Target(99)))


_WINDOWS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(0, 3)), max_size=12
)


@given(st.lists(_WINDOWS, max_size=40))
def test_many_short_runs_are_told_apart_as_each_is_by_itself(
    runs: list[list[tuple[int, int, int]]],
) -> None:
    """What lies far apart in time has nothing to do with each other, however much there is."""
    alone: list[bool] = []
    every: list[tuple[int, int, int]] = []
    for number, run in enumerate(runs):
        windows = sorted((1000 * number + low, 1000 * number + low + n, t) for low, n, t in run)
        columns = np.array(windows, np.int64).reshape(-1, 3).T
        alone += new_snapshots(*columns).tolist()
        every += windows
    together = new_snapshots(*np.array(every, np.int64).reshape(-1, 3).T).tolist()
    assert together == alone
