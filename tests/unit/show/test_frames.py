"""Frames and their history: the same as the snapshots that they are made of, in less memory."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._model.attrs import Attrs
from pydamon._model.regions import PAGE_SIZE
from pydamon._model.snapshot import Cost, Snapshot
from pydamon._observe.monitor import Monitor
from pydamon._show.frames import (
    SUMS,
    Feed,
    Frame,
    HeatMapCache,
    History,
    RateSpans,
    Replay,
    fold,
    frame_of,
    union,
)
from tests.recordings import BEGIN_NS, MIB, MS, record, snapshot, target

APP = target(
    7,
    "app",
    (16 * MIB, 24 * MIB, "rw-p", "[heap]"),
    (64 * MIB, 72 * MIB, "rw-p", "libexample.so"),
)
OTHER = target(9, "other", (16 * MIB, 20 * MIB, "rw-p", "[heap]"))


def written(count: int, *, first: int = 0) -> list[Snapshot]:
    """A window of 1 MiB walks through the heap, MiB by MiB; the library is warm, the rest idle."""
    snapshots = []
    for number in range(first, first + count):
        at = (16 + number % 8) * MIB
        regions = [(0, at, at + MIB, 20, 0), (0, 64 * MIB, 72 * MIB, 5, number)]
        if at > 16 * MIB:
            regions.insert(0, (0, 16 * MIB, at, 0, number))
        if at + MIB < 24 * MIB:
            regions.insert(-1, (0, at + MIB, 24 * MIB, 0, number))
        regions.append((1, 16 * MIB, 20 * MIB, number % 21, 0))
        snapshots.append(snapshot((APP, OTHER), regions, number, cost=Cost(MS, 0, 1)))
    return snapshots


@st.composite
def lists_of_spans(draw: st.DrawFn) -> RateSpans:
    """Sorted spans of two targets, in pages 0 to 30 of each."""
    rows = []
    for index in range(2):
        edges = sorted(draw(st.sets(st.integers(0, 30), max_size=8)))
        for low, high in itertools.pairwise(edges):
            if draw(st.booleans()):
                rate = draw(st.sampled_from((0.0, 0.25, 0.5, 1.0)))
                rows.append((index, low * PAGE_SIZE, high * PAGE_SIZE, rate, low % 2))
    columns = np.array(rows, np.float64).reshape(-1, 5).T
    return RateSpans(
        columns[0].astype(np.int32),
        columns[1].astype(np.int64),
        columns[2].astype(np.int64),
        columns[3].astype(np.float32),
        columns[4].astype(np.int32),
    )


def by_page(spans: RateSpans) -> dict[tuple[int, int], float]:
    """The rate of every page that spans cover."""
    return {
        (int(spans.target[i]), page): float(spans.rate[i])
        for i in range(len(spans))
        for page in range(int(spans.start[i]) // PAGE_SIZE, int(spans.end[i]) // PAGE_SIZE)
    }


@given(st.lists(st.tuples(lists_of_spans(), st.integers(1, 5)), min_size=1, max_size=4))
def test_a_union_has_the_mean_rate_of_every_page(parts: list[tuple[RateSpans, int]]) -> None:
    merged = union([spans for spans, _ in parts], [float(weight) for _, weight in parts])
    known: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for spans, weight in parts:
        for page, rate in by_page(spans).items():
            known.setdefault(page, []).append((rate, weight))
    expected = {
        page: sum(rate * weight for rate, weight in seen) / sum(weight for _, weight in seen)
        for page, seen in known.items()
    }
    rates = by_page(merged)
    assert rates.keys() == expected.keys()
    for page, rate in expected.items():
        # Neighbours that differ by less than a level merge.
        assert rates[page] == pytest.approx(rate, abs=1 / 32)
        assert (rates[page] == 0) == (rate == 0)
    order = merged.target.astype(np.int64) * (1 << 40) + merged.start
    assert (np.diff(order) > 0).all()
    same = merged.target[1:] == merged.target[:-1]
    assert (merged.start[1:] >= merged.end[:-1])[same].all()


def test_a_frame_says_what_the_report_says(tmp_path: Path) -> None:
    snapshots = written(16)
    summary = analysis.summary(record(tmp_path / "r.damon", snapshots), idle_ns=10 * 10**9)
    frame = frame_of(snapshots)
    expected = {(m.target.pid, m.name): m for m in summary.mappings}
    for row, sums in enumerate(frame.sums):
        amounts = dict(zip(SUMS, sums, strict=True))
        key = (frame.targets[frame.sum_target[row]].pid, frame.names[frame.sum_name[row]])
        mapping = expected.pop(key)
        for part in ("total", "hot", "warm", "cold", "idle", "unobservable"):
            assert amounts[part] == pytest.approx(getattr(mapping.size, part)), (key, part)
        assert amounts["heat"] / amounts["total"] == pytest.approx(mapping.rate)
    assert not expected
    mean = np.mean([s.working_set() for s in snapshots])
    assert sum(frame.working_sets.values()) == pytest.approx(mean)
    assert frame.timing.late_ticks == 16
    assert frame.timing.cpu_share == pytest.approx(0.01)


def test_a_recording_and_its_snapshots_make_the_same_frames(tmp_path: Path) -> None:
    snapshots = written(40)
    history = Replay(record(tmp_path / "r.damon", snapshots)).history
    assert len(history.frames()) == 40
    for replayed, taken in zip(history.frames(), snapshots, strict=True):
        frame = frame_of([taken])
        assert (replayed.start_ns, replayed.end_ns) == (taken.start_ns, taken.end_ns)
        assert replayed.working_sets == frame.working_sets
        assert by_page(replayed.spans_of(APP)) == by_page(frame.spans_of(APP))
    few = History.of(record(tmp_path / "r.damon", snapshots), most=5).frames()
    assert len(few) == 5
    assert (few[0].start_ns, few[-1].end_ns) == (snapshots[0].start_ns, snapshots[-1].end_ns)
    assert fold(few).sums == pytest.approx(frame_of(snapshots).sums)


def test_what_a_filter_leaves_can_be_replayed(tmp_path: Path) -> None:
    whole = record(tmp_path / "r.damon", written(10))
    none = Replay(analysis.where(whole, "size > 1TiB")).history.frames()
    assert [len(frame.spans) for frame in none] == [0] * 10
    late = Replay(analysis.where(whole, "pid = 7 and time < 500ms")).history.frames()
    assert [APP.key in frame.working_sets for frame in late] == [True] * 5 + [False] * 5
    assert all(frame.timing.late_ticks == 1 for frame in (*none, *late))


def test_a_history_stays_small_and_covers_everything() -> None:
    history = History(recent=20, past=10)
    copy: dict[int, Frame] = {}
    seen = 0
    snapshots = written(3000)
    for number, taken in enumerate(snapshots):
        history.add(taken)
        if number % 37 == 0:
            # What a reader does that keeps a copy.
            for version, frame in history.since(seen):
                for start in [
                    s for s, f in copy.items() if s < frame.end_ns and f.end_ns > frame.start_ns
                ]:
                    del copy[start]
                copy[frame.start_ns] = frame
                seen = version
            assert [copy[start] for start in sorted(copy)] == history.frames()
    history.flush()
    frames = history.frames()
    assert len(frames) <= 20 + 10 + 32
    assert frames[0].start_ns == snapshots[0].start_ns
    assert frames[-1].end_ns == snapshots[-1].end_ns
    assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(frames))
    assert sum(frame.timing.snapshots for frame in frames) == 3000
    assert frames[-1].end_ns - frames[-2].start_ns <= 2.5 * 10**9
    assert sum(
        f.working_sets[APP.key] * f.timing.snapshots for f in frames
    ) / 3000 == pytest.approx(9 * MIB)


def test_the_first_snapshot_is_there_at_once() -> None:
    history = History()
    history.add(written(1)[0])
    assert len(history.frames()) == history.version == 1


def test_a_mistake_in_a_monitor_is_an_error_with_a_hint() -> None:
    """A thread's traceback would ruin the screen, and help nobody."""

    class Broken:
        attrs, probe_name, caveat = Attrs(), "broken", "its figures are invented"

        def run(self, duration: object) -> Iterator[Snapshot]:
            yield written(1)[0]
            raise ZeroDivisionError("of all things")

        def stop(self) -> None:
            pass

    feed = Feed(cast(Monitor, Broken()))
    feed.close()
    assert feed.caveat == "its figures are invented"
    assert feed.ended == "monitoring failed: ZeroDivisionError: of all things"
    assert feed.error is not None
    assert "test_frames.py, line" in feed.error.hint
    assert len(feed.history.frames()) == 1


