"""Rates from survival, against simulated accesses of known rates; private: the model's own math."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from pydamon._data.analysis.touched import TouchedWindow
from pydamon._model.access_patterns import estimated_accesses
from pydamon._model.survival import Survival

PAGES = 16
"""A block."""
LOOKS_NS = np.array([5.4e6, 10.4e6, 20.4e6, 40.4e6, 80.4e6, 160.4e6, 270e6, 270e6])
INTERVAL_NS = 5e6
Waits = Callable[[np.random.Generator, tuple[int, int, int]], NDArray[np.float64]]
"""Times to the next access in ms, of regions, epochs and pages."""


def at_random(hz: float) -> tuple[Waits, float]:
    """Accesses of each page at random."""
    share = 1 - np.exp(-hz * INTERVAL_NS / 1e9)
    return lambda rng, shape: rng.exponential(1000 / hz, shape), share


def periodic(period_ms: float) -> tuple[Waits, float]:
    """All pages at once, once a period."""

    def waits(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        return np.broadcast_to(rng.uniform(0, period_ms, (*shape[:2], 1)), shape)

    return waits, min(1.0, INTERVAL_NS / 1e6 / period_ms)


def mixed(part: float, hz: float) -> tuple[Waits, float]:
    """Accesses at random of a part of the pages."""

    def waits(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        return np.where(rng.random(shape) < part, rng.exponential(1000 / hz, shape), np.inf)

    return waits, part * at_random(hz)[1]


def of_hot_keys(mean_hz: float) -> tuple[Waits, float]:
    """The most popular page is accessed 16 times as often as the least."""
    hz = 1 / np.arange(1, PAGES + 1)
    hz *= mean_hz / hz.mean()
    share = float(np.mean(1 - np.exp(-hz * INTERVAL_NS / 1e9)))
    return lambda rng, shape: rng.exponential(1000 / hz, shape), share


def bursts(on_ms: float, period_ms: float) -> tuple[Waits, float]:
    """All pages all the time for a while, then none."""

    def waits(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        phase = rng.uniform(0, period_ms, (*shape[:2], 1))
        return np.broadcast_to(np.where(phase < on_ms, 0.5, period_ms - phase), shape)

    return waits, (on_ms + 5) / period_ms


def scanning(period_ms: float) -> tuple[Waits, float]:
    """One page after the other, through 4096 of them in a period."""

    def waits(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        phase = rng.uniform(0, period_ms, (*shape[:2], 1))
        return (phase + np.arange(shape[2]) * period_ms / 4096) % period_ms

    return waits, INTERVAL_NS / 1e6 / period_ms


PATTERNS = {
    **{f"random {hz} Hz": (at_random(hz), 0.1) for hz in (2, 10, 50, 200, 1000)},
    **{f"period {ms} ms": (periodic(ms), 0.25) for ms in (1.3, 7, 21, 50, 85, 120, 340, 900)},
    "1 in 8 at 100 Hz": (mixed(1 / 8, 100), 0.1),
    "1 in 8 at 10 Hz": (mixed(1 / 8, 10), 0.3),
    "keys at 50 Hz": (of_hot_keys(50), 0.2),
    "keys at 2 Hz": (of_hot_keys(2), 0.2),
    "bursts of 50 in 500 ms": (bursts(50, 500), 0.45),
    "scan in 400 ms": (scanning(400), 0.25),
}


def watched(waits: Waits, epochs: int, regions: int, seed: int = 1) -> Survival:
    """What looks see of regions with such accesses."""
    times = waits(np.random.default_rng(seed), (regions, epochs, PAGES)) * 1e6
    early = times[None] < LOOKS_NS[:, None, None, None]
    return Survival(
        np.full(regions, float(epochs * PAGES)),
        np.full(regions, float(epochs)),
        early.sum((2, 3)).astype(np.float64),
        early.any(3).sum(2).astype(np.float64),
    )


@pytest.mark.parametrize("name", PATTERNS)
def test_the_mean_of_estimates_is_right(name: str) -> None:
    (waits, truth), tolerance = PATTERNS[name]
    share = estimated_accesses(watched(waits, 30, 3000), LOOKS_NS, INTERVAL_NS).share
    assert share.mean() == pytest.approx(truth, rel=tolerance)


@pytest.mark.parametrize("name", [name for name in PATTERNS if name.startswith(("per", "scan"))])
def test_single_estimates_of_loops_are_near(name: str) -> None:
    """An epoch is one observation of a loop: by the first look alone, 900 ms would be off by 2.

    What tells is the look by which all epochs have seen an access.
    """
    (waits, truth), _ = PATTERNS[name]
    share, _, deviation, _ = estimated_accesses(watched(waits, 30, 3000), LOOKS_NS, INTERVAL_NS)
    error = share - truth
    assert np.sqrt(np.mean(error**2)) < (0.3 if truth > 0.03 else 0.65) * truth
    assert np.mean(np.abs(error) <= 2 * deviation + 1e-9) > 0.9


@pytest.mark.parametrize("name", [name for name in PATTERNS if "random" in name])
def test_the_deviation_is_that_of_estimates(name: str) -> None:
    (waits, _), _ = PATTERNS[name]
    share, _, deviation, _ = estimated_accesses(watched(waits, 20, 3000), LOOKS_NS, INTERVAL_NS)
    assert 0.8 * share.std() <= np.median(deviation)
    assert np.median(deviation) <= max(3 * share.std(), 0.1)


def working_sets(waits: Waits, touched: float, times_ms: list[int]) -> list[float]:
    """The share told as accessed within each time: the median of many windows of 1.3 s."""
    share, _, _, within = estimated_accesses(watched(waits, 30, 60), LOOKS_NS, INTERVAL_NS)
    region = np.array([0]), np.array([1]), np.array([[touched]])
    windows = [
        TouchedWindow(0, 1300 * 10**6, int(INTERVAL_NS), *region, share[[i]], within[[i]])
        for i in range(len(share))
    ]
    return [
        float(np.median([window.last(ms * 10**6).sums()[0] for window in windows]))
        for ms in times_ms
    ]


@pytest.mark.parametrize("period_ms", [7, 21, 50, 85, 120, 200, 300, 340, 450, 600, 900])
def test_all_of_a_loop_is_accessed_within_a_time_longer_than_its_period(period_ms: int) -> None:
    times_ms = [ms for ms in (20, 50, 100, 150, 200, 350, 500, 1000) if ms > period_ms]
    told = working_sets(periodic(period_ms)[0], 1.0, times_ms)
    assert told == pytest.approx([1.0] * len(told), abs=0.05)


@pytest.mark.parametrize("hz", [1, 2, 5, 10, 50, 200])
def test_pages_at_random_are_accessed_within_a_time_as_their_rate_says(hz: int) -> None:
    truth = [1 - np.exp(-hz * ms / 1000) for ms in (50, 100, 200, 350, 500, 1000, 1300)]
    told = working_sets(at_random(hz)[0], truth.pop(), [50, 100, 200, 350, 500, 1000])
    assert told == pytest.approx(truth, rel=0.1)


def test_a_hot_quarter_is_accessed_within_any_time() -> None:
    told = working_sets(mixed(0.25, 1000)[0], 0.25, [10, 50, 100, 200, 500, 1000])
    assert told == pytest.approx([0.25] * len(told), rel=0.05)


def test_idle_memory_has_no_rate_and_unwatched_memory_none_that_is_known() -> None:
    sums = watched(lambda _, shape: np.full(shape, np.inf), 20, 3)
    share, _, deviation, within = estimated_accesses(sums, LOOKS_NS, INTERVAL_NS)
    assert not share.any()
    assert not within.any()
    assert (deviation < 0.01).all()
    for unknown in estimated_accesses(Survival.empty(len(LOOKS_NS), 2), LOOKS_NS, INTERVAL_NS):
        assert np.isnan(unknown).all()


def test_what_is_new_counts_as_long_as_it_fits_and_alone_where_it_does_not() -> None:
    hot, cold = watched(at_random(200)[0], 10, 2), watched(at_random(1)[0], 10, 2)
    both = hot.followed_by(watched(at_random(200)[0], 10, 2, seed=2))
    np.testing.assert_allclose(both.epochs, 10 + 10 * 2 / 3)
    np.testing.assert_array_equal(hot.followed_by(cold).epochs, cold.epochs)
    np.testing.assert_array_equal(cold.followed_by(hot).seen, hot.seen)


def test_rates_may_change_of_pages_on_their_own_and_of_blocks() -> None:
    for before, after in (
        (at_random(50), at_random(10)),
        (periodic(20), periodic(120)),
        (periodic(120), periodic(20)),
    ):
        sums = watched(before[0], 12, 500)
        for seed in (2, 3):
            sums = sums.followed_by(watched(after[0], 4, 500, seed))
        share = estimated_accesses(sums, LOOKS_NS, INTERVAL_NS).share
        assert np.median(share) == pytest.approx(after[1], rel=0.25)


def test_epochs_count_the_same_however_many_pages_they_had() -> None:
    """Where another monitor takes accesses, blocks have one page at times."""
    whole, single = (
        Survival(np.array([8.0 * pages]), np.array([8.0]), pages * hits, hits)
        for pages, hits in ((PAGES, np.full((8, 1), 4.0)), (1, np.full((8, 1), 2.0)))
    )
    for sums in (whole.followed_by(single), single.followed_by(whole)):
        np.testing.assert_allclose(sums.seen / sums.pages, sums.hit_epochs / sums.epochs)


def test_sums_go_through_rows() -> None:
    sums = watched(at_random(10)[0], 5, 4)
    again = Survival.of_rows(sums.rows)
    for name in ("pages", "epochs", "seen", "hit_epochs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sums, name))


@given(
    arrays.arrays(np.int64, (8, 5), elements=st.integers(0, 200)),
    arrays.arrays(np.int64, 5, elements=st.integers(0, 30)),
)
def test_any_counts_give_shares(seen: NDArray[np.int64], epochs: NDArray[np.int64]) -> None:
    pages = (epochs * PAGES).astype(np.float64)
    rising = np.minimum(np.maximum.accumulate(seen, axis=0), pages)
    hits = np.minimum(np.ceil(rising / 4), epochs)
    share, _, deviation, within = estimated_accesses(
        Survival(pages, epochs.astype(np.float64), rising, hits), LOOKS_NS, INTERVAL_NS
    )
    known = pages > 0
    assert ((share[known] >= 0) & (share[known] <= 1)).all()
    assert (deviation[known] >= 0).all()
    assert np.isnan(share[~known]).all()
    assert (np.diff(within[known], axis=1, prepend=0, append=1) >= 0).all()
