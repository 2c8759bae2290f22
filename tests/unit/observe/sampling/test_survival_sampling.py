"""Sampling by epochs: rates over several orders of magnitude, at a bounded cost.

Private names: pace and sampler are parts of the engine that have no public name.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pydamon
from pydamon import Access, Attrs, Phase, Trace
from pydamon._observe.epoch_pace import EpochPacer
from pydamon._observe.probes.simulation import TraceSession

MIB = 1 << 20
MS, SECOND = 10**6, 10**9
BASE = 0x7F00_0000_0000
RATES_HZ = (2.0, 10.0, 50.0, 200.0)
SETS = [(BASE + n * 16 * MIB, BASE + (n + 1) * 16 * MIB) for n in range(len(RATES_HZ) + 1)]
TRACE = Trace(
    (
        Phase(
            SECOND,
            tuple(
                Access(*bounds, rate_hz=rate)
                for bounds, rate in zip(SETS[1:], RATES_HZ, strict=True)
            ),
        ),
    )
)
TRUTH = np.array([0.0, *(1 - np.exp(-rate * 0.005) for rate in RATES_HZ)])


def mean_of(snapshot: pydamon.Snapshot, values: np.ndarray) -> list[float]:
    """The mean of a column over each of the sets, by bytes."""
    means = []
    for low, high in SETS:
        overlap = np.minimum(snapshot.end, high) - np.maximum(snapshot.start, low)
        overlap = np.maximum(overlap, 0)
        means.append(float((values * overlap).sum() / overlap.sum()))
    return means


@pytest.mark.parametrize("budget", [1.0, None])
def test_rates_are_told_over_two_orders_of_magnitude(budget: float | None) -> None:
    """Single runs are noisy: of 2 accesses a second an epoch sees few."""
    runs = []
    for seed in range(3):
        mon = pydamon.simulate(
            TRACE, [(SETS[0][0], SETS[-1][1])], cpu_budget_percent=budget, seed=seed
        )
        snapshots = [s for s in mon.run("22s") if s.start_ns > 10 * SECOND]
        runs.append([mean_of(s, s.access_share) for s in snapshots])
    mean = np.mean([np.mean(run, axis=0) for run in runs], axis=0)
    median = np.median(np.concatenate(runs), axis=0)
    assert mean[0] < 0.005
    np.testing.assert_allclose(mean[1:], TRUTH[1:], rtol=0.25)
    np.testing.assert_allclose(median[1:], TRUTH[1:], rtol=0.5)


def test_the_error_of_a_rate_is_told() -> None:
    """The truth is within two standard deviations most of the time."""
    mon = pydamon.simulate(TRACE, [(SETS[0][0], SETS[-1][1])], cpu_budget_percent=1)
    right = []
    for snapshot in mon.run("30s"):
        for number, (low, high) in enumerate(SETS[1:], start=1):
            inside = (snapshot.start >= low) & (snapshot.end <= high) & (snapshot.size > MIB)
            off = np.abs(snapshot.access_share[inside] - TRUTH[number])
            known = ~np.isnan(snapshot.access_share_error[inside])
            within = off[known] <= 2 * snapshot.access_share_error[inside][known]
            right += within.tolist()
    assert len(right) > 100
    assert np.mean(right) > 0.85


def test_low_rates_are_not_zero_and_idle_memory_is() -> None:
    mon = pydamon.simulate(TRACE, [(SETS[0][0], SETS[-1][1])], cpu_budget_percent=1)
    *_, snapshot = mon.run("10s")
    assert min(mean_of(snapshot, snapshot.nr_accesses)[1:]) > 0.99  # but for a page or two
    inside = (snapshot.start >= SETS[0][0]) & (snapshot.end <= SETS[0][1])
    assert not snapshot.nr_accesses[inside].any()
    assert not snapshot.access_share[inside].any()


def test_short_windows_go_on_with_the_same_epochs() -> None:
    mon = pydamon.simulate(TRACE, [(SETS[0][0], SETS[-1][1])], attrs=Attrs(aggregation_ns=25 * MS))
    snapshots = list(mon.run("3s"))
    lengths = [s.window_ns / MS for s in snapshots]
    assert np.median(lengths) == pytest.approx(25, rel=0.1)
    changed = [
        len(one) != len(next_) or (one.start != next_.start).any()
        for one, next_ in pairwise(snapshots)
    ]
    assert np.mean(changed) < 0.3
    shares = np.mean([mean_of(s, s.access_share) for s in snapshots[60:]], axis=0)
    np.testing.assert_allclose(shares[1:], TRUTH[1:], rtol=0.4)


def test_a_change_of_phase_shows_in_three_windows() -> None:
    half = 64 * MIB
    first, second = (BASE, BASE + half), (BASE + half, BASE + 2 * half)
    trace = Trace((Phase(10 * SECOND, (Access(*first),)), Phase(10 * SECOND, (Access(*second),))))
    mon = pydamon.simulate(trace, [(BASE, BASE + 2 * half)], cpu_budget_percent=1)
    for snapshot in mon.run("20s"):
        late = snapshot.start_ns > 10 * SECOND + 3 * snapshot.window_ns
        if late:
            inside = snapshot.start >= second[0]
            hot = snapshot.access_share >= 0.5
            assert snapshot.size[hot & inside].sum() > 0.95 * half
            assert snapshot.size[hot & ~inside].sum() < 0.05 * half


def test_looks_come_from_here_where_the_kernel_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose epochs must be asked for each look, at the times that were planned."""
    looks: list[int] = []
    original = TraceSession.epochs

    def epochs(self: TraceSession) -> object:
        made = original(self)
        made.paced_by_kernel = False  # type: ignore[misc]
        made.look = lambda: looks.append(self.clock.now_ns())  # type: ignore[method-assign]
        return made

    monkeypatch.setattr(TraceSession, "epochs", epochs)
    list(pydamon.simulate(TRACE, [(SETS[0][0], SETS[-1][1])]).run("1s"))
    gaps = np.diff(looks) / MS
    assert len(looks) > 20
    assert {5.0, 10.0} <= set(gaps.round().tolist())


