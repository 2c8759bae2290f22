"""Sums over looks at the ages of pages: how much was idle, and how much of it came back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._model.page_ages import BUCKETS, IDLE_EDGES_NS, AgeSums
from pydamon._model.snapshot import Snapshot

__all__ = ["LookSums", "Looks", "Slots", "TargetSums"]

_BATCH = 2048
_MOST_SLOTS = 1024
_FIRST_SLOT_NS = 3600 * 10**9 // 2**12
"""Slots become twice as long again and again: an hour is a number of them all the same."""
_LATEST_NS = 2**63 - 1
_EDGES = len(IDLE_EDGES_NS)


@dataclass(frozen=True)
class Looks:
    """Looks at all pages of targets: an entry for each target of each look.

    `target` numbers the targets. `resident_bytes` and `returned_bytes` are histograms of shape
    (2, looks, `BUCKETS`): of the target itself, and for sums over targets, where memory that
    targets share counts once.
    """

    target: NDArray[np.int64]
    looked_ns: NDArray[np.int64]
    since_ns: NDArray[np.int64]
    count: NDArray[np.int64]
    followed_share: NDArray[np.float64]
    resident_bytes: NDArray[np.int64]
    returned_bytes: NDArray[np.int64]

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot, numbers: NDArray[np.integer]) -> Self | None:
        """The looks of a snapshot, if it has any; *numbers* are those of its targets."""
        ages = snapshot.page_ages
        if ages is None:
            return None
        owner = snapshot.target.astype(np.int64)
        once = _counted_once(snapshot.repeated_bytes, snapshot.resident_bytes)
        resident, returned = _histograms(ages, owner, len(numbers), once)
        has_ages = resident[0].any(axis=1)
        times = (ages.looked_ns, ages.since_ns, ages.looks)
        looked_ns, since_ns, count = (np.full(len(numbers), value) for value in times)
        share = np.full(len(numbers), float(ages.followed_share))
        return cls(
            numbers.astype(np.int64), looked_ns, since_ns, count, share, resident, returned
        ).pick(has_ages)

    @classmethod
    def of_chunk(cls, chunk: Recording, numbers: NDArray[np.integer]) -> Iterator[Self]:
        """The looks of a chunk, some at a time; *numbers* are those of `per_target` values."""
        looked_ns = chunk.column("looked_ns")
        if not looked_ns.any():
            return
        owner = np.repeat(np.arange(len(numbers)), np.diff(chunk.target_offsets))
        latest_ns = np.zeros(len(numbers), np.int64)
        np.maximum.at(latest_ns, owner, looked_ns)
        rows = (looked_ns > 0) & (looked_ns == latest_ns[owner])
        since_ns = latest_ns.copy()
        np.minimum.at(since_ns, owner[rows], chunk.column("looked_since_ns")[rows])
        count = np.ones(len(numbers), np.int64)
        np.maximum.at(count, owner[rows], chunk.column("looks")[rows])
        share = np.ones(len(numbers))
        np.minimum.at(share, owner[rows], chunk.column("followed_share")[rows].astype(float))
        once = _counted_once(chunk.column("repeated_bytes"), chunk.column("resident_bytes"))
        ages = chunk.page_ages
        looked = np.flatnonzero(latest_ns)
        for first in range(0, len(looked), _BATCH):
            some = looked[first : first + _BATCH]
            group = np.full(len(numbers), -1)
            group[some] = np.arange(len(some))
            of_row = np.where(rows, group[owner], -1)
            resident, returned = _histograms(ages, of_row, len(some), once)
            has_ages = resident[0].any(axis=1)
            yield cls(
                numbers[some].astype(np.int64),
                latest_ns[some],
                since_ns[some],
                count[some],
                share[some],
                resident,
                returned,
            ).pick(has_ages)

    def __len__(self) -> int:
        return len(self.target)

    def pick(self, looks: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Some of the looks, or all in another order."""
        return replace(
            self,
            target=self.target[looks],
            looked_ns=self.looked_ns[looks],
            since_ns=self.since_ns[looks],
            count=self.count[looks],
            followed_share=self.followed_share[looks],
            resident_bytes=self.resident_bytes[:, looks],
            returned_bytes=self.returned_bytes[:, looks],
        )


