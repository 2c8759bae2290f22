"""The time of an aggregation in the core; `make bench` prints the figures.

Private names: adjusting regions has no public interface.
"""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pydamon._model import adjust
from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable
from tests.strategies import SAMPLES


def random_table(count: int, pattern: str) -> RegionTable:
    """Make *count* regions of 1 to 400 pages.

    "random" has `nr_accesses` of 0 to 20 in random order, so that few regions merge. "realistic"
    has runs of up to 30 regions of equal rates, most of them cold, so that most regions merge.
    """
    rng = np.random.default_rng(1)
    end = np.cumsum(rng.integers(1, 401, count)) * PAGE_SIZE + 2**46
    table = RegionTable.of(0, np.append(2**46, end[:-1]), end)
    if pattern == "random":
        now = rng.integers(0, SAMPLES + 1, count)
    else:
        rates = rng.choice([0, 0, 0, 0, 0.05, 0.3, 0.5, 0.95, 1], count)
        rate = np.repeat(rates, rng.integers(1, 31, count))[:count]
        now = rng.binomial(SAMPLES, rate)
    table.nr_accesses = now.astype(np.float64)
    table.last_nr_accesses = np.clip(now + rng.integers(-2, 3, count), 0, SAMPLES) * 1.0
    table.age_ns = 1e8 * rng.integers(0, 100, count).astype(np.float64)
    table.touched = rng.random(count)
    return table


def aggregate(
    table: RegionTable, limit: int, max_regions: int, rng: np.random.Generator
) -> tuple[RegionTable, RegionTable]:
    alike = adjust.threshold(table.nr_accesses)
    adjust.age(table, alike, 10**8)
    merged = adjust.merge_within(table, alike, limit, max_regions, SAMPLES)
    return merged, adjust.split(merged, max_regions, 0, rng)


@pytest.mark.benchmark(group="age, merge and split")
@pytest.mark.parametrize("pattern", ["realistic", "random"])
@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_aggregation(benchmark: BenchmarkFixture, count: int, pattern: str) -> None:
    table = random_table(count, pattern)
    limit = adjust.size_limit(int(table.size.sum()), 10)
    merged, out = benchmark(aggregate, table, limit, 2 * count, np.random.default_rng(1))
    assert 10 <= len(merged) < count
    assert len(merged) < len(out) <= 2 * count


@pytest.mark.benchmark(group="age, merge to a quarter and split")
def test_aggregation_that_needs_several_passes(benchmark: BenchmarkFixture) -> None:
    table = random_table(10_000, "random")
    limit = adjust.size_limit(int(table.size.sum()), 10)
    merged, out = benchmark(aggregate, table, limit, 2_500, np.random.default_rng(1))
    assert len(merged) <= len(out) <= 2_500


@pytest.mark.benchmark(group="split of every region")
def test_split(benchmark: BenchmarkFixture) -> None:
    table = random_table(10_000, "random")
    out = benchmark(adjust.split, table, 20_000, 0, np.random.default_rng(1))
    assert len(out) > 19_000


@pytest.mark.benchmark(group="fit")
@pytest.mark.parametrize("targets", [1, 100])
def test_fit(benchmark: BenchmarkFixture, targets: int) -> None:
    bounds = np.array([[0, 2000], [10_000, 60_000], [2**32, 2**32 + 33]]) * PAGE_SIZE
    ranges: list[Ranges] = [bounds] * targets
    table = adjust.initial(ranges, 1000)
    grown = bounds.copy()
    grown[0, 1] += 10 * PAGE_SIZE
    wanted: list[Ranges] = [grown] * targets
    out = benchmark(adjust.fit, table, wanted)
    assert len(out) == len(table) + targets
