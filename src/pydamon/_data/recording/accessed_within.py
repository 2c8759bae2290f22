"""The column `accessed_within`: the shares accessed within several times, in one number a row.

Each share is a byte, in steps of 1/255, that of the shortest time the lowest. 0 says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._model.accessed_within import WITHIN_INTERVALS

__all__ = ["falls", "packed", "unpacked"]

_STEPS = 255
_TIMES = len(WITHIN_INTERVALS)


def packed(within: NDArray[np.float64]) -> NDArray[np.int64]:
    """Shares of shape (n, times), NaN where they are not known, as numbers."""
    bytes_ = np.zeros((len(within), 8), np.uint8)
    steps = np.rint(np.nan_to_num(within).clip(0, 1) * _STEPS)
    # Means that fall in their last digit must not fall by a step.
    bytes_[:, :_TIMES] = np.maximum.accumulate(steps, axis=1)
    return bytes_.view("<i8")[:, 0].astype(np.int64, copy=False)


def unpacked(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """The shares in numbers: NaN where they say nothing."""
    within = _bytes(numbers)[:, :_TIMES] / _STEPS
    within[numbers == 0] = np.nan
    return within


def falls(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where less is accessed within a longer time: shape (n,).

    Numbers of more bytes than there are times fall, too.
    """
    if not numbers.any():
        return np.zeros(len(numbers), np.bool_)
    each = _bytes(numbers)
    is_beyond = each[:, _TIMES:].any(axis=1)
    return np.logical_or(is_beyond, (each[:, 1:_TIMES] < each[:, : _TIMES - 1]).any(axis=1))


def _bytes(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(numbers, "<i8").view(np.uint8).reshape(-1, 8)