@given(
    tick_us=st.floats(20, 2000),
    clear_us=st.floats(0, 50_000),
    adjusting_us=st.floats(100, 20_000),
    sampling_ms=st.sampled_from([1, 5, 20, 100]),
    named=st.booleans(),
)
def test_the_pace_keeps_the_budget(
    tick_us: float, clear_us: float, adjusting_us: float, sampling_ms: int, named: bool
) -> None:
    """In the long run, for any cost that a share of a few percent of the regions can stay below."""
    attrs = Attrs(
        sampling_ns=sampling_ms * MS,
        aggregation_ns=20 * sampling_ms * MS,
        update_ns=max(SECOND, 20 * sampling_ms * MS),
    )
    budget = 0.01
    pacer = EpochPacer(attrs, budget, aggregation_is_named=named)
    for _ in range(60):
        series_ns = pacer.adjust_every * pacer.effective.aggregation_ns
        epochs = max(1, series_ns // pacer.epoch_ns)
        clearing_ns = int(epochs * pacer.share * clear_us * 1000)
        sampling_ns = int(epochs * tick_us * 1000) + clearing_ns
        pacer.observe(epochs, sampling_ns, int(adjusting_us * 1000), clearing_ns)
        assert 0 < pacer.share <= 1
        assert 10 * attrs.sampling_ns <= pacer.epoch_ns <= 100 * attrs.sampling_ns
        if pacer.epoch_ns > 50 * attrs.sampling_ns:  # only where the fixed part alone is too much
            assert tick_us * 1000 > 0.4 * budget * 50 * attrs.sampling_ns
        assert pacer.effective.sampling_ns == attrs.sampling_ns
    cost = (tick_us + pacer.share * clear_us) * 1000 / pacer.epoch_ns
    floor = (tick_us * 1.25 + 0.02 * clear_us) * 1000 / max(50 * attrs.sampling_ns, pacer.epoch_ns)
    assert cost <= max(budget, 1.01 * floor)


@pytest.mark.long
def test_no_region_is_left_out_for_good_where_there_are_many() -> None:
    """More regions than an epoch has blocks: 300 targets, of which every other one is in use."""
    size = 16 * 4096
    used = tuple(Access(0, size, target=number) for number in range(0, 300, 2))
    mon = pydamon.simulate(Trace((Phase(SECOND, used),)), *[[(0, size)]] * 300)
    *_, snapshot = mon.run("5s")
    accessed = {int(target) for target in snapshot.target[snapshot.nr_accesses > 0]}
    assert accessed == set(range(0, 300, 2))
    shares = snapshot.access_share[snapshot.nr_accesses > 0]
    assert np.median(shares) > 0.9


def test_borders_between_rates_come_out_and_stay() -> None:
    """All sets but the first are touched as a whole in every window: only their rates differ."""
    mon = pydamon.simulate(TRACE, [(SETS[0][0], SETS[-1][1])], cpu_budget_percent=1)
    snapshots = [s for s in mon.run("40s") if s.start_ns > 5 * SECOND]
    borders = [low for low, _ in SETS[1:]]
    near = MIB // 8
    found = [[(np.abs(s.start - border) <= near).any() for border in borders] for s in snapshots]
    assert len(snapshots) > 15
    assert np.mean(found) > 0.9
