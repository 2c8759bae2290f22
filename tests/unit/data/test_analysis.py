from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydamon import analysis
from pydamon._data.recording import Recording
from pydamon._model.errors import RecordingError, UsageError
from pydamon._model.snapshot import Cost, Snapshot, Target
from tests.recordings import BEGIN_NS, MIB, MS, busy, record, snapshot, target

HEAP, LIB = 64 * MIB, 512 * MIB
PROCESS = target(
    7,
    "app",
    (HEAP, HEAP + 8 * MIB, "rw-p", "[heap]"),
    (LIB, LIB + 4 * MIB, "r-xp", "/usr/lib/libc.so.6"),
)


def half_hot(number: int, age: int = 0) -> Snapshot:
    """8 MiB of heap, of which the first half is hot, and 4 MiB of a library that is never used."""
    return snapshot(
        (PROCESS,),
        [
            (0, HEAP, HEAP + 2 * MIB, 20, age),
            (0, HEAP + 2 * MIB, HEAP + 4 * MIB, 10, age),
            (0, HEAP + 4 * MIB, HEAP + 8 * MIB, 0, age),
            (0, LIB, LIB + 4 * MIB, 0, age),
        ],
        number,
        cost=Cost(MS, MS // 10, 1),
    )


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return record(tmp_path / "r.damon", [half_hot(number, number) for number in range(40)])


def test_the_working_set_is_what_was_touched(tmp_path: Path) -> None:
    sizes = [5, 1, 3, 2, 4]
    other = Target(9, "other")
    written = [
        snapshot(
            (PROCESS, other),
            [(0, HEAP, HEAP + 8 * MIB, 1, 0), (1, HEAP, HEAP + MIB, 1, 0)],
            number,
            touched=[amount * MIB, MIB],
        )
        for number, amount in enumerate(sizes)
    ]
    working_set = analysis.working_set(record(tmp_path / "r.damon", written), (0, 50, 100))
    assert working_set.total.size_bytes.tolist() == [(amount + 1) * MIB for amount in sizes]
    assert working_set.total.percentiles == ((0.0, 2 * MIB), (50.0, 4 * MIB), (100.0, 6 * MIB))
    assert [series.target for series in working_set.targets] == [PROCESS, other]
    assert working_set.targets[0].size_bytes.tolist() == [amount * MIB for amount in sizes]
    assert working_set.targets[1].percentiles == ((0.0, MIB), (50.0, MIB), (100.0, MIB))
    assert working_set.total.end_ns.tolist() == [each.end_ns for each in written]


def test_a_target_that_comes_late_is_counted_from_then_on(tmp_path: Path) -> None:
    late = Target(9, "late")
    written = [
        half_hot(0),
        snapshot((late, PROCESS), [(0, MIB, 2 * MIB, 5, 0), (1, HEAP, HEAP + MIB, 5, 0)], 1),
    ]
    working_set = analysis.working_set(record(tmp_path / "r.damon", written))
    assert {s.target.pid: len(s.size_bytes) for s in working_set.targets if s.target} == {
        7: 2,
        9: 1,
    }
    assert working_set.total.size_bytes.tolist() == [4 * MIB, 2 * MIB]
    # Everywhere the same one, which was seen.
    assert (
        working_set.total.median
        == dict(working_set.total.percentiles)[50]
        == working_set.total.most
        == 4 * MIB
    )


def test_working_sets_of_many_targets_are_those_of_each_alone(tmp_path: Path) -> None:
    targets = [Target(number + 1, f"t{number}") for number in range(7)]
    taken = []
    for number in range(12):
        here = tuple(targets[: 1 + number % 7])
        rows = [(i, 0x1000, 0x1000 * (2 + (5 * i + number) % 9), 20, 0) for i in range(len(here))]
        taken.append(snapshot(here, rows, number))
    whole = record(tmp_path / "r.damon", taken)
    working_set = analysis.working_set(whole, (0, 10, 50, 99, 100))
    assert [series.target for series in working_set.targets] == targets
    for series in working_set.targets:
        assert series.target is not None
        (alone,) = analysis.working_set(
            whole.of_target(series.target), (0, 10, 50, 99, 100)
        ).targets
        assert (alone.percentiles, alone.median) == (series.percentiles, series.median)
        assert series.percentiles[0][1] == series.size_bytes.min()
        assert series.percentiles[-1][1] == series.size_bytes.max()


def test_percentiles_outside_0_to_100_are_refused(recording: Recording) -> None:
    with pytest.raises(UsageError):
        analysis.working_set(recording, (101,))


def test_a_heat_map_has_the_rates_of_what_it_covers(recording: Recording) -> None:
    heat = analysis.heatmap(recording, 6, 4, addresses="all")
    assert heat.rates == pytest.approx(np.array([[1], [0.5], [0], [0], [0], [0]]) * np.ones(4))
    assert heat.row_addresses.tolist() == [
        HEAP,
        HEAP + 2 * MIB,
        HEAP + 4 * MIB,
        HEAP + 6 * MIB,
        LIB,
        LIB + 2 * MIB,
    ]
    assert heat.row_names == ("[heap]",) * 4 + ("/usr/lib/libc.so.6",) * 2
    assert heat.axis.segments.tolist() == [[HEAP, HEAP + 8 * MIB], [LIB, LIB + 4 * MIB]]
    assert heat.time_edges[0] == BEGIN_NS
    assert heat.time_edges[-1] == BEGIN_NS + 4000 * MS
    assert heat.left_out_bytes == 0


def test_cells_are_weighed_by_overlap(recording: Recording) -> None:
    heat = analysis.heatmap(recording, 4, 1, addresses="all")
    assert heat.rates[:, 0] == pytest.approx([2.5 / 3, 0.5 / 3, 0, 0])
    assert analysis.heatmap(recording, 1, 1, addresses="all").rates[0, 0] == pytest.approx(0.25)


def test_heat_moves_with_time(tmp_path: Path) -> None:
    """First the lower half is hot, then the upper; the windows differ in length."""
    lower = snapshot((PROCESS,), [(0, 0, MIB, 20, 0), (0, MIB, 2 * MIB, 0, 0)], 0)
    upper = snapshot((PROCESS,), [(0, 0, MIB, 0, 0), (0, MIB, 2 * MIB, 20, 0)], 1)
    heat = analysis.heatmap(record(tmp_path / "r.damon", [lower, upper]), 2, 4, addresses="all")
    assert heat.rates == pytest.approx(np.array([[1, 1, 0, 0], [0, 0, 1, 1]]))
    whole = analysis.heatmap(record(tmp_path / "r.damon", [lower, upper]), 2, 1, addresses="all")
    assert whole.rates == pytest.approx(np.array([[0.5], [0.5]]))


def test_what_was_not_monitored_is_told_from_what_was_cold(tmp_path: Path) -> None:
    first = snapshot((PROCESS,), [(0, 0, MIB, 0, 0)], 0)
    second = snapshot((PROCESS,), [(0, 0, MIB, 0, 0), (0, 4 * MIB, 5 * MIB, 20, 0)], 8)
    heat = analysis.heatmap(record(tmp_path / "r.damon", [first, second]), 2, 9, addresses="all")
    nan = np.nan
    expected = [[0, *[nan] * 7, 0], [*[nan] * 8, 1]]
    np.testing.assert_allclose(heat.rates, expected, atol=1e-9)


def test_the_time_of_a_survey_is_that_of_the_snapshot_which_it_was_for(tmp_path: Path) -> None:
    first = snapshot((PROCESS,), [(0, 0, MIB, 0, 0)], 0)
    second = snapshot((PROCESS,), [(0, 0, MIB, 20, 0)], 2)
    heat = analysis.heatmap(record(tmp_path / "r.damon", [first, second]), 1, 3, addresses="all")
    np.testing.assert_allclose(heat.rates, [[0, 1, 1]], atol=1e-9)


def test_the_hottest_range_is_zoomed_to(recording: Recording) -> None:
    heat = analysis.heatmap(recording, 10, 10)
    (segment,) = heat.axis.segments.tolist()
    assert segment[0] == HEAP
    assert HEAP + 4 * MIB <= segment[1] < HEAP + 5 * MIB
    assert heat.axis.length + heat.left_out_bytes == 12 * MIB


def test_a_named_range_is_cut_to_what_was_monitored(recording: Recording) -> None:
    heat = analysis.heatmap(recording, 2, 1, addresses=(HEAP + 6 * MIB, LIB + 2 * MIB))
    assert heat.axis.segments.tolist() == [
        [HEAP + 6 * MIB, HEAP + 8 * MIB],
        [LIB, LIB + 2 * MIB],
    ]
    with pytest.raises(RecordingError, match="nothing was monitored"):
        analysis.heatmap(recording, addresses=(0, 4096))
    with pytest.raises(UsageError):
        analysis.heatmap(recording, addresses=(4096, 4096))


def test_a_span_of_time_can_be_picked(recording: Recording) -> None:
    span = (BEGIN_NS + 1000 * MS, BEGIN_NS + 2000 * MS)
    heat = analysis.heatmap(recording, 6, 2, addresses="all", time_ns=span)
    assert heat.rates[0].tolist() == pytest.approx([1, 1])
    assert heat.time_edges.tolist() == pytest.approx([span[0], sum(span) / 2, span[1]])
    with pytest.raises(RecordingError, match="span of time"):
        analysis.heatmap(recording, time_ns=(1, 2))


def test_nothing_accessed_makes_a_cold_map(tmp_path: Path) -> None:
    recording = record(tmp_path / "r.damon", [snapshot((PROCESS,), [(0, HEAP, LIB, 0, 0)])])
    assert not analysis.heatmap(recording, 3, 3).rates.any()


def test_of_several_targets_the_hottest_is_drawn(tmp_path: Path) -> None:
    both = snapshot(
        (PROCESS, Target(9, "hot")), [(0, HEAP, LIB, 0, 0), (1, HEAP, HEAP + MIB, 1, 0)]
    )
    recording = record(tmp_path / "r.damon", [both])
    assert analysis.heatmap(recording).target.pid == 9
    assert analysis.heatmap(recording, pid=7).target == PROCESS


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_heat_map_keeps_all_heat(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The cells' rates times what they cover is the heat of all regions, whatever the grid."""
    written = []
    for number in range(data.draw(st.integers(1, 5))):
        edges = data.draw(st.lists(st.integers(1, 99), min_size=1, max_size=8, unique=True))
        bounds = [0, *sorted(edges), 100]
        hits = [data.draw(st.integers(0, 20)) for _ in bounds[1:]]
        regions = [
            (0, low * 4096, high * 4096, hit, 0)
            for low, high, hit in zip(bounds[:-1], bounds[1:], hits, strict=True)
        ]
        written.append(snapshot((PROCESS,), regions, number))
    recording = record(tmp_path_factory.mktemp("h") / "r.damon", written)
    heat = sum(float((each.nr_accesses * each.size).sum()) for each in written) / 20
    rows, columns = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 12))
    heat_map = analysis.heatmap(recording, rows, columns, addresses="all")
    cell = 100 * 4096 / rows * len(written) / columns
    assert heat_map.rates.sum() * cell == pytest.approx(heat, rel=1e-6, abs=1e-3)


