"""Resident memory by the time since its last use: the part of a frame that says so."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._model.carried_ages import holds_until_ns
from pydamon._model.classify import RegionClasses
from pydamon._model.page_ages import IDLE_CLASSES_NS
from pydamon._model.runs import group_bounds
from pydamon._model.snapshot import Snapshot

__all__ = [
    "AGE_EDGES_NS",
    "AgeSplit",
    "HeldAges",
    "Looks",
    "WindowAges",
    "Windows",
]

AGE_EDGES_NS = IDLE_CLASSES_NS
"""The idle times between which the classes of `AgeSplit.sizes` lie."""

Key: TypeAlias = Hashable
"""What identifies a target, such as `Target.key`."""
_CLASSES = len(AGE_EDGES_NS) + 1
_Bytes: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AgeSplit:
    """Resident bytes of some targets by the time since their last use.

    Parameters
    ----------
    sizes
        Bytes used within the first of `AGE_EDGES_NS`, idle for a time between each two of them,
        idle for longer than the last, and of unknown age: shape (targets, len(AGE_EDGES_NS) + 2).
    followed_share
        The part of each target's memory that is followed page by page; 0 where idle times are those
        of regions: shape (targets,).

    Examples
    --------
    >>> import numpy as np
    >>> split = AgeSplit(np.array([[4096.0, 0, 8192, 0, 0, 0]]), np.ones(1))
    >>> split.idle_bytes(0, 10 * 10**9)
    8192.0
    """

    sizes: _Bytes
    followed_share: _Bytes

    def idle_bytes(self, target: int, edge_ns: int) -> float:
        """Bytes of one target that have been idle for one of `AGE_EDGES_NS` or longer.

        Parameters
        ----------
        target
            The number of the target.
        edge_ns
            One of `AGE_EDGES_NS`.
        """
        return float(self.sizes[target, AGE_EDGES_NS.index(edge_ns) + 1 : _CLASSES].sum())


class Looks(NamedTuple):
    """The look that each region's pages were in, if they were in one in this window.

    `followed_share` is the part of the memory that is followed page by page, and `until_ns` is
    until when the ages of that look hold.
    """

    followed_share: _Bytes
    until_ns: NDArray[np.int64]

    @classmethod
    def in_snapshots(cls, snapshots: Sequence[Snapshot]) -> Looks:
        """The looks in snapshots, whose regions stand one behind the other."""
        ages = [snapshot.page_ages for snapshot in snapshots]
        share = [look.followed_share if look else 0.0 for look in ages]
        until_ns = [holds_until_ns(look.looked_ns, look.since_ns) if look else 0 for look in ages]
        lengths = [len(snapshot) for snapshot in snapshots]
        return cls(np.repeat(share, lengths), np.repeat(np.array(until_ns, np.int64), lengths))

    @classmethod
    def in_recording(cls, recording: Recording) -> Looks:
        """The looks in a recording: shape (rows,)."""
        looked_ns, since_ns = recording.column("looked_ns"), recording.column("looked_since_ns")
        share = recording.column("followed_share").astype(np.float64)
        until_ns = np.zeros(len(looked_ns), np.int64)
        rows = np.flatnonzero(looked_ns)
        times_ns, first, place = np.unique(looked_ns[rows], return_index=True, return_inverse=True)
        pairs = zip(times_ns.tolist(), since_ns[rows[first]].tolist(), strict=True)
        until_ns[rows] = np.array([holds_until_ns(*pair) for pair in pairs], np.int64)[place]
        return cls(share, until_ns)

    def rows(self, rows: slice) -> Looks:
        """The looks of some of the regions."""
        return Looks(self.followed_share[rows], self.until_ns[rows])


class Windows(NamedTuple):
    """Windows of single targets in the order of time: the number of the target, and the end."""

    target: NDArray[np.int64]
    end_ns: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class WindowAges:
    """The ages in some windows, a row each.

    `total` and `datable` are bytes: all, and those that can have an age. `by_age` has a column for
    each class of age. `followed_share` is 0 where nobody looked at pages in that window; otherwise
    what was seen then holds until `until_ns`.
    """

    windows: Windows
    total: _Bytes
    datable: _Bytes
    by_age: _Bytes
    followed_share: _Bytes
    until_ns: NDArray[np.int64]

    @classmethod
    def of(
        cls, windows: Windows, window: NDArray[np.int64], classes: RegionClasses, looks: Looks
    ) -> WindowAges:
        """The ages in windows; *window*, `classes` and *looks* have an entry for each region."""
        count = len(windows.target)

        def summed(amount: NDArray[np.int64]) -> _Bytes:
            sums: _Bytes = np.bincount(window, amount, count).astype(np.float64)
            return sums

        by_age = classes.by_idle_time(AGE_EDGES_NS)
        by_age[:, 0] -= classes.undated
        share, until_ns = np.zeros(count), np.zeros(count, np.int64)
        np.maximum.at(share, window, np.where(classes.is_looked, looks.followed_share, 0.0))
        np.maximum.at(until_ns, window, np.where(classes.is_looked, looks.until_ns, 0))
        return cls(
            windows,
            summed(classes.total),
            summed(classes.total - classes.unobservable),
            np.stack([summed(column) for column in by_age.T], axis=1),
            share,
            until_ns,
        )


@dataclass
class _Held:
    """What the last look at a target said."""

    by_age: _Bytes
    followed_share: float
    until_ns: int
    idle_by_name: dict[str, float] = field(default_factory=dict)


_NOTHING_HELD = _Held(np.zeros(_CLASSES), 0.0, 0)


class HeldAges:
    """Splits memory by age, window by window: what a look says holds until the next look.

    Memory that came after the look has no known age. Where nobody has looked at pages, or not for a
    minute or so, memory is split by the ages of regions.
    """

    def __init__(self) -> None:
        self._held: dict[Key, _Held] = {}

    def split(self, keys: Sequence[Key], ages: WindowAges) -> AgeSplit:
        """Split the memory in each of the next windows, whose targets have these *keys*."""
        order = np.argsort(ages.windows.target, kind="stable")
        by_age, followed = self._carried(keys, ages, order)
        # Memory that was freed since the look is taken from all classes alike.
        scale = np.minimum(1.0, ages.datable[order] / np.maximum(by_age.sum(axis=1), 1.0))
        by_age = by_age * scale[:, None]
        unknown = np.maximum(ages.total[order] - by_age.sum(axis=1), 0.0)
        sizes = np.empty((len(order), _CLASSES + 1))
        shares = np.empty(len(order))
        sizes[order] = np.column_stack([by_age, unknown])
        shares[order] = followed
        return AgeSplit(sizes, shares)

    def _carried(
        self, keys: Sequence[Key], ages: WindowAges, order: NDArray[np.intp]
    ) -> tuple[_Bytes, _Bytes]:
        """The newest look for each window, sorted by target; remembers the last look of each."""
        target, looked = ages.windows.target[order], ages.followed_share[order]
        last = np.maximum.accumulate(np.where(looked > 0, np.arange(len(order)), -1))
        bounds = group_bounds(target, len(keys))
        is_new = last >= bounds[target]
        before = [self._held.get(key, _NOTHING_HELD) for key in keys]
        held = np.array([known.by_age for known in before]).reshape(-1, _CLASSES)[target]
        share = np.array([known.followed_share for known in before])[target]
        until_ns = np.array([known.until_ns for known in before], np.int64)[target]
        until_ns = np.where(is_new, ages.until_ns[order][last], until_ns)
        holds = (ages.windows.end_ns[order] <= until_ns) | (looked > 0)
        followed = np.where(holds, np.where(is_new, looked[last], share), 0.0)
        held = np.where(is_new[:, None], ages.by_age[order][last], held)
        by_age = np.where((followed > 0)[:, None], held, ages.by_age[order])
        self._held = {
            key: _Held(by_age[row], float(followed[row]), int(until_ns[row]), known.idle_by_name)
            for key, known, first, row in zip(keys, before, bounds, bounds[1:] - 1, strict=False)
            if first <= row and followed[row] > 0
        }
        return by_age, followed

    def hold_idle(self, key: Key, idle_by_name: dict[str, float]) -> None:
        """Remember how much of each mapping of a target was idle at the last look."""
        if key in self._held:
            self._held[key].idle_by_name = idle_by_name

    def idle(self, key: Key) -> dict[str, float] | None:
        """The same; `None` where no look at the pages of that target holds."""
        held = self._held.get(key)
        return held.idle_by_name if held else None
