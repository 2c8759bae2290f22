"""Candidates: the regions that a scheme is about to act on, matched, filtered and cut."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from pydamon._act.memory import TargetMemory
from pydamon._model.errors import SchemeError
from pydamon._model.ranges import Cut, contains, cut_at
from pydamon._model.regions import PAGE_SIZE, Ranges
from pydamon._model.runs import Runs, expand, group_bounds, true_runs
from pydamon._model.schemes.matching import Bounds, Filter
from pydamon._model.shares import MeasuredRates, reached
from pydamon._model.snapshot import UNKNOWN, Snapshot, SnapshotRegion
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.pagemap import FILE, HUGE, PRESENT, SWAPPED
from pydamon._observe.targets.members import cgroup_of

__all__ = [
    "Candidates",
    "FilterDecision",
    "Pages",
    "Run",
    "Young",
    "check",
    "filtered",
    "matching",
    "of_size",
    "passing",
    "rate_fits",
]

Young = Callable[[TargetMemory, int, int], NDArray[np.bool_]]
"""For each page of a range of a process, whether it was accessed since its bit was cleared."""
Bits = NDArray[np.bool_]


def check(filters: Sequence[Filter], *, scans: bool) -> None:
    """Raise `SchemeError` for a filter that cannot work here."""
    for rule in filters:
        if rule.kind == "young" and not scans:
            raise SchemeError(
                "filters: young needs a probe that can look at single pages",
                hint="the ebpf probe can; `pydamon doctor` says why it does not work here",
            )
        if rule.kind == "active" and not os.access("/proc/kpageflags", os.R_OK):
            raise SchemeError("filters: active needs /proc/kpageflags", hint="run as root")


class FilterDecision:
    """The decisions of filters in turn: the first filter that concerns something decides."""

    def __init__(self, count: int) -> None:
        self.allowed = np.zeros(count, np.bool_)
        self.decided = np.zeros(count, np.bool_)

    def ask(self, rule: Filter, is_of_kind: Bits) -> None:
        """Let one filter decide about everything that it concerns."""
        concerned = (is_of_kind == rule.matching) & ~self.decided
        self.allowed |= concerned & rule.allow
        self.decided |= concerned

    def passes(self, default: bool) -> Bits:
        """Whether each is allowed; *default* stands for what no filter concerns."""
        return np.where(self.decided, self.allowed, default)


def filtered(candidates: Candidates, filters: Sequence[Filter]) -> Candidates:
    """The candidates that core filters do not reject, cut at the borders of address filters."""
    core = [rule for rule in filters if rule.is_core]
    if not core:
        return candidates
    borders = [_whole_pages(rule) for rule in core if rule.kind == "addr"]
    if borders:
        every_target = range(len(candidates.snapshot.targets))
        candidates = candidates.cut_at(dict.fromkeys(every_target, np.concatenate(borders)))
    decision = FilterDecision(len(candidates))
    for rule in core:
        if rule.kind == "addr":
            start, end = _whole_pages(rule)
            decision.ask(rule, (candidates.start >= start) & (candidates.end <= end))
        else:
            decision.ask(rule, candidates.target == rule.target)
    # Where filters of pages follow, they decide about the rest.
    passes = decision.passes(len(core) < len(filters) or not core[-1].allow)
    kept = candidates.take(passes)
    return replace(kept, allowed=(decision.allowed & decision.decided)[passes])


def _whole_pages(rule: Filter) -> NDArray[np.int64]:
    """The range of an address filter, with whole pages around it."""
    assert rule.start is not None
    assert rule.end is not None
    return np.array([rule.start // PAGE_SIZE, -(-rule.end // PAGE_SIZE)], np.int64) * PAGE_SIZE


def passing(filters: Sequence[Filter], pages: Pages) -> Ranges:
    """The parts of a range that the filters of pages let pass; there is at least one filter."""
    decision = FilterDecision(pages.count)
    for rule in filters:
        decision.ask(rule, pages.of_kind(rule))
        if decision.decided.all():
            break
    passes = decision.passes(not filters[-1].allow)
    return pages.start + true_runs(passes).astype(np.int64) * PAGE_SIZE


@dataclass(frozen=True, eq=False)
class Pages:
    """The pages of a range of a process, and what filters ask about them."""

    memory: TargetMemory
    start: int
    end: int
    young: Young

    @property
    def count(self) -> int:
        """How many there are."""
        return (self.end - self.start) // PAGE_SIZE

    def of_kind(self, rule: Filter) -> Bits:
        """For each page, whether it is of a filter's kind."""
        match rule.kind:
            case "memcg":
                inside = _is_cgroup(cgroup_of(self.memory.process.pid), rule.memcg_path or "/")
                return np.full(self.count, inside)
            case "young":
                return self.young(self.memory, self.start, self.start + self.count * PAGE_SIZE)
            case "active":
                return self.memory.pages.active(self.start, self.count)
            case "unmapped":
                return ~self._have(PRESENT)
            case "hugepage_size":
                most = HUGE_BYTES if rule.max_size_bytes is None else rule.max_size_bytes
                fits = rule.min_size_bytes <= HUGE_BYTES <= most
                return self._have(HUGE) & fits
        return self._anonymous()

    @cached_property
    def _flags(self) -> NDArray[np.int64]:
        """The flags of each page; 0 for a page that is not there."""
        runs = self.memory.pages.runs(np.array([[self.start, self.end]], np.int64))
        flags = np.zeros(self.count, np.int64)
        first = (runs.start - self.start) // PAGE_SIZE
        counts = (runs.end - runs.start) // PAGE_SIZE
        run, place = expand(counts)
        flags[first[run] + place] = runs.flags[run]
        return flags

    def _have(self, flags: int) -> Bits:
        """For each page, whether it has any of some flags."""
        has_flags: Bits = (self._flags & flags) != 0
        return has_flags

    def _anonymous(self) -> Bits:
        """For each page, whether it is not a file's; absent pages go by their mapping."""
        addresses = self.start + np.arange(self.count, dtype=np.int64) * PAGE_SIZE
        mappings = self.memory.mappings.mappings
        # The last entry stands for no mapping.
        is_file = np.array([mapping.name.startswith("/") for mapping in mappings] + [False])
        in_file = is_file[self.memory.mapping_at(addresses)]
        return np.where(self._have(PRESENT | SWAPPED), ~self._have(FILE), ~in_file)


def _is_cgroup(cgroup: str, path: str) -> bool:
    """Whether a cgroup is the one at a path."""
    return PurePath(cgroup) == PurePath("/" + path.strip("/"))


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
    candidates = of_size(candidates, bounds)
    fits = rate_fits(candidates.snapshot, bounds)[candidates.region]
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


def of_size(candidates: Candidates, bounds: Bounds) -> Candidates:
    """The candidates within closed bounds of size."""
    size = candidates.size
    fits = (size >= bounds.min_size) & (size <= bounds.max_size)
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
