"""Recordings become workloads: sizes, order and working sets are kept, and simulations agree.

A private name: `merge_neighbours` has no public interface.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import pydamon
from pydamon._model.page_ages import IDLE_EDGES_NS, PageAges
from pydamon._workloads.merging import merge_neighbours
from pydamon._workloads.runner import scattered
from pydamon.workloads import PATTERNS, Phase, Workload, from_recording, parse, render
from tests.recordings import MIB, MS, REDIS, WORKER, snapshot

PAGE = 4096
WINDOW_NS = 100 * MS
SAMPLES = 20


@st.composite
def recordings(draw: st.DrawFn) -> pydamon.Recording:
    """Snapshots of the same regions with gaps, and any counts and touched bytes."""
    sizes = draw(st.lists(st.integers(1, 3000), min_size=1, max_size=12))
    gaps = draw(st.lists(st.sampled_from([0, 0, 1, 999]), min_size=12, max_size=12))
    starts, at = [], 16
    for gap, pages in zip(gaps, sizes, strict=False):
        starts.append(at + gap)
        at += gap + pages
    snapshots = []
    for number in range(draw(st.integers(1, 8))):
        regions, touched = [], []
        for start, pages in zip(starts, sizes, strict=True):
            # Each touched page was accessed once at least, and at most in each sample.
            pages_touched = draw(st.sampled_from([0, pages, draw(st.integers(0, pages))]))
            share = pages_touched / pages
            count = draw(st.integers(round(share), round(SAMPLES * share)))
            regions.append((0, start * PAGE, (start + pages) * PAGE, count, 0))
            touched.append(pages_touched * PAGE)
        touched[0] = max(touched[0], PAGE)
        snapshots.append(snapshot((WORKER,), regions, number, touched=touched))
    return pydamon.Recording.from_snapshots(snapshots)


def touched_pages(workload: Workload, phase: Phase, window_s: float) -> float:
    """How many pages a phase is expected to touch in a window."""
    sizes = {region.name: region.size_bytes for region in workload.config.regions}
    pages = 0.0
    for pattern in phase.patterns:
        assert pattern.rate_hz is not None
        places = -(-sizes[pattern.region] // pattern.step_bytes)
        passes = pattern.rate_hz * window_s
        pages += places * (-np.expm1(-passes) if pattern.random else min(1.0, passes))
    return pages


@given(recordings())
def test_bytes_order_and_working_sets_are_kept(recording: pydamon.Recording) -> None:
    workload = from_recording(recording)
    first = recording.snapshot(0)
    assert workload.size_bytes == int((first.end - first.start).sum())
    starts = [int(region.name, 16) for region in workload.config.regions]
    assert starts == sorted(starts)
    # Without gaps, each region begins where those before it end.
    below = np.append(0, np.cumsum(first.end - first.start))
    for start, region_begin in zip(
        starts,
        np.cumsum([0] + [region.size_bytes for region in workload.config.regions]),
        strict=False,
    ):
        place = int(np.searchsorted(first.start, start, side="right")) - 1
        assert below[place] + start - first.start[place] == region_begin
    sizes = np.array([each.working_set() for each in recording.snapshots()]) / PAGE
    edges = [
        round(ms * MS / WINDOW_NS)
        for ms in itertools.accumulate(
            (phase.duration_ms for phase in workload.config.phases), initial=0
        )
    ]
    assert edges[-1] == len(sizes)
    for phase, (begin, end) in zip(workload.config.phases, itertools.pairwise(edges), strict=True):
        touched = touched_pages(workload, phase, WINDOW_NS / 1e9)
        assert touched == pytest.approx(sizes[begin:end].mean(), rel=0.02, abs=2)


@given(recordings(), st.sampled_from([0.25, 0.5, 2.0]))
def test_scale_and_speed(recording: pydamon.Recording, factor: float) -> None:
    plain = from_recording(recording)
    # A single page that is accessed may be scaled away.
    assume(touched_pages(plain, plain.config.phases[0], WINDOW_NS / 1e9) > 8)
    scaled = from_recording(recording, scale=factor)
    assert scaled.size_bytes == pytest.approx(factor * plain.size_bytes, abs=PAGE)
    fast = from_recording(recording, speed=factor)
    length_ms, fast_ms = (sum(p.duration_ms for p in w.config.phases) for w in (plain, fast))
    assert fast_ms == pytest.approx(length_ms / factor, abs=1)
    rates, fast_rates = (
        [pattern.rate_hz for phase in w.config.phases for pattern in phase.patterns]
        for w in (plain, fast)
    )
    assert fast_rates == pytest.approx([(rate or 0) * factor for rate in rates])


@given(recordings())
def test_masim_can_read_it(recording: pydamon.Recording) -> None:
    config = from_recording(recording).config
    read = parse(render(config))
    assert read.regions == config.regions
    assert [phase.duration_ms for phase in read.phases] == [p.duration_ms for p in config.phases]
    for phase, ours in zip(read.phases, config.phases, strict=True):
        for pattern, our_pattern in zip(phase.patterns, ours.patterns, strict=True):
            # The same places, though not at the same rate.
            assert pattern.step_bytes == our_pattern.step_bytes


def test_a_large_recording_becomes_a_small_workload() -> None:
    rng = np.random.default_rng(1)
    snapshots = []
    for number in range(300):
        edges = np.unique(rng.integers(0, 20_000, 400)) * PAGE
        regions = [
            (0, start, end, count, 0)
            for start, end, count in zip(
                edges[:-1].tolist(),
                edges[1:].tolist(),
                rng.integers(0, 21, 400).tolist(),
                strict=False,
            )
        ]
        snapshots.append(snapshot((WORKER,), regions, number))
    workload = from_recording(pydamon.Recording.from_snapshots(snapshots))
    assert len(workload.config.regions) <= 200
    assert len(workload.config.phases) <= 200
    assert workload.size_bytes == pytest.approx(20_000 * PAGE, rel=0.01)
    small = from_recording(pydamon.Recording.from_snapshots(snapshots), max_regions=3, max_phases=2)
    assert len(small.config.regions) <= 3
    assert len(small.config.phases) <= 2


def test_processes_lie_side_by_side() -> None:
    regions = [(0, 0x10_0000, 0x20_0000, 20, 0), (1, 0x10_0000, 0x40_0000, 5, 0)]
    recording = pydamon.Recording.from_snapshots([snapshot((REDIS, WORKER), regions)])
    config = from_recording(recording).config
    assert [region.name for region in config.regions] == ["7-100000", "8-100000"]
    assert [region.size_bytes for region in config.regions] == [MIB, 3 * MIB]
    only = from_recording(recording.of_pid(8)).config
    assert [region.name for region in only.regions] == ["100000"]


def test_only_resident_memory_is_allocated() -> None:
    whole = snapshot((WORKER,), [(0, 0, 8 * MIB, 20, 0), (0, 8 * MIB, 16 * MIB, 0, 0)])
    resident = np.array([8 * MIB, 2 * MIB])
    recording = pydamon.Recording.from_snapshots([replace(whole, resident_bytes=resident)])
    assert from_recording(recording).size_bytes == 10 * MIB


@given(st.integers(1, 5000), st.data())
def test_fewer_places_are_among_more_and_all_are_spread(pages: int, data: st.DataObject) -> None:
    many = data.draw(st.integers(1, pages))
    few = data.draw(st.integers(1, many))
    places = scattered(pages, many)
    assert scattered(pages, few).tolist() == places[:few].tolist()
    assert len(set(places.tolist())) == many
    gaps = np.diff(np.append(np.sort(places), np.min(places) + pages))
    assert gaps.max() <= 3 * pages / many + 2


def test_the_same_pages_stay_in_use_from_phase_to_phase() -> None:
    """As of a real program, whose hot set is larger or smaller at times."""
    snapshots = [
        snapshot((WORKER,), [(0, 0, 1000 * PAGE, 1, 0)], n, touched=[touched * PAGE])
        for n, touched in enumerate((50, 400, 40, 1000))
    ]
    workload = from_recording(pydamon.Recording.from_snapshots(snapshots))
    places = [pattern.places for phase in workload.config.phases for pattern in phase.patterns]
    assert (places[0], places[2], places[3]) == (50, 40, None)
    assert 400 <= (places[1] or 0) < 500  # some at random, so that 400 are touched


def pattern_of(count: int, touched_share: float) -> tuple[bool, float, float]:
    """How a region of 1,000 pages is accessed: at random, in which share of pages, how often."""
    touched = [round(1000 * touched_share) * PAGE]
    snap = snapshot((WORKER,), [(0, 0, 1000 * PAGE, count, 0)], touched=touched)
    workload = from_recording(pydamon.Recording.from_snapshots([snap]))
    ((pattern,),) = (phase.patterns for phase in workload.config.phases)
    places = -(-1000 * PAGE // pattern.step_bytes)
    return pattern.random, places / 1000, pattern.rate_hz or 0.0


def test_a_few_hot_pages_are_a_comb_that_is_always_accessed() -> None:
    is_random, share, rate_hz = pattern_of(1, 0.05)
    assert (is_random, share) == (False, 0.05)
    assert rate_hz >= 200


def test_pages_at_random_are_accessed_at_random_everywhere() -> None:
    # In 2 of 20 intervals, random accesses reach 88 % of the pages.
    is_random, share, rate_hz = pattern_of(2, 1 - 0.9**20)
    assert is_random
    assert share == pytest.approx(1, abs=0.01)
    assert rate_hz == pytest.approx(-np.log(0.9) * 200, rel=0.02)


def test_pages_that_are_all_touched_at_a_low_rate_are_accessed_in_turn() -> None:
    is_random, share, rate_hz = pattern_of(1, 1.0)
    assert (is_random, share) == (False, 1.0)
    assert rate_hz == pytest.approx(10)


@pytest.mark.parametrize(
    ("counts", "words"), [([0], "was accessed"), ([], "no snapshots")], ids=["idle", "empty"]
)
def test_nothing_to_replay(counts: list[int], words: str) -> None:
    snapshots = [snapshot((WORKER,), [(0, 0, MIB, count, 0)]) for count in counts]
    recording = pydamon.Recording.from_snapshots(snapshots)
    with pytest.raises(pydamon.RecordingError, match=words):
        from_recording(recording)


@pytest.mark.parametrize("arguments", [{"speed": 0}, {"scale": -1}, {"scale": float("nan")}])
def test_senseless_numbers(arguments: dict[str, float]) -> None:
    recording = pydamon.Recording.from_snapshots([snapshot((WORKER,), [(0, 0, MIB, 1, 0)])])
    with pytest.raises(pydamon.UsageError, match="a number above 0"):
        from_recording(recording, **arguments)  # type: ignore[arg-type]


def quick(name: str, phase_ms: int) -> Workload:
    """A shipped workload with short phases."""
    workload = PATTERNS[name]
    phases = tuple(replace(phase, duration_ms=phase_ms) for phase in workload.config.phases)
    return replace(workload, config=replace(workload.config, phases=phases))


def heat(recording: pydamon.Recording, columns: int) -> NDArray[np.float64]:
    return pydamon.analysis.heatmap(recording, 100, columns, addresses="all").rates


@pytest.mark.parametrize("name", ["stairs", "phases", "gradient", "sparse"])
def test_a_simulated_replay_looks_like_the_original(name: str) -> None:
    original = quick(name, 4000).simulated(4e6 if name == "gradient" else 32e6)
    seconds = 5 if len(PATTERNS[name].config.phases) == 1 else 12

    def recorded(trace: pydamon.Trace, ranges: tuple[tuple[int, int], ...]) -> pydamon.Recording:
        monitor = pydamon.simulate(trace, ranges)
        return pydamon.Recording.from_snapshots(monitor.run(f"{seconds}s"))

    before = recorded(original.trace, original.ranges)
    replayed = from_recording(before).simulated()
    after = recorded(replayed.trace, replayed.ranges)
    maps = [heat(recording, 4 * seconds) for recording in (before, after)]
    known = ~np.isnan(maps[0]) & ~np.isnan(maps[1])
    assert np.corrcoef(maps[0][known], maps[1][known])[0, 1] >= 0.95
    medians = [pydamon.analysis.working_set(each).total.median for each in (before, after)]
    assert medians[1] == pytest.approx(medians[0], rel=0.05)


@pytest.mark.parametrize("rate_hz", [0.02, 0.1, 0.5])
def test_what_comes_back_seldom_comes_back_as_often(rate_hz: float) -> None:
    """As of a cache with requests for anything now and then: few pages would not do."""
    count, looks = 20_000, 40
    edges_s = np.append(0, IDLE_EDGES_NS) / 1e9
    touched = [round(count * -np.expm1(-rate_hz * WINDOW_NS / 1e9)) * PAGE]
    snapshots = []
    for number in range(10 * looks):
        each = snapshot((WORKER,), [(0, 0, count * PAGE, 1, 0)], number, touched=touched)
        share = -np.expm1(-rate_hz * WINDOW_NS / SAMPLES / 1e9)
        each = replace(each, access_share=np.array([share]))
        if number % 10 == 9:
            # Nothing has idled for longer than it was watched.
            rests_s = np.minimum(edges_s, number / 10)
            per_s = count * rate_hz * -np.diff(np.exp(-rate_hz * rests_s), append=0)
            returned = np.rint(per_s).astype(np.int64) * PAGE
            region = np.zeros(len(returned), np.int64)
            times = {"looked_ns": each.end_ns, "since_ns": each.end_ns - 10**9}
            ages = PageAges(region, np.arange(len(returned)), returned, returned, **times)
            each = replace(each, page_ages=ages)
        snapshots.append(each)
    workload = from_recording(pydamon.Recording.from_snapshots(snapshots))
    assert workload.size_bytes == count * PAGE
    for phase in workload.config.phases:
        rates_hz = np.zeros(count)
        for pattern in phase.patterns:
            rates_hz[: pattern.places] += pattern.rate_hz or 0.0
        assert PAGE * -np.expm1(-rates_hz / 10).sum() == pytest.approx(touched[0], rel=0.03)
        for rest_s in (3, 6, 10):
            back_hz = (rates_hz * np.exp(-rates_hz * rest_s)).sum()
            wanted_hz = count * rate_hz * np.exp(-rate_hz * rest_s)
            assert back_hz == pytest.approx(wanted_hz, rel=0.15, abs=0.01 * count * rate_hz)


def test_neighbours_that_are_alike_are_merged() -> None:
    rows = np.array([[1.0], [1.0], [5.0], [5.1], [1.0]])
    ones = np.ones(5)
    assert merge_neighbours(rows, ones, np.ones(1), 5, 0.001).tolist() == [0, 2, 4]
    assert merge_neighbours(rows, ones, np.ones(1), 5, 0.0).tolist() == [0, 2, 3, 4]
    assert merge_neighbours(rows, ones, np.ones(1), 2, 0.0).tolist() == [0, 2]
    assert merge_neighbours(rows[:0], ones[:0], np.ones(1), 2, 0.0).tolist() == []


def test_light_rows_are_merged_first() -> None:
    rows = np.array([[0.0], [3.0], [9.0]])
    heads = merge_neighbours(rows, np.array([100.0, 100.0, 1.0]), np.ones(1), 2, 0.0)
    assert heads.tolist() == [0, 1]
    heads = merge_neighbours(rows, np.array([1.0, 100.0, 100.0]), np.ones(1), 2, 0.0)
    assert heads.tolist() == [0, 2]


def test_a_scale_that_leaves_nothing() -> None:
    snap = snapshot((WORKER,), [(0, 0, MIB, 1, 0)])
    with pytest.raises(pydamon.UsageError, match="leaves no page"):
        from_recording(pydamon.Recording.from_snapshots([snap]), scale=1e-4)
