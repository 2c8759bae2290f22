"""Where to split a region: between the samples with an access and the others, if those part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import PAGE_SIZE

__all__ = ["NO_SPAN", "split_hints", "widen"]

NO_SPAN = (2**62, 0)
"""Lowest and highest address of no samples at all."""

_Spans = NDArray[np.int64]
"""Lowest and highest address of the samples in each region: shape (n, 2)."""


def widen(spans: _Spans, address: NDArray[np.int64], which: NDArray[np.bool_]) -> None:
    """Add a sample to the spans of *which* regions, in place; one *address* a region."""
    spans[which, 0] = np.minimum(spans[which, 0], address[which])
    spans[which, 1] = np.maximum(spans[which, 1], address[which])


def split_hints(hit: _Spans, miss: _Spans) -> NDArray[np.int64]:
    """Half-way between the samples with an access and the others; 0 where those lie mixed."""
    hit_is_low = hit[:, 1] < miss[:, 0]
    below = np.where(hit_is_low, hit[:, 1], miss[:, 1])
    above = np.where(hit_is_low, miss[:, 0], hit[:, 0])
    apart = (below < above) & (below > 0) & (above < NO_SPAN[0])
    return np.where(apart, ((below + above) // 2 // PAGE_SIZE + 1) * PAGE_SIZE, 0)
