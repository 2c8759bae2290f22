"""Classes of the bytes of regions: hot, warm, cold, unseen (not looked at yet), unobservable.

Every figure of pydamon that stands for memory comes from here, so that all figures agree. A region
counts its resident bytes. Where those are not known, a region counts its size, and the regions of
a target together at most the target's RSS. Idle times are those of pages where there are any, and
otherwise those of regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pydamon._model.cold_ages import ColdAges, ColdParts, Looked, cold_ages_of, joined_ages

__all__ = [
    "HOT_RATE",
    "UNKNOWN",
    "RegionClasses",
    "RegionFacts",
    "classify",
    "cold_parts",
    "heat_class",
    "joined_classes",
    "oldest_bucket",
    "resident_bytes",
]

UNKNOWN = -1
"""Marks figures that are not known, which is not the same as 0."""

HOT_RATE = 0.5
"""The accessed bytes of a region are hot from this access rate on, and warm below it."""

_Bytes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """The columns that `classify` needs: shape (regions,) each, but for the last two.

    `rate` is 0 to 1; `age_ns` and `resident_bytes` may be `UNKNOWN`. `owner` numbers the part that
    a region belongs to (one target of one snapshot); `rss_bytes`, of shape (parts,), is 0 where it
    is not known. `looked` has the ages of pages, where there are any.
    """

    size_bytes: _Bytes
    rate: NDArray[np.float64]
    age_ns: _Bytes
    touched_bytes: _Bytes
    unobservable_bytes: _Bytes
    resident_bytes: _Bytes
    unseen_bytes: _Bytes
    repeated_bytes: _Bytes
    owner: NDArray[np.integer]
    rss_bytes: _Bytes
    looked: Looked | None = None


@dataclass(frozen=True, slots=True)
class RegionClasses:
    """The classified bytes of each region: shape (regions,).

    `hot`, `warm`, `cold`, `unseen` and `unobservable` add up to `total`. Bytes that were accessed
    in the window are hot or warm, by the access rate of their region. Cold bytes have not been
    accessed for `idle_ns` (`UNKNOWN` where that is not known), or for as long as the ages of their
    pages say, where those were looked at: see `idle`. Nobody has looked at `unseen` bytes yet, and
    the probe cannot watch `unobservable` bytes. `assumed` is the part of `total` that may not be
    resident. `repeated` counts in another target, too; `once` leaves it out.
    """

    total: _Bytes
    hot: _Bytes
    warm: _Bytes
    cold: _Bytes
    unseen: _Bytes
    unobservable: _Bytes
    assumed: _Bytes
    repeated: _Bytes
    idle_ns: _Bytes
    _ages: ColdAges | None = None

    @property
    def accessed(self) -> _Bytes:
        """Hot and warm bytes."""
        return self.hot + self.warm

    @property
    def unseen_share(self) -> NDArray[np.float64]:
        """The share of each region that no probe has looked at yet, from 0 to 1."""
        share: NDArray[np.float64] = self.unseen / np.maximum(self.total, 1)
        return share

    @property
    def mostly_unseen(self) -> NDArray[np.bool_]:
        """Which regions have no access rate: no probe has looked at more than half of them."""
        return 2 * self.unseen > self.total

    @property
    def is_looked(self) -> NDArray[np.bool_]:
        """Which regions are of a target whose pages have ages in this window."""
        if self._ages is None:
            return np.zeros(len(self.total), np.bool_)
        return self._ages.is_looked

    def idle(self, at_least_ns: int) -> _Bytes:
        """Cold bytes that have not been accessed for so long; for 0 all cold bytes."""
        if not at_least_ns:
            return self.cold
        if self._ages is None:
            return np.where(self.idle_ns >= at_least_ns, self.cold, 0)
        parts = cold_parts(self, np.array([at_least_ns]))
        is_idle = parts.reached > 0
        idle = np.bincount(parts.region[is_idle], parts.size_bytes[is_idle], len(self.total))
        return idle.astype(np.int64)

    def idle_times(self) -> tuple[_Bytes, _Bytes]:
        """Idle times in ns, and how many cold bytes have each; without those of unknown ones.

        Of pages that is the least idle time of their bucket.
        """
        known = self.idle_ns != UNKNOWN
        if self._ages is None:
            return self.idle_ns[known], self.cold[known]
        is_aged = self._ages.is_aged
        known |= is_aged
        left = self.cold - self._ages.sums
        idle_ns = np.where(is_aged, 0, self.idle_ns)
        return (
            np.append(idle_ns[known], self._ages.idle_ns),
            np.append(left[known], self._ages.size_bytes),
        )

    def by_idle_time(self, ages_ns: Sequence[int]) -> _Bytes:
        """Accessed and cold bytes by idle time: shape (regions, ages + 1).

        Column i has the bytes that have been idle for i of the sorted ages. Accessed bytes, and
        cold ones of an unknown idle time, are in the first column (for ages above 0).
        """
        columns, regions = len(ages_ns) + 1, len(self.total)
        parts = cold_parts(self, np.array(ages_ns, np.int64))
        cells = np.bincount(
            parts.region * columns + parts.reached, parts.size_bytes, regions * columns
        )
        table = cells.astype(np.int64).reshape(regions, columns)
        table[:, 0] += self.accessed
        return table

    def rows(self, rows: slice) -> RegionClasses:
        """The classes of some of the regions."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return RegionClasses(**columns, _ages=self._ages and self._ages.rows(rows))

    def over(self, targets: int) -> RegionClasses:
        """The classes to sum up over so many *targets*: over several, `once`."""
        return self.once() if targets > 1 else self

    def once(self) -> RegionClasses:
        """The same without the repeated bytes, which count in another target.

        Unobservable bytes are left out first: the accessed bits of shared memory cannot be cleared
        for one target alone. Cold ones are next, the longest idle first: a shared page counts in
        a target that uses it. The rest is left out of all classes evenly.
        """
        if not self.repeated.any():
            return self
        unobservable = np.maximum(self.unobservable - self.repeated, 0)
        left = self.repeated - (self.unobservable - unobservable)
        of_cold = np.minimum(left, self.cold)
        left = left - of_cold
        of = self.total - self.unobservable - of_cold
        kept = {
            name: getattr(self, name) - _share(getattr(self, name), left, of)
            for name in ("hot", "warm", "unseen")
        }
        kept["unobservable"] = unobservable
        kept["assumed"] = self.assumed - _share(self.assumed, self.repeated, self.total)
        total = self.total - self.repeated
        others = (kept[name] for name in ("hot", "warm", "unseen", "unobservable"))
        cold = np.maximum(total - sum(others), 0)
        return RegionClasses(
            total=total,
            cold=cold,
            repeated=np.zeros_like(total),
            idle_ns=self.idle_ns,
            _ages=self._ages and self._ages.within(self.cold, cold),
            **kept,
        )

    @property
    def undated(self) -> _Bytes:
        """Cold bytes whose idle time is unknown."""
        is_undated = self.idle_ns == UNKNOWN
        if self._ages is not None:
            is_undated &= ~self._ages.is_aged
        return np.where(is_undated, self.cold, 0)


