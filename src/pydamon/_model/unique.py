"""Sets of integers, without an import that NumPy makes for them.

Since NumPy 2.3 `np.unique` and `np.isin` import `numpy.ma`: a twentieth of the start of `record`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_in", "unique"]

T = TypeVar("T", bound=np.integer)


def unique(values: NDArray[T]) -> NDArray[T]:
    """Return the distinct values, sorted."""
    ordered = np.sort(values, axis=None)
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    distinct: NDArray[T] = ordered[is_first]
    return distinct


def is_in(values: NDArray[T], ordered: NDArray[T]) -> NDArray[np.bool_]:
    """Return for each value whether *ordered* (sorted) has it."""
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    is_there: NDArray[np.bool_] = ordered[place] == values
    return is_there
