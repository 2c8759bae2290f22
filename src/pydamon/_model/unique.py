"""Distinct values, without the import that NumPy pays for them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["unique"]

T = TypeVar("T", bound=np.integer)


def unique(values: NDArray[T]) -> NDArray[T]:
    """Return the distinct values, sorted.

    As `np.unique`, which since NumPy 2.3 imports `numpy.ma`: a twentieth of the start of `record`.
    """
    ordered = np.sort(values, axis=None)
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    distinct: NDArray[T] = ordered[is_first]
    return distinct
