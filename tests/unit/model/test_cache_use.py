"""The estimates of page cache in use, against simulated reads (a private module)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.cache_use import (
    FIRST_READ,
    CacheReport,
    CgroupCache,
    FollowedFolios,
    ReuseSums,
    bucket_edges_ns,
    lower_threshold,
    used_bytes,
)

PAGE = 4096
SECOND = 10**9


def followed(idle_s: np.ndarray, rate: float, seed: int = 1) -> FollowedFolios:
    """The folios that a sample of this rate follows, of one page each."""
    rng = np.random.default_rng(seed)
    kept = idle_s[rng.random(len(idle_s)) < rate]
    count = len(kept)
    return FollowedFolios(
        (kept * SECOND).astype(np.int64),
        np.full(count, 7, np.uint64),
        np.full(count, PAGE, np.int64),
        rate,
    )


def used(folios: FollowedFolios, within_ns: int) -> tuple[float, float]:
    """What all folios together read, and its standard deviation."""
    size, variance = used_bytes(folios, within_ns, np.zeros(len(folios.bytes), np.intp), 1)
    return float(size[0]), float(variance[0]) ** 0.5


def test_without_sampling_used_bytes_are_exact() -> None:
    idle_s = np.repeat([0.5, 30.0], [2_560, 12_800])
    folios = followed(idle_s, 1.0)
    assert used(folios, SECOND) == (2_560 * PAGE, 0)
    assert used(folios, 60 * SECOND) == (15_360 * PAGE, 0)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.02])
def test_estimates_are_unbiased_and_as_far_off_as_they_say(rate: float) -> None:
    idle_s = np.repeat([0.5, 30.0], [20_000, 80_000])
    errors = []
    for seed in range(60):
        estimate, deviation = used(followed(idle_s, rate, seed), SECOND)
        errors.append((estimate - 20_000 * PAGE) / deviation)
    assert abs(np.mean(errors)) < 4 / 60**0.5
    assert 0.7 < np.std(errors) < 1.4


def test_each_group_of_folios_has_a_sum_of_its_own() -> None:
    folios = FollowedFolios(
        np.array([0, 0, 2 * SECOND]),
        np.array([1, 2, 2], np.uint64),
        np.array([PAGE, 3 * PAGE, PAGE]),
        0.5,
    )
    size, variance = used_bytes(folios, SECOND, np.array([0, 2, 2]), 3)
    assert (size / PAGE).tolist() == [2, 0, 6]
    assert (variance / PAGE**2).tolist() == [2, 0, 18]


@given(st.integers(1, 1 << 32), st.floats(0, 100), st.floats(0, 1e6))
def test_a_threshold_never_rises_and_falls_only_for_a_reason(
    threshold: int, followed: float, spent: float
) -> None:
    lower = lower_threshold(threshold, followed, spent)
    assert 1 <= lower <= threshold
    fits = followed <= 1 and spent <= 1
    assert (lower == threshold) == fits or lower == threshold == 1


def test_buckets_double_every_four() -> None:
    edges = bucket_edges_ns()
    assert edges[0] == 0
    assert (np.diff(edges[:140]) > 0).all()
    assert edges[9] == 2 * edges[5]


def test_reads_after_an_idle_time() -> None:
    edges = bucket_edges_ns()
    sums = ReuseSums(
        np.array([1, 1, 1]),
        np.array([20, 40, FIRST_READ]),
        np.array([5.0, 3.0, 9.0]),
        np.array([1.0, 1.0, 77.0]),
        2,
    )
    assert sums.folios_after(0).tolist() == [0, 8]
    assert sums.folios_after(int(edges[20]))[1] == pytest.approx(8)
    assert sums.folios_after(int(edges[21]))[1] == pytest.approx(3)
    assert sums.folios_after(int(edges[40] + edges[41]) // 2)[1] == pytest.approx(1.5)
    assert sums.folios_after(int(edges[41]))[1] == pytest.approx(0)
    assert sums.first_bytes.tolist() == [0, 77]


def test_rows_of_a_cgroup_and_those_below_it() -> None:
    rows = tuple(CgroupCache(path, 1, 1, 0) for path in ("/", "/a", "/a/b", "/ab"))
    use = CacheReport(0, 0, "kernel", "", rows)
    assert [row.cgroup for row in use.below("/a")] == ["/a", "/a/b"]
    assert len(use.below("/")) == 4
    assert use.of("/ab") == rows[3]
    assert rows[0].used_within(SECOND) is None
