"""Merging neighbours that are alike, until few are left."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge_neighbours"]

Floats = NDArray[np.float64]


def merge_neighbours(
    rows: Floats, weights: Floats, column_weights: Floats, most: int, loss: float
) -> NDArray[np.intp]:
    """Return the first row of each group: neighbours are merged while they are alike.

    *rows* has shape (n, columns), *weights* (n,) and *column_weights* (columns,). Groups are merged
    as long as there are more than *most*, and then for as long as all merges together lose at most
    *loss* of the sum of squares.

    Notes
    -----
    Ward's method among neighbours: the next pair to merge is the pair that adds least to the
    squared distances from the groups' means. J. H. Ward, "Hierarchical grouping to optimize an
    objective function", 1963.
    """
    return _Merging(rows, weights, column_weights).heads(most, loss)


class _Merging:
    def __init__(self, rows: Floats, weights: Floats, column_weights: Floats) -> None:
        # With this factor, plain squared distances are weighted by column.
        self._means = rows * np.sqrt(column_weights)
        self._weights = weights.astype(float)
        self._squares = float((self._weights * (self._means**2).sum(axis=1)).sum())
        count = len(rows)
        self._next = list(range(1, count + 1))
        self._before = list(range(-1, count - 1))
        self._version = [0] * count
        costs = [self._cost(row, row + 1) for row in range(count - 1)]
        self._heap = [(cost, row, row + 1, 0, 0) for row, cost in enumerate(costs)]
        heapq.heapify(self._heap)

    def heads(self, most: int, loss: float) -> NDArray[np.intp]:
        count, lost = len(self._next), 0.0
        while self._heap:
            cost, left, right, *versions = heapq.heappop(self._heap)
            if versions != [self._version[left], self._version[right]]:
                continue
            lost += cost
            if count <= most and lost > loss * self._squares:
                break
            self._merge(left, right)
            count -= 1
        heads = [0] if self._next else []
        while heads and self._next[heads[-1]] < len(self._next):
            heads.append(self._next[heads[-1]])
        return np.array(heads, np.intp)

    def _cost(self, left: int, right: int) -> float:
        """How much merging two groups adds to the squared distances from the means."""
        total = self._weights[left] + self._weights[right]
        if total <= 0:
            return 0.0
        apart = self._means[left] - self._means[right]
        return float(self._weights[left] * self._weights[right] / total * np.vdot(apart, apart))

    def _merge(self, left: int, right: int) -> None:
        """Add the group *right* to the group before it."""
        total = self._weights[left] + self._weights[right]
        part = self._weights[right] / total if total > 0 else 0.5
        self._means[left] += part * (self._means[right] - self._means[left])
        self._weights[left] = total
        self._version[left] += 1
        self._version[right] = -1
        after, before = self._next[right], self._before[left]
        self._next[left] = after
        if after < len(self._next):
            self._before[after] = left
            self._push(left, after)
        if before >= 0:
            self._push(before, left)

    def _push(self, left: int, right: int) -> None:
        versions = self._version[left], self._version[right]
        heapq.heappush(self._heap, (self._cost(left, right), left, right, *versions))