def test_a_history_can_be_read_while_it_grows() -> None:
    history = History(recent=20, past=10)
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            frames = history.frames()
            if any(a.end_ns != b.start_ns for a, b in itertools.pairwise(frames)):
                wrong.append("a gap")

    reader = threading.Thread(target=read)
    reader.start()
    for taken in written(1000):
        history.add(taken)
    done.set()
    reader.join()
    assert not wrong


def test_columns_are_what_a_whole_heat_map_has(tmp_path: Path) -> None:
    snapshots = written(64)
    recording = record(tmp_path / "r.damon", snapshots)
    whole = analysis.heatmap(recording, 16, 64, pid=7, addresses="all")
    reused = HeatMapCache()
    frames = Replay(recording).history.frames()
    for end in (20, 33, 64):
        for cache in (reused, HeatMapCache()):
            heatmap = cache.render(
                frames[:end],
                APP,
                16,
                20,
                end_ns=frames[end - 1].end_ns,
                column_ns=100 * MS,
                addresses="all",
            )
            assert heatmap is not None
            assert heatmap.rates == pytest.approx(whole.rates[:, end - 20 : end], abs=1e-6)
            assert heatmap.time_edges[-1] == BEGIN_NS + end * 100 * MS
    assert heatmap is not None
    assert heatmap.row_names == ("[heap]",) * 8 + ("libexample.so",) * 8
    assert heatmap.left_out_bytes == 0