def test_regions_are_sorted_by_temperature_and_named(recording: Recording) -> None:
    regions = analysis.regions(recording).regions
    assert [(region.start, region.end, region.mapping, region.perms) for region in regions] == [
        (HEAP, HEAP + 2 * MIB, "[heap]", "rw-p"),
        (HEAP + 2 * MIB, HEAP + 4 * MIB, "[heap]", "rw-p"),
        (HEAP + 4 * MIB, HEAP + 8 * MIB, "[heap]", "rw-p"),
        (LIB, LIB + 4 * MIB, "/usr/lib/libc.so.6", "r-xp"),
    ]
    assert [region.rate for region in regions] == [1, 0.5, 0, 0]
    assert regions[0].age_ns == 39 * 100 * MS
    assert regions[0].touched_bytes == 2 * MIB
    assert regions[1].temperature > 0 > regions[2].temperature
    first = analysis.regions(recording, 0).regions
    assert first[0].age_ns == 0
    with pytest.raises(RecordingError, match="none at 40"):
        analysis.regions(recording, 40)


def test_a_last_snapshot_cut_short_is_passed_over(tmp_path: Path) -> None:
    whole = [snapshot((PROCESS,), [(0, HEAP, LIB, 20, 4)], number) for number in range(3)]
    short = dataclasses.replace(
        snapshot((PROCESS,), [(0, HEAP, LIB, 0, 5)], 3), end_ns=whole[-1].end_ns + 10 * MS
    )
    recording = record(tmp_path / "r.damon", [*whole, short])
    assert analysis.regions(recording).regions[0].rate == 1
    assert analysis.regions(recording, -1).regions[0].age_ns == 500 * MS


