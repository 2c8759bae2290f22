"""Cold bytes over a recording by how long they have been idle: what all means come from.

Some windows have ages of pages, the others only those of regions. Means must not mix the two: the
cold bytes of a mapping in all windows have the ages that its cold bytes have in the windows whose
pages were looked at. So the idle bytes of mappings add up to those of a target, and are never more
than the cold ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.classify import RegionClasses, cold_parts

__all__ = ["ColdSums", "MappingKeys", "Rows", "add_rows"]

Rows = dict[tuple[int, str], NDArray[np.float64]]
"""Rows of sums by target number and name of a mapping."""
_FEW_KEYS = 4
"""Keys are counted, not sorted, where at most so many times more than regions are possible."""


class MappingKeys(NamedTuple):
    """The mappings of a chunk, and which of them each region is in."""

    keys: list[tuple[int, str]]
    """Target number and name."""
    place: NDArray[np.intp]
    """The index of a key for each region."""

    @classmethod
    def of(cls, chunk: Recording, numbers: TargetNumbers) -> MappingKeys:
        """The mappings of a chunk, with the targets' numbers."""
        names = chunk.names("mapping")
        key = numbers.per_region(chunk).astype(np.int64) * len(names) + chunk.codes("mapping")
        distinct, place = _distinct(key)
        keys = [divmod(each, len(names)) for each in distinct.tolist()]
        return cls([(target, names[code]) for target, code in keys], place)

    def sums(self, amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums over the regions of each mapping: shape (mappings,)."""
        counts = np.bincount(self.place, amounts, len(self.keys))
        sums: NDArray[np.float64] = counts.astype(np.float64, copy=False)
        return sums


def _distinct(key: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The distinct keys, sorted, and the index of each key among them."""
    most = int(key.max(initial=0)) + 1
    if most > _FEW_KEYS * len(key):
        distinct, place = np.unique(key, return_inverse=True)
        return distinct, place
    is_there = np.zeros(most, np.bool_)
    is_there[key] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[key]


def add_rows(sums: Rows, keys: MappingKeys, rows: NDArray[np.float64]) -> None:
    """Add the sums of the mappings of a chunk to those before."""
    for key, row in zip(keys.keys, rows, strict=True):
        known = sums.get(key)
        sums[key] = row if known is None else known + row


class ColdSums:
    """Cold bytes, times ns, by mapping and how many of some ages they have been idle for."""

    def __init__(self, ages_ns: NDArray[np.int64]) -> None:
        self._ages_ns = ages_ns
        self._sums: Rows = {}
        """For a target itself and for sums over targets: of all windows, and of those with ages of
        pages."""
        self.has_pages = False
        """Whether any pages have ages."""

    def add(
        self,
        keys: MappingKeys,
        weight: NDArray[np.float64],
        own: RegionClasses,
        once: RegionClasses,
    ) -> None:
        """Add the regions of a chunk, each with a weight."""
        self.has_pages |= bool(own.is_looked.any())
        own_sums = self._table(keys, weight, own)
        once_sums = own_sums if once is own else self._table(keys, weight, once)
        add_rows(self._sums, keys, np.stack([own_sums, once_sums], axis=1))

    def _table(
        self, keys: MappingKeys, weight: NDArray[np.float64], classes: RegionClasses
    ) -> NDArray[np.float64]:
        """Sums of each mapping: shape (mappings, 2, ages + 1)."""
        columns, count = len(self._ages_ns) + 1, len(keys.keys)
        parts = cold_parts(classes, self._ages_ns)
        place, is_looked = keys.place, classes.is_looked
        if len(parts.region) > len(place):  # else there is one part of each region
            place, weight = place[parts.region], weight[parts.region]
        cell, amount = place * columns + parts.reached, parts.size_bytes * weight
        table = np.zeros((count, 2, columns))
        table[:, 0] = np.bincount(cell, amount, count * columns).reshape(count, columns)
        if is_looked.any():
            of_pages = amount * is_looked[parts.region]
            table[:, 1] = np.bincount(cell, of_pages, count * columns).reshape(count, columns)
        return table

    def rows(self, which: int) -> NDArray[np.float64]:
        """The cold bytes of each mapping, in the order in which they came: shape (mappings, ages
        + 1).

        They are of the targets themselves (0), or for sums over targets (1).
        """
        columns = len(self._ages_ns) + 1
        sums = np.array([rows[which] for rows in self._sums.values()]).reshape(-1, 2, columns)
        every, of_pages = sums[:, 0], sums[:, 1]
        cold, looked = every.sum(axis=1), of_pages.sum(axis=1)
        share = cold / np.where(looked > 0, looked, 1)
        rows: NDArray[np.float64] = np.where(
            (looked > 0)[:, None], of_pages * share[:, None], every
        )
        return rows
