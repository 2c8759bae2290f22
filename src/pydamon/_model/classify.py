"""What is known of the bytes of regions: hot, warm, cold, not looked at yet, or not observable.

Every figure of pydamon that stands for memory comes from here, so that all of them agree. What is
not in memory is in no class: a region counts as many bytes as are resident. Where nobody knows
those, it counts its size, and a target at most what is resident of it as a whole (RSS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOT_RATE", "UNKNOWN", "RegionClasses", "RegionFacts", "classify", "joined_classes"]

UNKNOWN = -1
"""In columns that say so: nothing is known of the region there, which is not the same as 0."""

HOT_RATE = 0.5
"""What was accessed of a region is hot from this access rate on, and warm below it."""

_Bytes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """What `classify` goes by: shape (regions,) each, but for the last.

    `rate` is 0 to 1; `age_ns` and `resident_bytes` may be `UNKNOWN`. `owner` says which part a
    region is of, a target of a snapshot; `rss_bytes`, of shape (parts,), is 0 where it is unknown.
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


@dataclass(frozen=True, slots=True)
class RegionClasses:
    """The bytes of each region by what is known of them: shape (regions,).

    `hot`, `warm`, `cold`, `unseen` and `unobservable` add up to `total`. What was accessed in the
    window is hot or warm, by the access rate of its region; cold is what was not, for `idle_ns`,
    which is `UNKNOWN` where nobody knows it. Nobody has looked at what is `unseen` yet, and nobody
    can tell of what is `unobservable`. `assumed` is the part of `total` that may not be resident.
    `repeated` counts in another target, too: `once` leaves it out.
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

    @property
    def accessed(self) -> _Bytes:
        """Hot and warm bytes."""
        return self.hot + self.warm

    def idle(self, at_least_ns: int) -> _Bytes:
        """Cold bytes that are known not to have been accessed for so long; for 0 all of them."""
        return np.where(self.idle_ns >= at_least_ns, self.cold, 0) if at_least_ns else self.cold

    def rows(self, rows: slice) -> RegionClasses:
        """Some of the regions."""
        return RegionClasses(*(getattr(self, field.name)[rows] for field in fields(self)))

    def over(self, targets: int) -> RegionClasses:
        """What sums over so many targets are made of: of several, `once`."""
        return self.once() if targets > 1 else self

    def once(self) -> RegionClasses:
        """The same without what counts in another target: for sums over targets.

        What is not observable goes first: accessed bits of what others have mapped, too, cannot be
        cleared for one target alone. Where that is so, what was not accessed of it is cold. The
        rest is spread evenly.
        """
        if not self.repeated.any():
            return self
        unobservable = np.maximum(self.unobservable - self.repeated, 0)
        left = self.repeated - (self.unobservable - unobservable)
        of_cold = np.where(self.unobservable > 0, np.minimum(left, self.cold), 0)
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
            total=total, cold=cold, repeated=np.zeros_like(total), idle_ns=self.idle_ns, **kept
        )

    @property
    def undated(self) -> _Bytes:
        """Cold bytes whose idle time is unknown."""
        return np.where(self.idle_ns == UNKNOWN, self.cold, 0)

    def ages_reached(self, ages_ns: _Bytes) -> NDArray[np.intp]:
        """How many of the sorted ages the cold bytes of each region have been idle for.

        An unknown idle time has reached an age of 0 only, for which all cold bytes count.
        """
        return np.searchsorted(ages_ns, np.maximum(self.idle_ns, 0), side="right")


def _share(amount: _Bytes, part: _Bytes, whole: _Bytes) -> _Bytes:
    """How much of an amount is in a part of the whole, if that is spread evenly; rounded up."""
    # By real numbers: the product of two amounts of bytes may exceed 64 bits.
    share = np.ceil(amount * (part / np.maximum(whole, 1)) - 1e-6)
    return np.minimum(share.astype(np.int64), amount)


def joined_classes(several: Sequence[RegionClasses]) -> RegionClasses:
    """The regions of all of them, one after the other."""
    return RegionClasses(
        *(
            np.concatenate([getattr(one, field.name) for one in several])
            for field in fields(RegionClasses)
        )
    )


def classify(facts: RegionFacts) -> RegionClasses:
    """Tell the bytes of regions apart."""
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
        # What is not resident is most likely cold, and least likely in use.
        for amount in (accessed, unobservable, unseen, cold):
            left -= _cut(amount, bounded, facts.owner, left)
        total = accessed + unobservable + unseen + cold
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
        # What was not touched of a region that was: since the last access to it, at least.
        np.where(facts.rate > 0, 0, facts.age_ns),
    )


def _cut(
    amount: _Bytes, which: NDArray[np.bool_], owner: NDArray[np.integer], left: _Bytes
) -> _Bytes:
    """Cut the amounts of a part down to what is *left* of it, in place; their sums by part."""
    sums = _sums(owner, np.where(which, amount, 0), len(left))
    excess = which & (sums > left)[owner]
    share = np.minimum(left / np.maximum(sums, 1), 1.0)[owner]
    amount[excess] = np.minimum((amount * share).astype(np.int64), amount)[excess]
    return _sums(owner, np.where(which, amount, 0), len(left))


def _sums(owner: NDArray[np.integer], amount: _Bytes, parts: int) -> _Bytes:
    sums = np.zeros(parts, np.int64)
    np.add.at(sums, owner, amount)
    return sums
