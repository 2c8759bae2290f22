"""Bytes over time, of each target and of all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon.analysis.classes import classes_of
from pydamon.core.classify import RegionClasses
from pydamon.core.snapshot import Target
from pydamon.recording import Recording
from pydamon.recording.grouping import new_snapshots
from pydamon.recording.targets import TargetNumbers

__all__ = ["Amount", "Amounts", "Course", "TimeSeriesFold", "sizes", "sums", "touched", "unseen"]

Amounts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Bytes of each target of a snapshot, by itself and in sums over targets: shape (parts,)."""
Amount: TypeAlias = Callable[[Recording, RegionClasses], Amounts]


@dataclass(frozen=True, slots=True)
class Course:
    """The snapshots of a target, or of all together where `target` is `None`.

    `start_ns`, `end_ns` and each of `amounts` have one entry a snapshot that it is in.
    """

    target: Target | None
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    amounts: tuple[NDArray[np.int64], ...]


class TimeSeriesFold:
    """Some amounts over time, as a fold that keeps a row for each target of a snapshot.

    Sums over several targets are of what each amount gives `once`: memory that targets share
    counts in the first of them only.
    """

    def __init__(self, *amounts: Amount) -> None:
        self._amounts = amounts
        self._numbers = TargetNumbers()
        self._columns: list[list[NDArray[np.int64]]] = [[] for _ in range(3 + 2 * len(amounts))]
        self._is_twin = [False, False, False, *[False, True] * len(amounts)]
        """Which columns are those before them: amounts `once` where nothing is shared."""

    def add(self, part: Recording) -> None:
        found: list[NDArray[np.int64]] = [
            self._numbers.of_parts(part).astype(np.int64),
            *(part.of_parts(name) for name in ("start_ns", "end_ns")),
        ]
        classes = classes_of(part)
        for amount in self._amounts:
            found += amount(part, classes)
        for place, (column, values) in enumerate(zip(self._columns, found, strict=True)):
            column.append(values)
            self._is_twin[place] &= values is found[place - 1]

    def _in_order(self) -> list[NDArray[np.int64]]:
        """The columns by time, each in one piece: the memory of one or two is taken besides."""
        for place, column in enumerate(self._columns):
            if self._is_twin[place]:
                column[:] = self._columns[place - 1]
            else:
                column[:] = [np.concatenate(column or [np.empty(0, np.int64)])]
        end_ns = self._columns[2][0]
        if (end_ns[1:] < end_ns[:-1]).any():
            order = np.lexsort((self._columns[1][0], end_ns))
            for place, column in enumerate(self._columns):
                is_twin = self._is_twin[place]
                column[:] = self._columns[place - 1] if is_twin else [column[0][order]]
        return [column[0] for column in self._columns]

    def series(self) -> Iterator[Course]:
        """All targets together, then each."""
        number, start_ns, end_ns, *amounts = self._in_order()
        own, once = amounts[::2], amounts[1::2]
        new = new_snapshots(start_ns, end_ns, number)
        targets = self._numbers.targets
        heads = np.flatnonzero(new)
        if len(targets) == 1:
            once = own
        if len(heads) == len(new):
            yield Course(None, start_ns, end_ns, tuple(once))
        else:
            yield Course(
                None,
                np.minimum.reduceat(start_ns, heads),
                np.maximum.reduceat(end_ns, heads),
                tuple(np.add.reduceat(amount, heads) for amount in once),
            )
        by_number = np.argsort(number, kind="stable")  # each target's rows stand together in it
        bounds = np.searchsorted(number[by_number], np.arange(len(targets) + 1))
        for index, target in enumerate(targets):
            # Of a single target, all together are the same: their arrays then need no copies.
            mine: slice | NDArray[np.intp] = slice(None)
            if len(targets) > 1:
                mine = by_number[bounds[index] : bounds[index + 1]]
            yield Course(
                target, start_ns[mine], end_ns[mine], tuple(amount[mine] for amount in own)
            )


def touched(recording: Recording, classes: RegionClasses) -> Amounts:
    """What was accessed of each target in each snapshot."""
    once, own = classes.once(), classes.accessed
    return sums(recording, own, own if once is classes else once.accessed)


def unseen(recording: Recording, classes: RegionClasses) -> Amounts:
    """What nobody has looked at yet of each target in each snapshot."""
    return sums(recording, classes.unseen, classes.once().unseen)


def sizes(recording: Recording, classes: RegionClasses) -> Amounts:
    """How much memory the regions of each target in each snapshot are."""
    return sums(recording, classes.total, classes.once().total)


def sums(recording: Recording, own: NDArray[np.int64], once: NDArray[np.int64]) -> Amounts:
    """Amounts of regions by target of a snapshot."""
    found = _sums(recording, own)
    return found, found if own is once else _sums(recording, once)


def _sums(recording: Recording, values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(np.append(0, np.cumsum(values))[recording.part_offsets])