def cold_parts(classes: RegionClasses, ages_ns: _Bytes) -> ColdParts:
    """The cold bytes by how many of the sorted ages they have been idle for.

    Bytes of an unknown idle time have reached an age of 0 only, for which all cold bytes count.
    """
    regions = np.arange(len(classes.total))
    reached = np.searchsorted(ages_ns, np.maximum(classes.idle_ns, 0), side="right")
    ages = classes._ages
    if ages is None:
        return ColdParts(regions, reached, classes.cold)
    # Cold bytes that are younger than all ages of pages: those of the last few seconds.
    reached[ages.is_aged] = np.searchsorted(ages_ns, 0, side="right")
    parts = ages.parts(ages_ns)
    return ColdParts(
        np.append(regions, parts.region),
        np.append(reached, parts.reached),
        np.append(classes.cold - ages.sums, parts.size_bytes),
    )


def oldest_bucket(classes: RegionClasses) -> int:
    """The bucket of the longest idle time of cold pages; 0 if no pages have ages."""
    return 0 if classes._ages is None else int(classes._ages.bucket.max(initial=0))


_COLUMNS = tuple(field.name for field in fields(RegionClasses) if field.name != "_ages")


def _share(amount: _Bytes, part: _Bytes, whole: _Bytes) -> _Bytes:
    """How much of an amount is in a part of the whole, if it is spread evenly; rounded up."""
    # Real numbers: the product of two amounts of bytes may exceed 64 bits.
    share = np.ceil(amount * (part / np.maximum(whole, 1)) - 1e-6)
    return np.minimum(share.astype(np.int64), amount)


