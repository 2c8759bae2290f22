"""The whole engine on made-up accesses: no Linux, no waiting, the same every time."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

import pydamon
from pydamon import Access, Attrs, Phase, Trace
from pydamon._model.regions import PAGE_SIZE

MIB = 1 << 20
GIB, TIB = 1 << 30, 1 << 40
SECOND = 10**9
BASE = 0x7F00_0000_0000


def steady(*accesses: Access) -> Trace:
    return Trace((Phase(SECOND, accesses),))


def told_right(snapshot: pydamon.Snapshot, hot: list[tuple[int, int]]) -> tuple[float, float]:
    """Shares of the hot and of the other bytes that a snapshot tells right."""
    is_hot = 2 * snapshot.nr_accesses >= snapshot.max_nr_accesses
    inside = np.zeros(len(snapshot), np.int64)
    for low, high in hot:
        overlap = np.minimum(snapshot.end, high) - np.maximum(snapshot.start, low)
        inside += np.maximum(overlap, 0)
    hot_bytes = sum(high - low for low, high in hot)
    outside = snapshot.size - inside
    return inside[is_hot].sum() / hot_bytes, outside[~is_hot].sum() / outside.sum()


def last(mon: pydamon.Monitor, duration: str) -> pydamon.Snapshot:
    *_, snapshot = mon.run(duration)
    return snapshot


def test_a_hot_quarter_is_found_and_the_working_set_with_it() -> None:
    hot = (BASE, BASE + 100 * MIB)
    mon = pydamon.simulate(steady(Access(*hot)), [(BASE, BASE + 400 * MIB)])
    snapshot = last(mon, "3s")
    assert min(told_right(snapshot, [hot])) > 0.99
    assert snapshot.working_set() == pytest.approx(100 * MIB, rel=0.02)


def test_several_hot_spots_are_told_apart() -> None:
    hot = [(BASE + i * 20 * MIB, BASE + i * 20 * MIB + 10 * MIB) for i in range(7)]
    mon = pydamon.simulate(
        steady(*(Access(*spot) for spot in hot)),
        [(BASE, BASE + 140 * MIB)],
        attrs=Attrs(min_regions=20, max_regions=100),
    )
    snapshots = list(mon.run("5s"))
    assert np.median([len(s) for s in snapshots[10:]]) >= 14
    assert min(told_right(snapshots[-1], hot)) > 0.95


def test_access_rates_are_frequencies() -> None:
    """A page touched with probability p in a sampling interval scores p of the samples."""
    interval_s = 0.005
    rate_hz = -np.log(0.5) / interval_s
    mon = pydamon.simulate(
        steady(Access(BASE, BASE + 100 * MIB, rate_hz)), [(BASE, BASE + 100 * MIB)]
    )
    shares = [float(np.average(s.access_share, weights=s.size)) for s in mon.run("5s")]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def test_age_grows_while_nothing_changes_and_falls_when_it_does() -> None:
    trace = Trace((Phase(5 * SECOND, (Access(BASE, BASE + 50 * MIB),)), Phase(SECOND, ())))
    mon = pydamon.simulate(trace, [(BASE, BASE + 200 * MIB)])
    before = last(mon, "4.9s")
    hottest = before.hottest(1)[0]
    assert hottest.nr_accesses == before.max_nr_accesses
    assert hottest.age >= 30
    ages = []
    for after in islice(mon, 4):
        was_hot = (after.end <= BASE + 50 * MIB) & (after.nr_accesses == 0)
        ages.extend(after.age[was_hot].tolist())
    # Later, what was hot may become one region with memory that has long been cold.
    assert min(ages) <= 1


def test_a_phase_change_is_noticed_within_three_aggregations() -> None:
    first, second = (BASE, BASE + 40 * MIB), (BASE + 200 * MIB, BASE + 240 * MIB)
    trace = Trace((Phase(4 * SECOND, (Access(*first),)), Phase(SECOND, (Access(*second),))))
    mon = pydamon.simulate(trace, [(BASE, BASE + 400 * MIB)])
    list(mon.run("4s"))
    snapshot = list(islice(mon, 3))[-1]
    hot = snapshot.nr_accesses * 2 >= snapshot.max_nr_accesses
    in_second = (snapshot.start < second[1]) & (snapshot.end > second[0])
    assert not (hot & (snapshot.end <= first[1])).any()
    assert (hot & in_second).any()


def test_targets_are_kept_apart() -> None:
    trace = steady(Access(BASE, BASE + 10 * MIB, target=1))
    mon = pydamon.simulate(trace, [(BASE, BASE + 20 * MIB)], [(BASE, BASE + 20 * MIB)])
    snapshot = last(mon, "3s")
    assert snapshot.of_target(0).working_set() == 0
    assert snapshot.of_target(1).working_set() == pytest.approx(10 * MIB, rel=0.05)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (10, 1000),
        (3, 10),
        *(pytest.param(*bounds, marks=pytest.mark.long) for bounds in ((20, 100), (50, 60))),
    ],
)
def test_the_bounds_on_regions_hold(low: int, high: int) -> None:
    spots = [Access(BASE + i * 2 * MIB, BASE + i * 2 * MIB + MIB) for i in range(100)]
    mon = pydamon.simulate(
        steady(*spots), [(BASE, BASE + 200 * MIB)], attrs=Attrs(min_regions=low, max_regions=high)
    )
    for snapshot in mon.run("3s"):
        assert low <= len(snapshot) <= high
        assert snapshot.size.sum() == 200 * MIB
        assert (snapshot.start % PAGE_SIZE == 0).all()
        assert (snapshot.end[:-1] == snapshot.start[1:]).all()


def test_bounds_and_intervals_can_be_changed_while_it_runs() -> None:
    spots = [Access(BASE + i * 4 * MIB, BASE + i * 4 * MIB + MIB) for i in range(50)]
    mon = pydamon.simulate(steady(*spots), [(BASE, BASE + 200 * MIB)])
    assert len(last(mon, "3s")) > 30
    mon.change(Attrs(sampling_ns=10**7, aggregation_ns=2 * 10**8, min_regions=3, max_regions=12))
    snapshots = list(islice(mon, 5))
    assert all(len(s) <= 12 for s in snapshots)
    assert snapshots[-1].window_ns == 2 * 10**8
    assert snapshots[-1].max_nr_accesses == 20


def test_a_seed_makes_a_run_repeatable() -> None:
    def run(seed: int) -> list[tuple[list[int], list[int]]]:
        trace = steady(Access(BASE, BASE + 30 * MIB, rate_hz=100))
        mon = pydamon.simulate(trace, [(BASE, BASE + 100 * MIB)], seed=seed)
        return [(s.start.tolist(), s.nr_accesses.tolist()) for s in mon.run("2s")]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_intervals_are_tuned_towards_the_share_of_accesses() -> None:
    """Memory that is touched about once in 10 s looks cold at 5 ms: sampling must slow down."""
    goal = pydamon.IntervalGoal(access_bp=400, aggregations=3)
    trace = steady(Access(BASE, BASE + 100 * MIB, rate_hz=0.1))
    mon = pydamon.simulate(trace, [(BASE, BASE + 100 * MIB)], goal=goal)
    snapshots = list(mon.run("300s"))
    assert snapshots[0].sampling_ns == 5 * 10**6
    late = snapshots[len(snapshots) // 2 :]
    share = np.mean([np.average(s.nr_accesses, weights=s.size) / s.max_nr_accesses for s in late])
    assert late[-1].sampling_ns > 20 * 5 * 10**6
    assert share == pytest.approx(0.04, abs=0.03)


def test_stop_ends_the_iteration() -> None:
    mon = pydamon.simulate(steady(), [(BASE, BASE + MIB)])
    seen = 0
    for _ in mon:
        seen += 1
        if seen == 3:
            mon.stop()
    assert seen == 3


def test_windows_are_measured_and_add_up() -> None:
    mon = pydamon.simulate(steady(), [(BASE, BASE + MIB)], plain=True)
    snapshots = list(mon.run("1.03s"))
    assert snapshots[0].start_ns == 0
    assert snapshots[-1].end_ns == pytest.approx(1.03 * SECOND, abs=5 * 10**6)
    for before, after in pairwise(snapshots):
        assert after.start_ns == before.end_ns
    # The last window is longer, rather than one of 30 ms.
    assert snapshots[-1].window_ns > 10**8


def test_surveys_are_windows_of_their_own() -> None:
    mon = pydamon.simulate(steady(), [(BASE, BASE + MIB)])
    snapshots = list(mon.run("5s"))
    # A survey is a little longer than other windows.
    assert (snapshots[0].start_ns, snapshots[0].end_ns) == (0, 125 * 10**6)
    assert {s.window_ns for s in snapshots[:-1]} == {10**8, 125 * 10**6}
    assert all(one.end_ns == other.start_ns for one, other in pairwise(snapshots))
    assert snapshots[-1].end_ns == pytest.approx(5 * SECOND, abs=125 * 10**6)


def test_a_duration_of_nothing_is_refused() -> None:
    mon = pydamon.simulate(steady(), [(BASE, BASE + MIB)])
    with pytest.raises(pydamon.UsageError, match="longer than 0"):
        list(mon.run("0s"))


@pytest.mark.parametrize("touched", [0.1, 0.5, 0.9])
def test_the_working_set_counts_pages_not_regions(touched: float) -> None:
    """Accesses at random places touch a share of the pages in an aggregation, not all."""
    rate_hz = -np.log(1 - touched) / 0.1
    trace = steady(Access(BASE, BASE + 100 * MIB, rate_hz))
    mon = pydamon.simulate(trace, [(BASE, BASE + 200 * MIB)])
    working_set = np.median([s.working_set() for s in mon.run("5s")])
    assert working_set == pytest.approx(touched * 100 * MIB, rel=0.05)


def test_one_page_in_sixteen_is_found_and_counted() -> None:
    trace = steady(Access(BASE, BASE + 64 * MIB, stride=16 * PAGE_SIZE))
    mon = pydamon.simulate(trace, [(BASE, BASE + 256 * MIB)])
    snapshot = last(mon, "3s")
    assert snapshot.working_set() == pytest.approx(4 * MIB, rel=0.02)
    with_some = snapshot.touched_bytes > 0
    assert snapshot.end[with_some].max() <= BASE + 65 * MIB


def test_a_small_hot_spot_in_a_large_cold_mapping_is_found_at_once() -> None:
    spot = (
        BASE + GIB // 3 // PAGE_SIZE * PAGE_SIZE,
        BASE + GIB // 3 // PAGE_SIZE * PAGE_SIZE + MIB,
    )
    mon = pydamon.simulate(steady(Access(*spot)), [(BASE, BASE + GIB)])
    snapshot = next(iter(mon))
    # How often it is accessed has to be watched first.
    in_use = snapshot.touched_bytes > 0
    assert (snapshot.start[in_use].min(), snapshot.end[in_use].max()) == spot
    assert snapshot.working_set() == MIB


@pytest.mark.parametrize(
    ("size", "hot"),
    [
        pytest.param(100 * GIB, 10 * GIB, id="100 GiB"),
        pytest.param(5 * TIB, 10 * GIB, id="5 TiB", marks=pytest.mark.long),
    ],
)
def test_hot_memory_in_a_giant_target_is_found_within_a_minute_and_the_budget(
    size: int, hot: int
) -> None:
    start = BASE + size // 3
    # What one thread can access: a page of it 12 times a second.
    trace = steady(Access(start, start + hot, rate_hz=12))
    mon = pydamon.simulate(trace, [(BASE, BASE + size)], cpu_budget_percent=1)
    snapshots = list(mon.run("60s"))
    last = snapshots[-1]
    told = 2 * last.touched_bytes >= last.size
    low, high = np.maximum(last.start, start), np.minimum(last.end, start + hot)
    assert np.maximum(high - low, 0)[told].sum() > 0.9 * hot
    assert last.size[told].sum() < 1.1 * hot
    cpu_ns = sum(s.cost.cpu_ns for s in snapshots)
    assert cpu_ns < 0.01 * (last.end_ns - snapshots[0].start_ns)


def test_what_is_sparsely_in_use_is_not_idle() -> None:
    # One page in 16: samples miss it more often than not, and reclaim would take it.
    sparse = (BASE + 64 * MIB, BASE + 192 * MIB)
    trace = steady(Access(*sparse, stride=16 * 4096))
    mon = pydamon.simulate(trace, [(BASE, BASE + 256 * MIB)])
    snapshots = list(mon.run("10s"))[20:]
    for snapshot in snapshots:
        inside = (snapshot.start >= sparse[0]) & (snapshot.end <= sparse[1])
        # Samples of a small region may well miss its page or two that are in use.
        large = snapshot.size >= 64 * 4096
        assert (snapshot.nr_accesses[inside & large] >= 1).all()
        outside = (snapshot.start >= sparse[1]) | (snapshot.end <= sparse[0])
        assert (snapshot.nr_accesses[outside] == 0).all()


def test_chance_is_told_for_windows_of_the_length_they_come_to_have() -> None:
    # Some pages are accessed often and others seldom: what a short window touches of them says
    # little about a long one, and at this budget windows become ten times as long.
    often, seldom_hz = 16 * PAGE_SIZE, 0.02
    part = (BASE, BASE + 512 * MIB)
    trace = steady(Access(*part, rate_hz=4, stride=often), Access(*part, rate_hz=seldom_hz))
    mon = pydamon.simulate(trace, [(BASE, BASE + GIB)], cpu_budget_percent=0.5)
    first, *later = mon.run("6s")
    for snapshot in (s for s in later if s.start_ns > first.start_ns + 3.5 * SECOND):
        window_s = snapshot.window_ns / SECOND
        chances = -np.expm1(-np.array([4 + seldom_hz, seldom_hz]) * window_s)
        truth = 512 * MIB * (chances @ [1 / 16, 15 / 16])
        assert snapshot.working_set() == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize(
    "period_ms", [20, 300, *(pytest.param(ms, marks=pytest.mark.long) for ms in (50, 120, 800))]
)
@pytest.mark.parametrize("budget_percent", [None, 1, 0.3])
def test_memory_that_is_used_now_and_then_is_not_idle(
    period_ms: int, budget_percent: float | None
) -> None:
    """All of it is touched at once, every so often: most samples miss that."""
    used = Access(BASE, BASE + 64 * MIB, rate_hz=1e6)
    moment_ns, period_ns = 10**6, period_ms * 10**6
    phases = (Phase(moment_ns, (used,)), Phase(period_ns - moment_ns, ()))
    trace = Trace(phases, repeats=True)
    mon = pydamon.simulate(
        trace, [(BASE, BASE + 256 * MIB)], cpu_budget_percent=budget_percent, seed=period_ms
    )
    _, *later = mon.run("20s")
    told = [s.working_set() for s in later if s.window_ns > 1.1 * period_ns]
    # Windows are as long as the budget makes them.
    assert told or budget_percent is None or period_ms > 300
    assert all(size == pytest.approx(64 * MIB, rel=0.05) for size in told)


def test_memory_that_has_gone_idle_is_told_so() -> None:
    used = Access(BASE, BASE + 64 * MIB, rate_hz=1e6)
    every_80_ms = (Phase(10**6, (used,)), Phase(79 * 10**6, ()))
    trace = Trace((*every_80_ms * 50, Phase(10 * SECOND, ())))
    mon = pydamon.simulate(trace, [(BASE, BASE + 256 * MIB)], cpu_budget_percent=1)
    snapshots = list(mon.run("12s"))
    in_use = [s for s in snapshots[1:] if s.end_ns < 4 * SECOND]
    assert all(s.working_set() == pytest.approx(64 * MIB, rel=0.05) for s in in_use)
    assert all(s.working_set() == 0 for s in snapshots if s.start_ns > 8 * SECOND)
