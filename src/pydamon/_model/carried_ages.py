"""Ages of pages in snapshots between two looks: those of the last look hold until the next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_ages import BUCKETS, PageAges
from pydamon._model.ranges import Ranges, order_keys, overlaps
from pydamon._model.runs import expand, group_bounds
from pydamon._model.snapshot import Snapshot

__all__ = ["CarriedAges", "holds_until_ns", "with_ages_of"]

_LEAST_NS = 60 * 10**9
_DISTANCES = 3


def holds_until_ns(looked_ns: int, since_ns: int) -> int:
    """Until when the ages of a look hold: a minute, or three times the distance of the last looks.

    After that, regions say more than old ages of pages.
    """
    return looked_ns + max(_LEAST_NS, _DISTANCES * (looked_ns - since_ns))


class CarriedAges:
    """Gives snapshots without ages those of the last look, for as long as these hold."""

    def __init__(self) -> None:
        self._looked: Snapshot | None = None

    def add(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot, with ages if there are any; those with a look must come in their order."""
        if snapshot.page_ages is not None:
            self._looked = snapshot
            return snapshot
        return snapshot if self._looked is None else with_ages_of(snapshot, self._looked)


def with_ages_of(snapshot: Snapshot, looked: Snapshot) -> Snapshot:
    """The snapshot with the ages of an earlier one, which has some, if these still hold.

    They are for targets that have no ages in the snapshot. The pages of each age are spread evenly
    over the region that they were in. Nothing has returned again since then.
    """
    ages = looked.page_ages
    assert ages is not None
    if not len(snapshot) or snapshot.end_ns > holds_until_ns(ages.looked_ns, ages.since_ns):
        return snapshot
    cell, amount = _carried(snapshot, looked, ages)
    carried = PageAges(
        cell // BUCKETS,
        cell % BUCKETS,
        amount,
        np.zeros(len(cell), np.int64),
        looked_ns=ages.looked_ns,
        since_ns=ages.looked_ns,
        followed_share=ages.followed_share,
    )
    return replace(snapshot, page_ages=_joined(snapshot.page_ages, carried))


def _carried(
    snapshot: Snapshot, looked: Snapshot, ages: PageAges
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bytes that a snapshot has of the ages of another one: cells of region and bucket."""
    aged = np.zeros(len(snapshot.targets), np.bool_)
    if snapshot.page_ages is not None:
        aged[snapshot.target[snapshot.page_ages.region]] = True
    number = {target.key: index for index, target in enumerate(snapshot.targets)}
    renumbered = np.array([number.get(target.key, -1) for target in looked.targets], np.int64)
    renumbered[(renumbered >= 0) & aged[renumbered]] = -1
    kept = np.flatnonzero(renumbered[looked.target] >= 0)
    kept = kept[np.argsort(renumbered[looked.target[kept]], kind="stable")]
    before = _keys(renumbered[looked.target[kept]], looked.start[kept], looked.end[kept])
    pairs = overlaps(_keys(snapshot.target, snapshot.start, snapshot.end), before)
    share = pairs.size / np.maximum(1, before[pairs.other, 1] - before[pairs.other, 0])
    bounds = group_bounds(ages.region, len(looked) + 1)
    first, beyond = bounds[kept[pairs.other]], bounds[kept[pairs.other] + 1]
    pair, place = expand(beyond - first)
    entry = first[pair] + place
    cells = pairs.row[pair] * BUCKETS + ages.bucket[entry]
    cell, place = np.unique(cells, return_inverse=True)
    amount = np.bincount(place, ages.resident_bytes[entry] * share[pair], len(cell))
    return cell, np.rint(amount).astype(np.int64)


def _joined(ages: PageAges | None, others: PageAges) -> PageAges:
    """The ages of a snapshot, and those of other regions of it."""
    if ages is None:
        return others
    order = np.lexsort(
        (np.append(ages.bucket, others.bucket), np.append(ages.region, others.region))
    )
    return replace(
        ages,
        region=np.append(ages.region, others.region)[order],
        bucket=np.append(ages.bucket, others.bucket)[order],
        resident_bytes=np.append(ages.resident_bytes, others.resident_bytes)[order],
        returned_bytes=np.append(ages.returned_bytes, others.returned_bytes)[order],
        followed_share=min(ages.followed_share, others.followed_share),
    )


def _keys(target: NDArray[np.integer], start: NDArray[np.int64], end: NDArray[np.int64]) -> Ranges:
    return np.stack([order_keys(target, start), order_keys(target, end)], axis=1)