def joined_classes(several: Sequence[RegionClasses]) -> RegionClasses:
    """The regions of several parts, one part after the other."""
    columns = {
        name: np.concatenate([getattr(classes, name) for classes in several]) for name in _COLUMNS
    }
    ages = joined_ages([(classes._ages, len(classes.total)) for classes in several])
    return RegionClasses(**columns, _ages=ages)


def classify(facts: RegionFacts) -> RegionClasses:
    """Classify the bytes of regions."""
    known = facts.resident_bytes != UNKNOWN
    total = np.where(known, facts.resident_bytes, facts.size_bytes)
    unobservable = np.minimum(facts.unobservable_bytes, total)
    unseen = np.minimum(facts.unseen_bytes, total - unobservable)
    accessed = np.minimum(facts.touched_bytes, total - unobservable - unseen)
    cold = total - unobservable - unseen - accessed
    bounded = np.zeros(len(total), np.bool_)
    if not known.all() and facts.rss_bytes.any():
        parts = len(facts.rss_bytes)
        left = np.maximum(facts.rss_bytes - _sums(facts.owner, np.where(known, total, 0), parts), 0)
        bounded = ~known & (facts.rss_bytes > 0)[facts.owner]
        # Bytes that are not resident are most likely cold, and least likely in use.
        for amount in (accessed, unobservable, unseen, cold):
            left -= _cut(amount, bounded, facts.owner, left)
        total = accessed + unobservable + unseen + cold
    if facts.looked is not None:
        # Of these pages it is known how long they are idle: the working set stays the same.
        told = np.maximum(unobservable - facts.looked.of_no_age(total), 0)
        unobservable, cold = unobservable - told, cold + told
    hot = np.where(facts.rate >= HOT_RATE, accessed, 0)
    return RegionClasses(
        total,
        hot,
        accessed - hot,
        cold,
        unseen,
        unobservable,
        np.where(known | bounded, 0, total),
        np.minimum(facts.repeated_bytes, np.where(known, total, 0)),
        # In a region with accesses, other bytes are idle since the last of these at least.
        np.where(facts.rate > 0, 0, facts.age_ns),
        facts.looked and cold_ages_of(facts.looked, facts.owner, cold, accessed + cold),
    )


def heat_class(rate: float) -> Literal["hot", "warm", "cold"]:
    """The class of memory that was accessed at this rate (0 to 1), or not at all."""
    if rate >= HOT_RATE:
        return "hot"
    return "warm" if rate > 0 else "cold"


def resident_bytes(
    classes: RegionClasses, owner: NDArray[np.integer], rss_bytes: _Bytes, *, once: bool = False
) -> _Bytes:
    """How much of each part is in memory: shape (parts,), as *rss_bytes*.

    That is its RSS or, where that is unknown, what its regions are known to have. *owner* has one
    entry a region. With *once*, memory that parts share counts in one of them only.
    """
    parts = len(rss_bytes)
    repeated = _sums(owner, classes.repeated, parts) if once else np.zeros(parts, np.int64)
    counted = classes.once() if once else classes
    known = _sums(owner, counted.total - counted.assumed, parts)
    return np.where(rss_bytes > 0, np.maximum(rss_bytes - repeated, 0), known)


def _cut(
    amount: _Bytes, which: NDArray[np.bool_], owner: NDArray[np.integer], left: _Bytes
) -> _Bytes:
    """Cut the amounts of each part down to what is *left* of it, in place; their sums by part."""
    sums = _sums(owner, np.where(which, amount, 0), len(left))
    excess = which & (sums > left)[owner]
    share = np.minimum(left / np.maximum(sums, 1), 1.0)[owner]
    amount[excess] = np.minimum((amount * share).astype(np.int64), amount)[excess]
    return _sums(owner, np.where(which, amount, 0), len(left))


def _sums(owner: NDArray[np.integer], amount: _Bytes, parts: int) -> _Bytes:
    sums = np.zeros(parts, np.int64)
    np.add.at(sums, owner, amount)
    return sums