def _counted_once(
    repeated_bytes: NDArray[np.int64], resident_bytes: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Which share of each region counts in sums over targets; `None` if all of it does."""
    if not repeated_bytes.any():
        return None
    repeated = repeated_bytes / np.maximum(resident_bytes, 1)
    share: NDArray[np.float64] = np.clip(1 - repeated, 0, 1)
    return share


def _histograms(
    ages: AgeSums, group: NDArray[np.int64], groups: int, once: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Resident and returned bytes of groups of regions: shape (2, groups, `BUCKETS`) each."""
    own = ages.histograms(group, groups)
    for_sums = own
    if once is not None:
        for_sums = ages.once(once).histograms(group, groups)
    resident, returned = (np.stack(pair) for pair in zip(own, for_sums, strict=True))
    return resident, returned


class TargetSums(NamedTuple):
    """Sums over the looks at one target: times are weights.

    Arrays have an entry for each of `IDLE_EDGES_NS`, over the looks at which the pages had been
    watched for at least that time; `..._bytes_ns` are bytes times nanoseconds.
    """

    time_ns: float
    resident_bytes_ns: float
    followed_ns: float
    looks: int
    longest_ns: int
    told_ns: NDArray[np.float64]
    told_resident_bytes_ns: NDArray[np.float64]
    idle_bytes_ns: NDArray[np.float64]
    returned_bytes: NDArray[np.float64]


class Slots(NamedTuple):
    """Sums over all targets, by time: `begin_ns` of each slot of `slot_ns`; see `TargetSums`."""

    slot_ns: int
    begin_ns: NDArray[np.int64]
    time_ns: NDArray[np.float64]
    resident_bytes_ns: NDArray[np.float64]
    idle_bytes_ns: NDArray[np.float64]
    returned_bytes: NDArray[np.float64]


_TIME, _TOLD_RESIDENT, _IDLE, _RETURNED = 0, slice(1, 3), slice(3, 5), slice(5, 7)
_ROWS = 7
"""Rows of the sums by edge: a time, and three amounts of the target itself and for sums."""


class LookSums:
    """Adds up looks, which come in the order of time, in memory that does not grow with time."""

    def __init__(self) -> None:
        self.first_ns = _LATEST_NS
        self.watched_ns = 0
        """The time between looks, where those of several targets at one time count once."""
        self._covered_ns = 0
        self._first_ns = np.zeros(0, np.int64)
        self._last_ns = np.zeros(0, np.int64)
        self._whole = np.zeros((0, 4))
        """Time, resident bytes x time of the target and for sums, followed share x time."""
        self._looks = np.zeros(0, np.int64)
        self._squares_ns2 = 0.0
        self._by_edge = np.zeros((0, _ROWS, _EDGES))
        self._slot_ns = _FIRST_SLOT_NS
        self._slots: dict[int, NDArray[np.float64]] = {}
        """Of each slot: idle and returned bytes by edge, time, and resident bytes."""

    @property
    def looks(self) -> int:
        """The number of looks, each target by itself."""
        return int(self._looks.sum())

    @property
    def distance_ns(self) -> int:
        """The time between two looks, in the mean over time: long ones are most of the time."""
        return round(self._squares_ns2 / max(1.0, float(self._whole[:, 0].sum())))

    def add(self, looks: Looks) -> None:
        """Add looks, which are not before the ones that were added."""
        looks = self._new(looks)
        if not len(looks):
            return
        target = looks.target
        np.minimum.at(self._first_ns, target, looks.looked_ns)
        np.maximum.at(self._last_ns, target, looks.looked_ns)
        self.first_ns = min(self.first_ns, int(looks.looked_ns[0]))
        span_ns = np.maximum(looks.looked_ns - looks.since_ns, 0).astype(float)
        resident = looks.resident_bytes.sum(axis=2) * span_ns
        whole = np.stack([span_ns, *resident, looks.followed_share * span_ns], axis=1)
        np.add.at(self._whole, target, whole)
        self._squares_ns2 += float((span_ns**2 / np.maximum(looks.count, 1)).sum())
        np.add.at(self._looks, target, np.where(span_ns > 0, looks.count, 0))
        idle = _beyond_edges(looks.resident_bytes) * span_ns[:, None]
        returned = _beyond_edges(looks.returned_bytes)
        told = (looks.looked_ns - self._first_ns[target])[:, None] >= IDLE_EDGES_NS
        rows = np.concatenate(
            [
                np.broadcast_to(span_ns[:, None], told.shape)[None],
                np.broadcast_to(resident[:, :, None], idle.shape),
                idle,
                returned,
            ]
        )
        rows = np.where(told, rows, 0.0).swapaxes(0, 1)
        np.add.at(self._by_edge, target, rows)
        self._add_slots(looks, rows[:, [_IDLE.stop - 1, _RETURNED.stop - 1]], resident[1])

    def _new(self, looks: Looks) -> Looks:
        """Looks in the order of time, without those that were added already."""
        most = int(looks.target.max(initial=-1)) + 1
        if most > len(self._first_ns):
            self._grow(max(most, 2 * len(self._first_ns)))
        _, first = np.unique(np.stack([looks.looked_ns, looks.target]), axis=1, return_index=True)
        looks = looks.pick(first)
        return looks.pick(looks.looked_ns > self._last_ns[looks.target])

    def _grow(self, targets: int) -> None:
        added = targets - len(self._first_ns)
        self._first_ns = np.append(self._first_ns, np.full(added, _LATEST_NS))
        self._last_ns = np.append(self._last_ns, np.zeros(added, np.int64))
        self._looks = np.append(self._looks, np.zeros(added, np.int64))
        self._whole = np.concatenate([self._whole, np.zeros((added, 4))])
        self._by_edge = np.concatenate([self._by_edge, np.zeros((added, _ROWS, _EDGES))])

    def _add_slots(
        self, looks: Looks, rows: NDArray[np.float64], resident: NDArray[np.float64]
    ) -> None:
        before_ns = np.maximum(np.append(self._covered_ns, looks.looked_ns[:-1]), looks.since_ns)
        added_ns = np.maximum(looks.looked_ns - np.maximum(before_ns, self._covered_ns), 0)
        self._covered_ns = max(self._covered_ns, int(looks.looked_ns[-1]))
        self.watched_ns += int(added_ns.sum())
        sums = np.concatenate(
            [rows.reshape(len(looks), -1), added_ns[:, None], resident[:, None]], axis=1
        )
        numbers, place = np.unique(looks.looked_ns // self._slot_ns, return_inverse=True)
        nothing = np.zeros(sums.shape[1])
        slots = np.stack([self._slots.get(number, nothing) for number in numbers.tolist()])
        np.add.at(slots, place.ravel(), sums)
        self._slots.update(zip(numbers.tolist(), slots, strict=True))
        while len(self._slots) > _MOST_SLOTS:
            self._join_slots()

    def _join_slots(self) -> None:
        """Make slots twice as long."""
        joined: dict[int, NDArray[np.float64]] = {}
        for number, sums in self._slots.items():
            joined[number // 2] = joined.get(number // 2, 0.0) + sums
        self._slots = joined
        self._slot_ns *= 2

    def of_target(self, number: int, *, for_sums: bool = False) -> TargetSums:
        """The sums of one target: of itself, or for sums over targets."""
        if number >= len(self._first_ns):  # nobody looked at its pages
            self._grow(number + 1)
        which = int(for_sums)
        time_ns, *resident, followed_ns = self._whole[number].tolist()
        by_edge = self._by_edge[number]
        return TargetSums(
            time_ns,
            resident[which],
            followed_ns,
            int(self._looks[number]),
            max(0, int(self._last_ns[number]) - int(self._first_ns[number])),
            by_edge[_TIME],
            by_edge[_TOLD_RESIDENT][which],
            by_edge[_IDLE][which],
            by_edge[_RETURNED][which],
        )

    def slots(self) -> Slots:
        """The sums by time."""
        numbers = sorted(self._slots)
        sums = np.array([self._slots[number] for number in numbers]).reshape(-1, 2 * _EDGES + 2)
        return Slots(
            self._slot_ns,
            np.array(numbers, np.int64) * self._slot_ns,
            sums[:, -2],
            sums[:, -1],
            sums[:, :_EDGES],
            sums[:, _EDGES:-2],
        )


def _beyond_edges(histograms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bytes at or above each of `IDLE_EDGES_NS`: the last axis gets shorter by one."""
    assert histograms.shape[-1] == BUCKETS
    beyond: NDArray[np.float64] = histograms[..., :0:-1].cumsum(axis=-1)[..., ::-1].astype(float)
    return beyond
