"""Runs of rows that belong together, such as equal values side by side; and sets of integers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs", "expand", "group_bounds", "is_in", "running_total", "true_runs", "unique"]

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


class Runs:
    """Rows cut into runs: run i has the rows from `bounds[i]` to before `bounds[i + 1]`.

    No run is empty.
    """

    __slots__ = ("bounds",)

    def __init__(self, bounds: NDArray[np.intp]) -> None:
        self.bounds = bounds
        """Rises from 0 to the number of rows: shape (runs + 1,)."""

    @classmethod
    def of(cls, *columns: NDArray[Any]) -> Self:
        """Runs of rows that are equal in every one of the *columns*.

        Examples
        --------
        >>> Runs.of(np.array([7, 7, 8, 7])).heads
        array([0, 2, 3])
        """
        apart = columns[0][1:] != columns[0][:-1]
        for column in columns[1:]:
            apart |= column[1:] != column[:-1]
        return cls.split(apart, len(columns[0]))

    @classmethod
    def split(cls, apart: NDArray[np.bool_], length: int) -> Self:
        """Cut *length* rows between those neighbours that are *apart*: shape (length - 1,)."""
        if not length:
            return cls(np.zeros(1, np.intp))
        cuts = np.flatnonzero(apart) + 1
        bounds = np.empty(len(cuts) + 2, np.intp)
        bounds[0], bounds[1:-1], bounds[-1] = 0, cuts, length
        return cls(bounds)

    @classmethod
    def at(cls, heads: NDArray[np.intp], length: int) -> Self:
        """Runs that begin at *heads*, of *length* rows; the first head is 0."""
        return cls(np.append(heads, length))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The first row of each run, and the one behind its last."""
        return pairwise(self.bounds.tolist())

    @property
    def heads(self) -> NDArray[np.intp]:
        """The first row of each run."""
        return self.bounds[:-1]

    @property
    def tails(self) -> NDArray[np.intp]:
        """The last row of each run."""
        return self.bounds[1:] - 1

    @property
    def lengths(self) -> NDArray[np.intp]:
        """How many rows each run has."""
        return np.diff(self.bounds)

    @property
    def number(self) -> NDArray[np.intp]:
        """The run that each row is in."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """The sum of the values of each run, of one value a row."""
        return self._reduce(np.add, values)

    def max(self, values: NDArray[Any]) -> NDArray[Any]:
        """The largest value of each run."""
        return self._reduce(np.maximum, values)

    def min(self, values: NDArray[Any]) -> NDArray[Any]:
        """The smallest value of each run."""
        return self._reduce(np.minimum, values)

    def _reduce(self, function: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        reduced: NDArray[Any] = function.reduceat(values, self.heads) if len(self) else values[:0]
        return reduced


def true_runs(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Where runs of True begin, and where they are over: shape (runs, 2).

    Examples
    --------
    >>> true_runs(np.array([True, True, False, True])).tolist()
    [[0, 2], [3, 4]]
    """
    padded = np.zeros(len(marks) + 2, np.bool_)
    padded[1:-1] = marks
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def expand(counts: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number the items of groups that have *counts* items each, one group behind the other.

    Returns
    -------
    group, place
        The group of each item, and its place in the group: shape (items,).

    Examples
    --------
    >>> group, place = expand(np.array([2, 0, 3]))
    >>> group.tolist(), place.tolist()
    ([0, 0, 2, 2, 2], [0, 1, 0, 1, 2])
    """
    group = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return group, np.arange(len(group)) - first[group]


def group_bounds(numbers: NDArray[np.integer], count: int) -> NDArray[np.intp]:
    """Where the rows of group 0, 1, ... *count* - 1 begin in sorted group *numbers*.

    The last entry is where the last group is over: shape (count + 1,).

    Examples
    --------
    >>> group_bounds(np.array([0, 0, 2]), 3).tolist()
    [0, 2, 2, 3]
    """
    return np.searchsorted(numbers, np.arange(count + 1))


def running_total(values: NDArray[Any]) -> NDArray[Any]:
    """The sum of all values before each place: shape (n + 1,).

    The sum of the values from i to before j is `total[j] - total[i]`.
    """
    return np.append(0, np.cumsum(values))
