"""Working sets within any time: against counting page by page, and in chunks."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pydamon
from pydamon import Access, Phase, Recording, Trace, UsageError, analysis, open_recording
from pydamon._data.analysis.touched import TouchedShares, TouchedWindow, WindowHistory
from pydamon._model.accessed_within import WITHIN_INTERVALS
from pydamon._model.snapshot import Snapshot, Target
from tests.recordings import MIB, MS, record, snapshot
from tests.unit.cli.reports import printed

APP = Target(7, "app")
PAGES = 12
SHARES = st.sampled_from([0, 0.25, 0.5, 1])
UNKNOWN = np.full((1, len(WITHIN_INTERVALS)), np.nan)
TIMES_NS = [1 * MS, 30 * MS, 100 * MS, 250 * MS, 1000 * MS, 10_000 * MS]


@st.composite
def windows(draw: st.DrawFn) -> list[TouchedWindow]:
    """Windows of a target, with pauses, whose regions lie on a few pages."""
    made, now_ns = [], 0
    for _ in range(draw(st.integers(1, 40))):
        now_ns += draw(st.sampled_from([0, 0, 0, 40 * MS]))
        end_ns = now_ns + draw(st.sampled_from([90 * MS, 100 * MS, 110 * MS]))
        bounds = sorted(draw(st.sets(st.integers(0, PAGES), max_size=6)))
        rows = [(a, b) for a, b in pairwise(bounds) if draw(st.booleans())]
        start, end = np.array(rows, np.int64).reshape(-1, 2).T
        shares = st.lists(SHARES, min_size=len(rows), max_size=len(rows))
        touched = np.array(draw(shares), np.float64)[:, None]
        access_share = np.array(draw(shares), np.float64)
        curve = np.sort(np.array(draw(st.lists(SHARES, min_size=7, max_size=7)), np.float64))
        within = np.tile(curve, (len(rows), 1))
        columns = start, end, touched, access_share, within
        made.append(TouchedWindow(now_ns, end_ns, 5 * MS, *columns))
        now_ns = end_ns
    return made


def page_by_page(shares: TouchedShares) -> NDArray[np.float64]:
    place = np.searchsorted(shares.edges, np.arange(PAGES), side="right") - 1
    return np.where(place >= 0, shares.values[place, 0], 0.0)


def counted(history: list[TouchedWindow], time_ns: int) -> float:
    """The same by the definition: the largest share of each page over the windows."""
    now_ns = history[-1].end_ns
    largest = np.zeros(PAGES)
    for window in history:
        covered_ns = min(window.end_ns - window.start_ns, window.end_ns - (now_ns - time_ns))
        if covered_ns == window.end_ns - window.start_ns:
            largest = np.maximum(largest, page_by_page(window.whole()))
        elif covered_ns > 0:
            largest = np.maximum(largest, page_by_page(window.last(covered_ns)))
    return float(largest.sum())


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(windows())
def test_the_largest_share_of_each_page_counts(made: list[TouchedWindow]) -> None:
    history = WindowHistory(TIMES_NS[-1], 1)
    for index, window in enumerate(made):
        history.add(window)
        within = [float(sums[0]) for sums in history.within(TIMES_NS)]
        assert within == pytest.approx([counted(made[: index + 1], time) for time in TIMES_NS])
        assert within == sorted(within)


@pytest.mark.parametrize("rate_hz", [3.0, 20.0])
def test_a_monitor_tells_what_pages_at_random_access_within_parts_of_a_window(
    rate_hz: float,
) -> None:
    trace = Trace((Phase(10**9, (Access(64 * MIB, 128 * MIB, rate_hz=rate_hz),)),))
    monitor = pydamon.simulate(trace, [(0, 256 * MIB)], cpu_budget_percent=1, seed=1)
    snapshots = [each for each in monitor.run("16s") if each.start_ns > 6 * 10**9]
    assert np.median([each.window_ns for each in snapshots]) > 500 * MS
    recording = Recording.from_snapshots(snapshots)
    within = analysis.working_sets_within(recording, [20 * MS, 100 * MS, 200 * MS, 500 * MS])
    for time_ns, working_set in zip(within.times_ns, within.working_sets, strict=True):
        truth = 64 * MIB * (1 - np.exp(-rate_hz * time_ns / 1e9))
        assert np.median(working_set.total.size_bytes) == pytest.approx(truth, rel=0.1)


def test_old_windows_and_their_blocks_are_forgotten() -> None:
    history = WindowHistory(1000 * MS, 1)
    start, end = np.array([0]), np.array([PAGES])
    for number in range(500):
        times_ns = number * 100 * MS, (number + 1) * 100 * MS
        share = np.array([(number % 7) / 7])
        columns = start, end, share[:, None], share, UNKNOWN
        history.add(TouchedWindow(*times_ns, 5 * MS, *columns))
        assert [float(sums[0]) for sums in history.within([1000 * MS])]
        assert len(history._windows) <= 10
        assert len(history._blocks) <= 2 * 10 + 10


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 100))
def test_a_part_of_a_window_lies_between_nothing_and_the_window(
    share: float, touched: float, part_ms: int
) -> None:
    columns = np.array([0]), np.array([100]), np.array([[touched]]), np.array([share]), UNKNOWN
    window = TouchedWindow(0, 100 * MS, 5 * MS, *columns)
    whole, part, less = (
        float(shares.sums()[0])
        for shares in (window.whole(), window.last(part_ms * MS), window.last(part_ms * MS // 2))
    )
    assert 0 <= less <= part + 1e-9
    assert part <= whole + 1e-9
    assert float(window.last(100 * MS).sums()[0]) == pytest.approx(whole)


def test_pages_at_random_are_interpolated_by_their_share() -> None:
    columns = np.array([0]), np.array([100]), np.array([[0.8]]), np.array([0.01]), UNKNOWN
    window = TouchedWindow(0, 1000 * MS, 5 * MS, *columns)
    assert float(window.last(500 * MS).sums()[0]) == pytest.approx(100 * (1 - 0.99**100))
    # What is hot is hot in any part of the window.
    hot = replace(window, access_share=np.array([1.0]))
    assert float(hot.last(5 * MS).sums()[0]) == pytest.approx(80)


def _alternating(count: int) -> list[Snapshot]:
    """The first MiB is touched in each window, the second in each tenth, a third in the first."""
    return [
        snapshot(
            (APP,),
            [
                (0, 0, MIB, 20, 0),
                (0, MIB, 2 * MIB, 20 * (number % 10 == 0), 0),
                (0, 2 * MIB, 3 * MIB, 20 * (number == 0), 0),
            ],
            number,
        )
        for number in range(count)
    ]


def test_four_times_are_four_questions(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", _alternating(100))
    within = analysis.working_sets_within(recording, [10_000 * MS, 100 * MS, 1000 * MS])
    assert within.times_ns == (100 * MS, 1000 * MS, 10_000 * MS)
    assert [series.total.size_bytes[-1] // MIB for series in within.working_sets] == [1, 2, 3]
    (shortest, *_), usual = within.working_sets, analysis.working_set(recording)
    assert shortest.total.size_bytes.tolist() == usual.total.size_bytes.tolist()
    assert shortest.targets[0].percentiles == usual.targets[0].percentiles


def test_a_file_says_the_same_as_a_recording_in_memory(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", _alternating(30))
    from_file, in_memory = (
        analysis.working_sets_within(each, [500 * MS]).working_sets[0].total.size_bytes
        for each in (open_recording(tmp_path / "r.damon"), recording)
    )
    assert from_file.tolist() == in_memory.tolist()


def test_memory_that_targets_share_counts_once_in_the_sum() -> None:
    targets = (APP, Target(8, "worker"))
    shared = snapshot(targets, [(0, 0, MIB, 20, 0), (1, 0, MIB, 20, 0)])
    shared = replace(
        shared,
        resident_bytes=np.array([MIB, MIB]),
        repeated_bytes=np.array([0, MIB]),
    )
    within = analysis.working_sets_within(Recording.from_snapshots([shared]), [1000 * MS])
    (working_set,) = within.working_sets
    assert working_set.total.size_bytes.tolist() == [MIB]
    assert [series.size_bytes.tolist() for series in working_set.targets] == [[MIB], [MIB]]


def test_times_that_make_no_sense_are_refused() -> None:
    recording = Recording.from_snapshots(_alternating(3))
    for times in ([], [0], [MS, -MS]):
        with pytest.raises(UsageError, match="longer than 0"):
            analysis.working_sets_within(recording, times)
    with pytest.raises(UsageError, match="percentile"):
        analysis.working_sets_within(recording, [MS], [101])


def test_the_report_has_a_row_and_an_entry_for_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.damon"
    record(path, _alternating(30))
    shown = printed(capsys, "wss", str(path), "--window", "100ms,1s,10s,1min")
    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert rows[0].startswith("app (pid 7): accessed within a time")
    assert rows[2] == "100 ms 1 MiB 1 MiB 1 MiB 1 MiB 2 MiB 3 MiB"
    assert rows[5] == "1 min 3 MiB 3 MiB 3 MiB 3 MiB 3 MiB 3 MiB"
    document = json.loads(printed(capsys, "wss", str(path), "--json", "--window", "1s"))
    (window,) = document["windows"]
    assert window["window_ns"] == 10**9
    assert window["total"]["bytes"] == window["targets"][0]["bytes"]
    assert window["total"]["bytes"][-1] == 2 * MIB
