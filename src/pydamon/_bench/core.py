"""Time to age, merge and split regions, by the number of regions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np

from pydamon._model import adjust
from pydamon._model.regions import PAGE_SIZE, RegionTable

__all__ = ["CoreCost", "measure"]

_SAMPLES = 20
_COUNTS = (10, 100, 1000, 10_000, 100_000)
_RATES = (0, 0, 0, 0, 0.05, 0.3, 0.5, 0.95, 1)


@dataclass(frozen=True, slots=True)
class CoreCost:
    """Medians of the time to adjust a number of regions, in microseconds."""

    regions: int
    merged_to: int
    rounds: int
    age_us: float
    merge_us: float
    split_us: float

    @property
    def total_us(self) -> float:
        """The time of a whole aggregation."""
        return self.age_us + self.merge_us + self.split_us


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> Iterator[CoreCost]:
    """Adjust regions as an engine samples them: runs of equal rates, and most regions cold."""
    for count in _COUNTS:
        say(f"core: {count:,} regions")
        rounds = max(5, min(200, (100_000 if quick else 1_000_000) // count))
        times = []
        merged = 0
        for number in range(rounds):
            table = _sampled(count, np.random.default_rng((seed, number)))
            rng = np.random.default_rng(number)
            limit = adjust.size_limit(int(table.size.sum()), 10)
            begin_ns = time.perf_counter_ns()
            alike = adjust.threshold(table.nr_accesses)
            adjust.age(table, alike, 10**8)
            aged_ns = time.perf_counter_ns()
            result = adjust.merge_within(table, alike, limit, 2 * count, _SAMPLES)
            merged_ns = time.perf_counter_ns()
            adjust.split(result, 2 * count, 0, rng)
            end_ns = time.perf_counter_ns()
            times.append((aged_ns - begin_ns, merged_ns - aged_ns, end_ns - merged_ns))
            merged = len(result)
        age_ns, merge_ns, split_ns = (median(part) for part in zip(*times, strict=True))
        yield CoreCost(count, merged, rounds, age_ns / 1e3, merge_ns / 1e3, split_ns / 1e3)


def _sampled(count: int, rng: np.random.Generator) -> RegionTable:
    end = np.cumsum(rng.integers(1, 401, count)) * PAGE_SIZE + 2**40
    table = RegionTable.of(0, np.append(2**40, end[:-1]), end)
    rate = np.repeat(rng.choice(_RATES, count), rng.integers(1, 31, count))[:count]
    now = rng.binomial(_SAMPLES, rate)
    table.nr_accesses = now.astype(np.float64)
    table.last_nr_accesses = np.clip(now + rng.integers(-2, 3, count), 0, _SAMPLES) * 1.0
    table.age_ns = 1e8 * rng.integers(0, 100, count).astype(np.float64)
    return table
