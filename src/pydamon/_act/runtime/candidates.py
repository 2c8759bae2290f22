"""The regions that a scheme is about to act on: matched, filtered, cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.ranges import PAGE_SIZE, Cut, cut_at
from pydamon._model.schemes.filters import Filter
from pydamon._model.schemes.pattern import UNBOUNDED, Bounds
from pydamon._model.snapshot import UNKNOWN, Snapshot, SnapshotRegion

__all__ = ["Candidates", "FilterDecision", "filtered", "matching"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Some regions of a snapshot, or parts of them, sorted by target and address.

    `region` is the index of the snapshot's region that each is (a part of); the other columns
    are those of `Snapshot`. `allowed` says that a core filter allowed it: no other is asked.
    """

    snapshot: Snapshot
    region: NDArray[np.intp]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    allowed: NDArray[np.bool_]

    @classmethod
    def all_of(cls, snapshot: Snapshot) -> Candidates:
        """Every region."""
        every = np.arange(len(snapshot))
        return cls(snapshot, every, snapshot.start, snapshot.end, np.zeros(len(every), np.bool_))

    def __len__(self) -> int:
        return len(self.region)

    @property
    def target(self) -> NDArray[np.int32]:
        """Index in the snapshot's targets."""
        return self.snapshot.target[self.region]

    @property
    def nr_accesses(self) -> NDArray[np.int64]:
        """Samples that found an access."""
        return self.snapshot.nr_accesses[self.region]

    @property
    def age(self) -> NDArray[np.int64]:
        """Aggregations for which that has held."""
        return self.snapshot.age[self.region]

    @property
    def age_ns(self) -> NDArray[np.int64]:
        """The same as a time."""
        age_ns = self.snapshot.age_ns[self.region]
        return np.where(age_ns == UNKNOWN, self.age * self.snapshot.window_ns, age_ns)

    @property
    def is_unseen(self) -> NDArray[np.bool_]:
        """Whether nobody has looked yet at most of what is in memory."""
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
        """Bytes of all together."""
        return int(self.size.sum())

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Candidates:
        """Those that *index* picks."""
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

    def heads(self) -> NDArray[np.intp]:
        """Where runs begin of parts that follow each other without a gap, in one target."""
        apart = (self.end[:-1] != self.start[1:]) | (self.target[:-1] != self.target[1:])
        apart |= self.allowed[:-1] != self.allowed[1:]
        return np.flatnonzero(np.append(True, apart)[: len(self)])

    def at(self, index: int) -> SnapshotRegion:
        """One of them, for people; the bytes that were touched or not observed are estimates."""
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


def matching(chosen: Candidates, bounds: Bounds) -> Candidates:
    """The regions within closed bounds of size, access rate and age."""
    size, rate, age, age_ns = chosen.size, chosen.nr_accesses, chosen.age, chosen.age_ns
    fits = (size >= bounds.min_size) & (size <= bounds.max_size)
    fits &= (rate >= bounds.min_nr_accesses) & (rate <= bounds.max_nr_accesses)
    if bounds.max_nr_accesses < UNBOUNDED:
        # What nobody has looked at may be accessed at any rate.
        fits &= ~chosen.is_unseen
    if bounds.min_age_ns is None:
        fits &= age >= bounds.min_age
    else:
        fits &= age_ns >= bounds.min_age_ns
    if bounds.max_age_ns is None:
        fits &= age <= bounds.max_age
    else:
        fits &= age_ns <= bounds.max_age_ns
    return chosen if fits.all() else chosen.take(fits)


class FilterDecision:
    """What filters say about things in turn: the first that has a say decides."""

    def __init__(self, count: int) -> None:
        self.allowed = np.zeros(count, np.bool_)
        self.decided = np.zeros(count, np.bool_)

    def ask(self, rule: Filter, is_of_kind: NDArray[np.bool_]) -> None:
        """Let one filter decide about what it is for."""
        concerned = (is_of_kind == rule.matching) & ~self.decided
        self.allowed |= concerned & rule.allow
        self.decided |= concerned

    def passes(self, default: bool) -> NDArray[np.bool_]:
        """What is allowed, with a default for what no filter had a say about."""
        return np.where(self.decided, self.allowed, default)


def filtered(chosen: Candidates, filters: Sequence[Filter]) -> Candidates:
    """What the filters that go by regions do not reject; regions on a border are cut there."""
    core = [rule for rule in filters if rule.is_core]
    if not core:
        return chosen
    addresses = [_pages(rule) for rule in core if rule.kind == "addr"]
    if addresses:
        borders = np.concatenate(addresses)
        chosen = chosen.cut_at(dict.fromkeys(range(len(chosen.snapshot.targets)), borders))
    verdict = FilterDecision(len(chosen))
    for rule in core:
        if rule.kind == "addr":
            start, end = _pages(rule)
            verdict.ask(rule, (chosen.start >= start) & (chosen.end <= end))
        else:
            verdict.ask(rule, chosen.target == rule.target)
    # Where filters of pages follow, they decide about what is left.
    default = len(core) < len(filters) or not core[-1].allow
    kept = chosen.take(verdict.passes(default))
    explicit = (verdict.allowed & verdict.decided)[verdict.passes(default)]
    return Candidates(kept.snapshot, kept.region, kept.start, kept.end, explicit)


def _pages(rule: Filter) -> NDArray[np.int64]:
    """Whole pages around an address range."""
    assert rule.start is not None
    assert rule.end is not None
    return np.array([rule.start // PAGE_SIZE, -(-rule.end // PAGE_SIZE)], np.int64) * PAGE_SIZE