def test_neighbours_that_are_alike_are_one_region() -> None:
    edges = [HEAP + number * MIB for number in range(8)]
    hits = [20, 16, 14, 2, 1, 0, 0]
    parts = [(0, edges[i], edges[i + 1], hit, 2 * i) for i, hit in enumerate(hits)]
    regions = sorted(
        analysis.regions_of(snapshot((PROCESS,), parts)).regions, key=lambda r: r.start
    )
    assert [region.size // MIB for region in regions] == [3, 2, 2]
    assert [region.rate for region in regions] == pytest.approx([50 / 60, 1.5 / 20, 0])
    assert [region.age_ns for region in regions] == [200 * MS, 700 * MS, 1100 * MS]


def test_temperature_rises_with_rate_and_age_and_falls_with_idle_time() -> None:
    rate = np.array([1.0, 1.0, 0.5, 0.0, 0.0, 1.0])
    age_ns = np.array([60, 1, 60, 1, 60, 1e9]) * 1e9
    size = np.full(6, 64.0 * MIB)
    hot = analysis.temperature(rate, age_ns, size)
    assert hot[0] > hot[1] > hot[2] > 0 > hot[3] > hot[4]
    assert analysis.temperature(rate[5:], age_ns[5:], np.array([2.0**50])) == 100


def test_a_live_snapshot_needs_no_recording() -> None:
    assert analysis.regions_of(half_hot(0)).regions[0].mapping == "[heap]"
    assert analysis.regions_of(snapshot((PROCESS,), [])).regions == ()


def test_a_summary_counts_bytes_by_heat(recording: Recording) -> None:
    summary = analysis.summary(recording)
    assert summary.snapshots == 40
    assert summary.duration_ns == 4000 * MS
    assert summary.idle_ns == 2 * 10**9
    size = summary.size
    assert [size.total, size.hot, size.warm, size.cold, size.unobservable] == pytest.approx(
        [12 * MIB, 4 * MIB, 0, 8 * MIB, 0]
    )
    assert size.idle == pytest.approx(4 * MIB)  # from the 20th of 40 aggregations on
    assert [mapping.name for mapping in summary.mappings] == ["[heap]", "/usr/lib/libc.so.6"]
    assert summary.mappings[0].rate == pytest.approx(3 / 8)
    assert summary.cost.cpu_share == pytest.approx(0.01)
    assert summary.cost.interruption_share == pytest.approx(0.001)
    assert summary.cost.late_ticks == 40
    assert summary.cost.sampling_ns == summary.cost.named_sampling_ns == 5 * MS


def test_unobservable_memory_is_neither_hot_nor_cold(tmp_path: Path) -> None:
    taken = snapshot(
        (PROCESS,),
        [(0, HEAP, HEAP + 4 * MIB, 0, 5), (0, LIB, LIB + 4 * MIB, 20, 5)],
        unobservable=[4 * MIB, MIB],
    )
    size = analysis.summary(record(tmp_path / "r.damon", [taken])).size
    assert (size.total, size.hot, size.cold, size.unobservable) == (8 * MIB, 3 * MIB, 0, 5 * MIB)


@pytest.mark.parametrize("use", [analysis.summary, analysis.regions, analysis.heatmap])
def test_an_empty_recording_says_so(tmp_path: Path, use: object) -> None:
    assert callable(use)
    recording = record(tmp_path / "r.damon", [])
    with pytest.raises(RecordingError, match="no snapshots"):
        use(recording)
    assert analysis.working_set(recording).targets == ()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_distributions_and_idle_memory_count_every_byte(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    written, hits = [], st.integers(0, 20)
    for number in range(data.draw(st.integers(1, 4))):
        sizes = data.draw(st.lists(st.integers(1, 2**20), min_size=1, max_size=8))
        edges = np.cumsum([0, *sizes]).tolist()
        regions = [
            (0, 4096 * low, 4096 * high, *data.draw(st.tuples(hits, st.integers(0, 99))))
            for low, high in pairwise(edges)
        ]
        written.append(snapshot((PROCESS,), regions, number))
    recording = record(tmp_path_factory.mktemp("r") / "r.damon", written)
    mean = float(np.mean([each.size.sum() for each in written]))
    for by in get_args(analysis.By):
        distribution = analysis.distribution(recording, by)
        assert distribution.size_bytes.sum() == pytest.approx(mean)
        assert distribution.regions.sum() == pytest.approx(np.mean([len(each) for each in written]))
        marks = [value for _, value in distribution.percentiles]
        assert marks == sorted(marks)
        column = analysis.RegionColumns(recording).values(by)
        assert (marks[0], marks[-1]) == (column.min(), column.max())
    idle = analysis.idle(recording)
    last = written[-1]
    for age_ns, amount in zip(idle.ages_ns.tolist(), idle.last_bytes.tolist(), strict=True):
        wanted = (last.nr_accesses == 0) & (last.age * 100 * MS >= age_ns)
        assert amount == last.size[wanted].sum()
    assert (np.diff(idle.mean_bytes) <= 1e-6).all()
    hot = analysis.summary(recording).size
    assert idle.mean_bytes[0] == pytest.approx(hot.cold)


def test_nothing_is_left_of_a_recording(tmp_path: Path) -> None:
    whole = record(tmp_path / "r.damon", busy(8))
    nothing = whole.pick(np.zeros(len(whole.table), np.bool_))
    assert analysis.mappings(nothing) == ()
    assert analysis.summary(nothing).size.total == 0
    assert analysis.working_set(nothing).total.most == 0


def test_no_percentile_is_asked_for(tmp_path: Path) -> None:
    assert analysis.working_set(record(tmp_path / "r.damon", busy(8)), ()).total.percentiles == ()
