"""Where in a region accessed and idle pages part, from where its samples lay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import PAGE_SIZE

__all__ = ["NO_SPAN", "borders"]

NO_SPAN = (2**62, 0)
"""Lowest and highest address of no samples at all."""


def borders(hit: NDArray[np.int64], miss: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half-way between the samples that hit and those that did not; 0 where they lie mixed.

    *hit* and *miss* are lowest and highest addresses, one row a region: shape (n, 2).
    """
    hit_is_low = hit[:, 1] < miss[:, 0]
    below = np.where(hit_is_low, hit[:, 1], miss[:, 1])
    above = np.where(hit_is_low, miss[:, 0], hit[:, 0])
    apart = (below < above) & (below > 0) & (above < NO_SPAN[0])
    return np.where(apart, ((below + above) // 2 // PAGE_SIZE + 1) * PAGE_SIZE, 0)
