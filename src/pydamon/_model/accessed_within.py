"""Which share of a region is accessed within a time: a curve, as sampling intervals go by.

That is the size of the working set as a function of its window (P. J. Denning, *The working set
model for program behavior*, 1968), as a share of the region. Samplers that know it tell it for the
times of `WITHIN_INTERVALS`; times in between are interpolated here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["WITHIN_INTERVALS", "share_within"]

Floats = NDArray[np.float64]

WITHIN_INTERVALS = (4, 8, 16, 32, 64, 128, 256)
"""The times of a curve in sampling intervals: 20 to 1,280 ms by default."""
_TIMES = np.array([0, 1, *WITHIN_INTERVALS])
_SURE = 1 - 1e-9
"""Larger shares count as this one: where all pages are accessed, the hazard would be infinite."""
_TELLS = 1e-6
"""Curves of a loop and of random accesses that are nearer than this cannot be told apart."""


def share_within(within: Floats, access_share: Floats, intervals: float) -> Floats:
    """The share of each region that is accessed within a time.

    Parameters
    ----------
    within : array of float, shape (n, len(WITHIN_INTERVALS))
        The shares accessed within the times of `WITHIN_INTERVALS`, which do not fall.
    access_share : array of float, shape (n,)
        The share accessed within one interval.
    intervals : float
        The time in sampling intervals, 0 or more.

    Returns
    -------
    array of float, shape (n,)
        From 0 to 1; never less than of a shorter time.

    Notes
    -----
    Between two times, the share that a loop accesses goes on to grow as before, till it is that of
    the later time. Of accesses at random, the part that is left shrinks by the same factor in equal
    times. Which of them a curve is more like, the times before say.
    """
    shares: Floats = np.empty((len(_TIMES), len(within)))
    shares[0], shares[1], shares[2:] = 0, np.minimum(access_share, within[:, 0]), within.T
    at = int(np.searchsorted(_TIMES, intervals, side="right")) - 1
    if at == 0:
        at_once: Floats = shares[1] * intervals
        return at_once
    # Beyond the last time, accesses go on as between the two last.
    first = min(at, len(_TIMES) - 2)
    part = (intervals - _TIMES[first]) / (_TIMES[first + 1] - _TIMES[first])
    straight = shares[first] + part * (shares[first + 1] - shares[first])
    if first == at:
        slope = (shares[at] - shares[at - 1]) / (_TIMES[at] - _TIMES[at - 1])
        straight = np.maximum(straight, shares[at] + slope * (intervals - _TIMES[at]))
    straight = np.minimum(straight, shares[at + 1] if first == at else 1)
    hazard, later = -np.log1p(-np.minimum(shares[first : first + 2], _SURE))
    at_random = np.minimum(-np.expm1(-(hazard + (later - hazard) * part)), straight)
    likeness = _likeness_to_a_loop(shares, max(at, 2))
    within_time: Floats = at_random + likeness * (straight - at_random)
    return within_time


def _likeness_to_a_loop(shares: Floats, at: int) -> Floats:
    """1 where what is accessed has grown in proportion to the time, 0 as at random, or slower."""
    before, now = shares[at - 1], shares[at]
    longer = _TIMES[at] / _TIMES[at - 1]
    of_loop = np.minimum(before * longer, 1)
    at_random = -np.expm1(longer * np.log1p(-np.minimum(before, _SURE)))
    apart = of_loop - at_random
    likeness: Floats = np.clip((now - at_random) / np.maximum(apart, _TELLS), 0, 1)
    return np.where(apart > _TELLS, likeness, 0.0)
