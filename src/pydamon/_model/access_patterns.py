"""How often memory is accessed, from what looks at cleared pages saw.

When pages are first seen accessed after a clear does not tell their rate by itself: few of them are
seen within a sampling interval, and what later looks see says more or less of that interval,
depending on how memory is accessed. So a library of patterns is held against what was seen:
all the time, in a loop, at random, by a part of the pages, at rates over orders of magnitude, and
in bursts, each at many rates. The estimate is the mean over the library, each pattern weighted by
how well it predicts the looks (its likelihood) and by how common it is (its prior).

Neighbouring pages that are all accessed at once are one observation, and a loop is likely. Pages on
their own are many observations, and accesses at random are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.accessed_within import WITHIN_INTERVALS
from pydamon._model.survival import Survival

__all__ = ["Accesses", "estimated_accesses"]

Floats: TypeAlias = NDArray[np.float64]

_STEP = 0.2
"""Neighbouring rates of a pattern differ by this factor more than 1; the mean lies in between."""
_UNEXPLAINED = 0.01
"""The part of what looks see that no pattern explains, so that none is ever excluded."""
_MOST_TRIALS = 1000.0
"""However many pages were watched, they count as fewer observations: no pattern is quite true."""
_LAST_LOOK = np.array([0.75, 0.875, 1, 1.125, 1.25])
"""Epochs vary in length, and with them the time of the last look."""
_LOOK_STEP = 1.02
"""Looks that come within this factor of each other share their predictions."""
_LEAST_ERROR = 0.05
"""The patterns are coarse: this part of a share is its deviation at least."""


class _Pattern(NamedTuple):
    """A way in which memory is accessed, at several rates."""

    of_blocks: float
    """How common it is where all pages of a block are accessed at once: sums up to 1."""
    of_pages: float
    """How common it is where pages are accessed on their own: sums up to 1."""
    every: Floats
    """Mean times between two accesses, or periods, in sampling intervals: one for each rate."""
    within: Callable[[Floats], Floats]
    """The part of the pages that is accessed within so many times the mean time, after a moment
    that does not depend on the accesses."""


def _times(least: float, most: float, step: float) -> Floats:
    times: Floats = np.exp(np.arange(np.log(least), np.log(most), step))
    return times


def _all_the_time(times: Floats) -> Floats:
    """Too often for any look to miss: most hot memory, whatever its rate."""
    return np.ones_like(times)


def _in_a_loop(times: Floats) -> Floats:
    return np.minimum(times, 1)


def _at_random(times: Floats) -> Floats:
    accessed: Floats = -np.expm1(-times)
    return accessed


def _by_a_part(part: float) -> Callable[[Floats], Floats]:
    def within(times: Floats) -> Floats:
        return part * _at_random(times)

    return within


def _in_bursts(part: float) -> Callable[[Floats], Floats]:
    """All the time for a part of each period: also, a part of the pages all the time."""
    return lambda times: np.minimum(part + times, 1)


def _over_orders(deviation: float) -> Callable[[Floats], Floats]:
    """At random, at rates whose logarithms vary by this much: as in caches with hot keys."""
    rates = np.array([-1.7, -1.2, -0.7, -0.25, 0.25, 0.7, 1.2, 1.7])
    weights = np.exp(-(rates**2) / 2)

    def within(times: Floats) -> Floats:
        each = _at_random(times[..., None] * np.exp(deviation * rates))
        accessed: Floats = each @ (weights / weights.sum())
        return accessed

    return within


_PARTS, _ON, _SPREAD = (0.06, 0.12, 0.25, 0.5), (0.03, 0.06, 0.12, 0.25, 0.5, 0.75), (0.8, 1.6, 2.4)
_LIBRARY = (
    _Pattern(0.15, 0.15, np.ones(1), _all_the_time),
    _Pattern(0.67, 0.1, _times(0.2, 12_000, _STEP), _in_a_loop),
    _Pattern(0.08, 0.3, _times(0.08, 12_000, _STEP), _at_random),
    *(
        _Pattern(0.01 / len(_PARTS), 0.15 / len(_PARTS), _times(0.08, 80, 2 * _STEP), within)
        for within in map(_by_a_part, _PARTS)
    ),
    *(
        _Pattern(0.08 / len(_ON), 0.05 / len(_ON), _times(6, 800, 2 * _STEP), within)
        for within in map(_in_bursts, _ON)
    ),
    *(
        _Pattern(0.01 / len(_SPREAD), 0.25 / len(_SPREAD), _times(0.08, 4000, 2 * _STEP), within)
        for within in map(_over_orders, _SPREAD)
    ),
)
_RATES = np.array([len(p.every) for p in _LIBRARY])
_OF_BLOCKS = np.repeat([p.of_blocks for p in _LIBRARY] / _RATES, _RATES)
_OF_PAGES = np.repeat([p.of_pages for p in _LIBRARY] / _RATES, _RATES)


def _within(intervals: Floats) -> Floats:
    """The part that each pattern of the library accesses by some times: shape (patterns, times)."""
    return np.concatenate([p.within(intervals / p.every[:, None]) for p in _LIBRARY])


class _Predictions(NamedTuple):
    """What the patterns of the library predict."""

    log_first_seen: NDArray[np.float32]
    """Logarithms of the parts first seen by each look, and never: shape (looks + 1, patterns)."""
    moments: NDArray[np.float32]
    """1, the part of sampling intervals with an access, its square, its logarithm, and the parts
    accessed within longer times, times the prior of each pattern, of pages and then of blocks:
    shape (patterns, 2 * (4 + times))."""


@lru_cache(maxsize=16)
def _predictions(steps: tuple[int, ...]) -> _Predictions:
    """What is predicted of looks that come `_LOOK_STEP` to these powers intervals after a clear."""
    looks = _LOOK_STEP ** np.array(steps, np.float64)
    seen = _within(looks)
    varies = looks > looks[-1] * _LAST_LOOK[0]
    seen[:, varies] = _within(looks[-1] * _LAST_LOOK).mean(axis=1, keepdims=True)
    first_seen = np.diff(seen, axis=1, prepend=0, append=1).clip(0)
    expected = (1 - _UNEXPLAINED) * first_seen + _UNEXPLAINED / first_seen.shape[1]
    log_first_seen = np.ascontiguousarray(np.log(expected).T, np.float32)
    return _Predictions(log_first_seen, _moments())


@cache
def _moments() -> NDArray[np.float32]:
    """`_Predictions.moments`, which are the same whenever looks come."""
    share, *longer = _within(np.array([1.0, *WITHIN_INTERVALS])).T
    powers = np.stack([np.ones_like(share), share, share**2, np.log(share), *longer])
    moments = np.concatenate([powers * _OF_PAGES, powers * _OF_BLOCKS])
    return np.ascontiguousarray(moments.T, np.float32)


class Accesses(NamedTuple):
    """How often the memory of each region is accessed; NaN where it was never watched."""

    share: Floats
    """The share of intervals with an access, as the mean of its logarithm: shape (n,)."""
    mean: Floats
    """Its mean, which is higher the less is known: shape (n,)."""
    deviation: Floats
    """Its standard deviation: shape (n,)."""
    within: Floats
    """The shares accessed within the times of `WITHIN_INTERVALS`: shape (n, times)."""

    @classmethod
    def unknown(cls, regions: int) -> Accesses:
        """Of regions that were never watched."""
        share, mean, deviation = np.full((3, regions), np.nan)
        return cls(share, mean, deviation, np.full((regions, len(WITHIN_INTERVALS)), np.nan))


def estimated_accesses(sums: Survival, look_ns: Floats, interval_ns: float) -> Accesses:
    """How often each region is accessed.

    Parameters
    ----------
    sums : Survival
        What the looks have seen.
    look_ns : array of float, shape (looks,)
        How long after the clear each look came on average, rising.
    interval_ns : float
        The sampling interval that the shares refer to.

    Returns
    -------
    Accesses
        Where no access was seen, all shares are 0.

    Notes
    -----
    Bayesian model averaging; the share is the mean of its logarithm, as errors of rates are
    factors, and shares within longer times are means, as bytes add up. For accesses with
    independent gaps, the part of pages accessed within a time of a moment at random is the
    distribution of the forward recurrence time (D. R. Cox, *Renewal theory*, 1962): a straight line
    up to the period for a loop, and an exponential at random.
    """
    watched, accesses = np.flatnonzero(sums.pages > 0), Accesses.unknown(len(sums))
    units = sums.independent_pages
    for column in accesses:
        column[watched] = 0
    accesses.deviation[watched] = 1 / (sums.epochs * units)[watched]
    accessed = np.flatnonzero(sums.seen[-1] > 0)
    if len(accessed):
        steps = np.log(np.maximum(look_ns, 1) / interval_ns) / np.log(_LOOK_STEP)
        predicted = _predictions(tuple(steps.round().astype(int).tolist()))
        of_accessed = _estimate(sums.take(accessed), units[accessed], predicted)
        for column, values in zip(accesses, of_accessed, strict=True):
            column[accessed] = values
    return accesses


def _estimate(sums: Survival, units: Floats, predicted: _Predictions) -> Accesses:
    """The mean of the patterns, weighted by how well they fit.

    *units* are the `independent_pages` of the regions.
    """
    pages = sums.pages / sums.epochs
    trials = sums.epochs * units
    trials /= 1 + trials / _MOST_TRIALS
    # Pages stay accessed till the next clear, but for what another monitor takes meanwhile.
    seen = np.maximum.accumulate(sums.seen, axis=0)
    first_seen = np.diff(np.vstack([seen, sums.pages]), axis=0, prepend=0)
    fit = ((first_seen * (trials / sums.pages)).T.astype(np.float32)) @ predicted.log_first_seen
    fit -= fit.max(axis=1, keepdims=True)
    weighted = np.exp(fit, out=fit) @ predicted.moments
    of_pages, of_blocks = weighted.T.astype(np.float64).reshape(2, -1, len(sums))
    # Of single pages it is not known whether their neighbours are accessed at once.
    together = np.full(len(sums), 0.5)
    np.divide(1 / units - 1 / pages, 1 - 1 / pages, out=together, where=pages > 1.01)
    total, *sums_of = of_pages + together * (of_blocks - of_pages)
    mean, square, logarithm, *within = (each / total for each in sums_of)
    deviation = np.hypot(np.sqrt(np.maximum(square - mean**2, 0)), _LEAST_ERROR * mean)
    # Single precision lets them fall by a little.
    rising = np.maximum.accumulate(np.minimum(np.stack(within, axis=1), 1), axis=1)
    return Accesses(np.exp(logarithm), mean, deviation, rising)
