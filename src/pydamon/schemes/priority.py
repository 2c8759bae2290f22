"""Who is served first where a quota is too small for all: DAMON's scores, 0 to 99."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon.schemes.chosen import Candidates
from pydamon.schemes.quota import Weights

__all__ = ["MAX_SCORE", "lowest_served", "scores"]

MAX_SCORE = 99
_LOG_RANGE = 32


def scores(chosen: Candidates, weights: Weights, *, hot_first: bool) -> NDArray[np.int64]:
    """The score of each region: the weighted mean of its size, access rate and age.

    The rate counts by its share of the possible, the age by its logarithm, upwards where the
    region is accessed at all and downwards where it is not; of cold regions first, both count the
    other way round. The size counts by its share of the largest. (The kernel ignores the size.)
    """
    snapshot = chosen.snapshot
    rate = chosen.nr_accesses * 100 // max(1, snapshot.max_nr_accesses)
    seconds = chosen.age_ns // 10**9
    # The number of binary digits: frexp's exponent, exact for what an age can be.
    digits = np.minimum(np.frexp(seconds.astype(np.float64))[1], _LOG_RANGE).astype(np.int64)
    age = (np.where(rate > 0, digits, -digits) + _LOG_RANGE) * 100 // (2 * _LOG_RANGE)
    heat_weight = max(1, weights.rate + weights.age)
    heat = (weights.rate * rate + weights.age * age) // heat_weight * MAX_SCORE // 100
    wanted: NDArray[np.int64] = heat if hot_first else MAX_SCORE - heat
    if weights.size:
        size = chosen.size * MAX_SCORE // max(1, int(chosen.size.max(initial=1)))
        others = weights.rate + weights.age
        wanted = (weights.size * size + others * wanted) // (weights.size + others)
    return wanted


def lowest_served(score: NDArray[np.int64], size: NDArray[np.int64], limit_bytes: int) -> int:
    """The lowest score that is served: from the top down, until *limit_bytes* are covered."""
    by_score = np.bincount(score, weights=size, minlength=MAX_SCORE + 1)
    covered = np.cumsum(by_score[::-1])
    enough = int(np.searchsorted(covered, limit_bytes))
    return max(0, MAX_SCORE - enough)
