"""Bytes over time: the working set, RSS and VSZ of each target and of all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of, fold, fold_some
from pydamon._data.recording import Recorded, Recording
from pydamon._data.recording.grouping import new_snapshots
from pydamon._data.recording.targets import TargetNumbers
from pydamon._model.classify import RegionClasses
from pydamon._model.display import Displayable
from pydamon._model.errors import UsageError
from pydamon._model.snapshot import Target

__all__ = [
    "PERCENTILES",
    "Amount",
    "Amounts",
    "Course",
    "FootprintSeries",
    "Footprints",
    "TimeSeriesFold",
    "WorkingSet",
    "WorkingSetSeries",
    "footprint",
    "sizes",
    "sums",
    "touched",
    "unseen",
    "working_set",
]

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


_USUAL = 1.5
"""Windows that differ from the usual one by no more than this factor count alike."""

_AT_ONCE = 2**18
"""Snapshots whose percentiles are found at once."""
PERCENTILES = (0.0, 25.0, 50.0, 75.0, 90.0, 100.0)


@dataclass(frozen=True)
class WorkingSetSeries(Displayable):
    """The working set of one target, or of all together where `target` is `None`.

    `end_ns` (Unix time at the end of a snapshot) and `size_bytes` have one entry for each snapshot
    that the target is in: shape (snapshots,). `percentiles` are pairs of a percentage and bytes:
    in p % of the snapshots the working set was at most as large; each is one that was seen. A
    snapshot whose window is not about as long as most of them counts by its length: those of the
    first second, while windows become longer, would outnumber the rest of a short recording.
    `median` is that of 50. `unseen_bytes`, of the same shape, may have been accessed or not: nobody
    had looked at it yet.
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    percentiles: tuple[tuple[float, int], ...]
    unseen_bytes: NDArray[np.int64]
    median: int

    @property
    def most(self) -> int:
        """Bytes: the largest that was seen; of no snapshots 0."""
        return int(self.size_bytes.max(initial=0))


@dataclass(frozen=True)
class WorkingSet(Displayable):
    """The working set of everything that was recorded, and of each target."""

    total: WorkingSetSeries
    targets: tuple[WorkingSetSeries, ...]

    @classmethod
    def of(cls, courses: TimeSeriesFold, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
        """That of which the first amounts are what was `touched`, and what is `unseen`."""
        series = list(courses.series())
        marks = _percentiles(series, [*percentiles, 50])
        total, *targets = (
            WorkingSetSeries(
                one.target,
                one.end_ns,
                one.amounts[0],
                tuple(zip(map(float, percentiles), sizes, strict=False)),
                one.amounts[1],
                sizes[-1] if sizes else 0,
            )
            for one, sizes in zip(series, marks, strict=True)
        )
        return cls(total, tuple(targets))


def working_set(recording: Recorded, percentiles: Sequence[float] = PERCENTILES) -> WorkingSet:
    """The working set over time, and its distribution over the snapshots.

    A snapshot's working set is the memory that was accessed in its windows; what targets share
    counts once in that of all together. Raises `UsageError` for
    percentiles outside 0 to 100.
    """
    if not all(0 <= p <= 100 for p in percentiles):
        raise UsageError("a percentile is a number from 0 to 100")
    courses = TimeSeriesFold(touched, unseen)
    fold(recording, courses)
    return WorkingSet.of(courses, percentiles)


def _percentiles(series: Sequence[Course], percentiles: Sequence[float]) -> list[list[int]]:
    """Bytes at each percentage, of each target; none where there are no snapshots.

    Targets with the same number of snapshots are dealt with together: there may be 100,000.
    """
    found: list[list[int]] = [[] for _ in series]
    lengths = np.array([len(one.end_ns) for one in series])
    for length in np.unique(lengths[lengths > 0]).tolist():
        alike = np.flatnonzero(lengths == length).tolist()
        at_once = max(1, _AT_ONCE // length)
        for begin in range(0, len(alike), at_once):
            some = alike[begin : begin + at_once]
            marks = _percentiles_of([series[index] for index in some], percentiles)
            for index, values in zip(some, marks.tolist(), strict=True):
                found[index] = values
    return found


def _percentiles_of(series: Sequence[Course], percentiles: Sequence[float]) -> NDArray[np.int64]:
    """Bytes at each percentage: shape (targets, percentiles)."""
    window_ns = np.maximum(np.stack([one.end_ns - one.start_ns for one in series]), 1)
    weight = window_ns / np.median(window_ns, axis=1, keepdims=True)
    weight[(weight > 1 / _USUAL) & (weight < _USUAL)] = 1
    sizes = np.stack([one.amounts[0] for one in series])
    order = np.argsort(sizes, axis=1, kind="stable")
    up_to = np.cumsum(np.take_along_axis(weight, order, axis=1), axis=1)
    shares = np.array(percentiles) * up_to[:, -1:] / 100
    places = np.zeros(shares.shape, np.intp)
    for column, share in enumerate(shares.T):
        places[:, column] = (up_to <= share[:, None]).sum(axis=1)
    places = np.take_along_axis(order, np.minimum(places, sizes.shape[1] - 1), axis=1)
    return np.take_along_axis(sizes, places, axis=1)


@dataclass(frozen=True)
class FootprintSeries(Displayable):
    """The footprint of one target, or of all together where `target` is `None`.

    All have one entry for each snapshot that the target is in: shape (snapshots,). `end_ns` is
    Unix time; `vsz_bytes` is what was mapped, `rss_bytes` what of it was in memory, as of the last
    update interval; `wss_bytes` what was accessed in the snapshot's window. VSZ and RSS are 0 where
    the recording does not know them. Of all together, memory that is known to be shared counts once
    in `rss_bytes` and `wss_bytes`; `unseen_bytes` is what nobody had looked at yet.
    """

    target: Target | None
    end_ns: NDArray[np.int64]
    vsz_bytes: NDArray[np.int64]
    rss_bytes: NDArray[np.int64]
    wss_bytes: NDArray[np.int64]
    unseen_bytes: NDArray[np.int64]

    @property
    def known(self) -> bool:
        """Whether VSZ and RSS are known."""
        return bool(self.rss_bytes.any() or self.vsz_bytes.any())


class Footprints(tuple[FootprintSeries, ...], Displayable):
    """The footprint of everything together, then of each target."""

    __slots__ = ()


def footprint(recording: Recorded) -> Footprints:
    """The footprint of everything together, then of each target.

    Raises `RecordingError` where there are no snapshots.
    """
    courses = TimeSeriesFold(touched, _vsz, _rss, unseen)
    fold_some(recording, courses)
    return Footprints(
        FootprintSeries(one.target, one.end_ns, vsz, rss, wss, unknown)
        for one in courses.series()
        for wss, vsz, rss, unknown in [one.amounts]
    )


def _vsz(recording: Recording, _: RegionClasses) -> Amounts:
    vsz_bytes = recording.of_parts("vsz_bytes")
    return vsz_bytes, vsz_bytes


def _rss(recording: Recording, classes: RegionClasses) -> Amounts:
    rss_bytes = recording.of_parts("rss_bytes")
    repeated, _ = sums(recording, classes.repeated, classes.repeated)
    return rss_bytes, np.maximum(rss_bytes - repeated, 0)