def test_the_hottest_range_does_not_jump() -> None:
    """It follows the hot memory, but not every small step of it."""

    def hot(at: int) -> Snapshot:
        low = (16 + at) * MIB
        regions = [(0, 16 * MIB, low, 0, 9)] if at else []
        return snapshot(
            (APP,), [*regions, (0, low, low + MIB, 20, 9), (0, low + MIB, 24 * MIB, 0, 9)]
        )

    cache = HeatMapCache()

    def axis(at: int) -> tuple[int, int]:
        frames = [frame_of([hot(at)])]
        heatmap = cache.render(frames, APP, 8, 1, end_ns=frames[0].end_ns, column_ns=100 * MS)
        assert heatmap is not None
        low, high = heatmap.axis.segments[[0, -1], [0, 1]].tolist()
        assert low <= (16 + at) * MIB
        assert high >= (17 + at) * MIB
        return low, high

    first = axis(0)
    assert first[1] < 19 * MIB
    assert axis(0) == first
    assert axis(5) != first


def test_what_is_not_there_has_no_map() -> None:
    cache = HeatMapCache()
    frames = [frame_of(written(1))]
    end_ns = frames[0].end_ns
    assert cache.render([], APP, 8, 8, end_ns=0, column_ns=1) is None
    nobody = target(99, "nobody")
    assert cache.render(frames, nobody, 8, 8, end_ns=end_ns, column_ns=100 * MS) is None
    assert (
        cache.render(frames, APP, 8, 8, end_ns=end_ns, column_ns=100 * MS, addresses=(0, MIB))
        is None
    )
