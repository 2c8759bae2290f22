"""A snapshot has the windows that overlap; a recording begins with its first snapshot."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._cli.main import main
from pydamon._data.formats.output import write_recording
from pydamon._data.formats.reader import merge_recordings, open_recording, read_recording
from pydamon._data.recording.grouping import new_snapshots
from pydamon._model.snapshot import Target
from pydamon._show.frames import Replay
from tests.recordings import BEGIN_NS, MIB, REDIS, WORKER, busy, record, snapshot
from tests.unit.cases.helpers import FILES, S, printed, shifted


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
