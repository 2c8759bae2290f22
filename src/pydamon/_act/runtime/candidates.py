"""Candidates: the regions that a scheme is about to act on, matched and cut."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import Cut, contains, cut_at
from pydamon._model.regions import Ranges
from pydamon._model.runs import Runs, group_bounds
from pydamon._model.schemes.pattern import Bounds
from pydamon._model.shares import MeasuredRates, reached
from pydamon._model.snapshot import UNKNOWN, Snapshot, SnapshotRegion

__all__ = ["Candidates", "Run", "matching", "rate_fits"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Regions of a snapshot, or parts of them, sorted by target and address.

    `region` is the index of the region in the snapshot; the other columns are those of `Snapshot`.
    `allowed` says that a core filter allowed it, so that filters of pages are not asked.
    """

    snapshot: Snapshot
    region: NDArray[np.intp]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    allowed: NDArray[np.bool_]

    @classmethod
    def all_of(cls, snapshot: Snapshot) -> Candidates:
        """Every region of a snapshot."""
        index = np.arange(len(snapshot))
        return cls(snapshot, index, snapshot.start, snapshot.end, np.zeros(len(index), np.bool_))

    def __len__(self) -> int:
        return len(self.region)

    @property
    def target(self) -> NDArray[np.int32]:
        """Index in the snapshot's targets."""
        return self.snapshot.target[self.region]

    @property
    def access_rate(self) -> NDArray[np.float64]:
        """The share of samples that found an access in the window, from 0 to 1."""
        return self.snapshot.access_rate[self.region]

    @property
    def age(self) -> NDArray[np.int64]:
        """Aggregations for which the access rate has held."""
        return self.snapshot.age[self.region]

    @property
    def age_ns(self) -> NDArray[np.int64]:
        """How long the access rate has held."""
        age_ns = self.snapshot.age_ns[self.region]
        return np.where(age_ns == UNKNOWN, self.age * self.snapshot.window_ns, age_ns)

    @property
    def is_unseen(self) -> NDArray[np.bool_]:
        """Whether most of its resident memory has not been looked at yet."""
        unseen = self.snapshot.unseen_bytes[self.region]
        resident = self.snapshot.resident_bytes[self.region]
        whole = self.snapshot.size[self.region]
        return 2 * unseen > np.where(resident == UNKNOWN, whole, resident)

    @property
    def size(self) -> NDArray[np.int64]:
        """Bytes."""
        return self.end - self.start

    @property
    def size_bytes(self) -> int:
        """Bytes of all candidates together."""
        return int(self.size.sum())

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Candidates:
        """The candidates that *index* picks."""
        return replace(
            self,
            region=self.region[index],
            start=self.start[index],
            end=self.end[index],
            allowed=self.allowed[index],
        )

    def cut_at(self, borders: dict[int, NDArray[np.int64]]) -> Candidates:
        """The same bytes, cut at addresses of targets (by index)."""
        cut: Cut = cut_at(self.target, self.start, self.end, borders)
        return replace(
            self,
            region=self.region[cut.index],
            start=cut.start,
            end=cut.end,
            allowed=self.allowed[cut.index],
        )

    def without(self, ranges: Mapping[int, Ranges]) -> Candidates:
        """The candidates outside *ranges* of targets (by index), cut at the ranges' borders."""
        if not ranges:
            return self
        cut = self.cut_at({index: rows.ravel() for index, rows in ranges.items()})
        inside = np.zeros(len(cut), np.bool_)
        bounds = group_bounds(cut.target, len(self.snapshot.targets))
        for index, rows in ranges.items():
            mine = slice(bounds[index], bounds[index + 1])
            inside[mine] = contains(rows, cut.start[mine])
        return cut.take(~inside)

    def runs(self, *, by_region: bool) -> Iterator[Run]:
        """The candidates as runs of neighbours, or each by itself."""
        target = self.target
        apart = (self.end[:-1] != self.start[1:]) | (target[:-1] != target[1:])
        apart |= (self.allowed[:-1] != self.allowed[1:]) | by_region
        runs = Runs.split(apart, len(self))
        heads = runs.heads
        columns = (target[heads], self.start[heads], self.end[runs.tails], self.allowed[heads])
        rows = zip(runs, *(column.tolist() for column in columns), strict=True)
        pids = [known.pid for known in self.snapshot.targets]
        for (first, behind), index, start, end, allowed in rows:
            yield Run(self, first, behind, index, pids[index], start, end, allowed)

    def at(self, index: int) -> SnapshotRegion:
        """One candidate, for people; bytes touched and not observed are estimates for a part."""
        whole = self.snapshot[int(self.region[index])]
        start, end = int(self.start[index]), int(self.end[index])
        share = (end - start) / whole.size
        return replace(
            whole,
            start=start,
            end=end,
            touched_bytes=round(whole.touched_bytes * share),
            unobservable_bytes=round(whole.unobservable_bytes * share),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Candidates *first* to *behind* - 1: neighbours in one target, without a gap between them.

    A huge page may lie across the border of two regions, so an action is given runs of regions.
    `target` is the index in the snapshot's targets; made-up memory has a `pid` of 0. `allowed` says
    that a core filter allowed it.
    """

    candidates: Candidates
    first: int
    behind: int
    target: int
    pid: int
    start: int
    end: int
    allowed: bool

    def region(self) -> SnapshotRegion:
        """The first region."""
        return self.candidates.at(self.first)

    def count_before(self, address: int) -> int:
        """How many of its regions begin before an address."""
        starts = self.candidates.start[self.first : self.behind]
        return int(np.searchsorted(starts, address))


def matching(candidates: Candidates, bounds: Bounds) -> Candidates:
    """The candidates within closed bounds of size, access rate and age."""
    fits = _between(candidates.size, bounds.min_size, bounds.max_size)
    fits &= rate_fits(candidates.snapshot, bounds)[candidates.region]
    if bounds.max_rate is not None:
        # Memory that nobody has looked at may be accessed at any rate.
        fits &= ~candidates.is_unseen
    if bounds.min_age_ns is None:
        fits &= candidates.age >= bounds.min_age
    else:
        fits &= candidates.age_ns >= bounds.min_age_ns
    if bounds.max_age_ns is None:
        fits &= candidates.age <= bounds.max_age
    else:
        fits &= candidates.age_ns <= bounds.max_age_ns
    return candidates if fits.all() else candidates.take(fits)


def rate_fits(snapshot: Snapshot, bounds: Bounds) -> NDArray[np.bool_]:
    """Which regions of a snapshot have an access rate within closed bounds."""
    measured = MeasuredRates(
        snapshot.nr_accesses,
        snapshot.max_nr_accesses,
        snapshot.access_share,
        snapshot.sampling_ns,
    )
    fits = reached(bounds.min_rate, measured, operator.ge)
    if bounds.max_rate is not None:
        fits = fits & reached(bounds.max_rate, measured, operator.le)
    return fits


def _between(values: NDArray[np.int64], least: int, most: int) -> NDArray[np.bool_]:
    return (values >= least) & (values <= most)
