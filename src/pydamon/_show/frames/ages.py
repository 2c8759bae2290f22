"""Resident memory by the time since its last use: the part of a frame that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._model.classify import RegionClasses
from pydamon._model.page_ages import AgeSums, share_beyond
from pydamon._model.runs import group_bounds

__all__ = [
    "AGE_EDGES_NS",
    "AgeSplit",
    "HeldAges",
    "Looks",
    "WindowAges",
    "followed_shares",
    "joined_sums",
]

AGE_EDGES_NS = tuple(seconds * 10**9 for seconds in (1, 10, 60, 600))
"""The idle times between which the classes of `AgeSplit.sizes` lie."""

Key: TypeAlias = tuple[str, int, int, str]
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


@dataclass(frozen=True, eq=False)
class Looks:
    """What looks at pages say of the windows of some targets.

    `sums` are by the number of a region; `followed_share` has an entry for each window of a target,
    which is 0 where nobody looked in that window.
    """

    sums: AgeSums
    followed_share: _Bytes


def followed_shares(recording: Recording) -> NDArray[np.float64]:
    """The followed share of each row of a recording; 0 where nobody looked: shape (rows,)."""
    looked: NDArray[np.bool_] = recording.column("looked_ns") > 0
    return np.where(looked, recording.column("followed_share"), 0.0)


def joined_sums(several: Sequence[tuple[AgeSums, int]]) -> AgeSums:
    """The sums of several looks, each with the number of its first region."""
    nothing = np.empty(0, np.int64)
    columns = [
        (sums.region + first, sums.bucket, sums.resident_bytes, sums.returned_bytes)
        for sums, first in several
    ]
    return AgeSums(*(np.concatenate(parts) for parts in zip((nothing,) * 4, *columns, strict=True)))


@dataclass(frozen=True, eq=False)
class WindowAges:
    """The ages in windows of single targets, a row each, in the order of time.

    `target` numbers the targets. `total` and `datable` are bytes: all, and those that can have an
    age. `by_region` and `by_page` have a column for each class of age; `by_page` counts only where
    `followed_share` is above 0.
    """

    target: NDArray[np.int64]
    total: _Bytes
    datable: _Bytes
    by_region: _Bytes
    by_page: _Bytes
    followed_share: _Bytes

    @classmethod
    def of(
        cls,
        target: NDArray[np.int64],
        window: NDArray[np.int64],
        classes: RegionClasses,
        looks: Looks,
    ) -> WindowAges:
        """The ages of windows; `classes` and *window* have an entry for each region."""

        def summed(amount: NDArray[np.int64]) -> _Bytes:
            sums: _Bytes = np.bincount(window, amount, len(target)).astype(np.float64)
            return sums

        dated = classes.total - classes.unseen - classes.unobservable - classes.undated
        reached = [dated, *(classes.idle(edge_ns) for edge_ns in AGE_EDGES_NS)]
        of_sums = window[looks.sums.region]
        reached_by_page = [
            np.bincount(of_sums, looks.sums.resident_bytes * shares[looks.sums.bucket], len(target))
            for shares in map(share_beyond, (0, *AGE_EDGES_NS))
        ]
        return cls(
            target,
            summed(classes.total),
            summed(classes.total - classes.unobservable),
            _between([summed(amount) for amount in reached]),
            _between(reached_by_page),
            looks.followed_share,
        )


def _between(reached: Sequence[NDArray[Any]]) -> _Bytes:
    """Bytes by class, of the bytes that have reached the beginning of each class."""
    columns: _Bytes = np.stack(reached, axis=-1).astype(np.float64)
    columns[..., :-1] -= columns[..., 1:].copy()
    return columns


@dataclass
class _Held:
    """What the last look at a target said."""

    by_page: _Bytes
    followed_share: float
    idle_by_name: dict[str, float] = field(default_factory=dict)


_NOTHING_HELD = _Held(np.zeros(_CLASSES), 0.0)


class HeldAges:
    """Splits memory by age, window by window: what a look says holds until the next look.

    Memory that came after the look has no known age. Targets that nobody has ever looked at page by
    page are split by the ages of their regions.

    Examples
    --------
    >>> HeldAges().idle(("", 7, 0, "app")) is None
    True
    """

    def __init__(self) -> None:
        self._held: dict[Key, _Held] = {}

    def split(self, keys: Sequence[Key], windows: WindowAges) -> AgeSplit:
        """Split the memory of the next windows.

        Parameters
        ----------
        keys
            `Target.key` of each target.
        windows
            The ages in windows of these targets.

        Returns
        -------
        AgeSplit
            A row for each window.
        """
        order = np.argsort(windows.target, kind="stable")
        target = windows.target[order]
        by_page, followed = self._carried(keys, windows, order)
        sums = by_page.sum(axis=1)
        datable, total = windows.datable[order], windows.total[order]
        # Memory that was freed since the look is taken from all classes alike.
        scale = np.minimum(1.0, datable / np.maximum(sums, 1.0))
        is_followed = followed > 0
        by_page = by_page * scale[:, None]
        known = np.where(is_followed[:, None], by_page, windows.by_region[order])
        unknown = np.maximum(total - known.sum(axis=1), 0.0)
        sizes = np.empty((len(target), _CLASSES + 1))
        shares = np.empty(len(target))
        sizes[order] = np.column_stack([known, unknown])
        shares[order] = followed
        return AgeSplit(sizes, shares)

    def _carried(
        self, keys: Sequence[Key], windows: WindowAges, order: NDArray[np.intp]
    ) -> tuple[_Bytes, _Bytes]:
        """The newest look for each window, sorted by target; remembers the last look of each."""
        target, looked = windows.target[order], windows.followed_share[order]
        last = np.maximum.accumulate(np.where(looked > 0, np.arange(len(order)), -1))
        bounds = group_bounds(target, len(keys))
        is_new = last >= bounds[target]
        before = [self._held.get(key, _NOTHING_HELD) for key in keys]
        held = np.array([known.by_page for known in before]).reshape(-1, _CLASSES)
        share = np.array([known.followed_share for known in before])
        by_page = np.where(is_new[:, None], windows.by_page[order][last], held[target])
        followed = np.where(is_new, looked[last], share[target])
        self._held = {
            key: _Held(by_page[beyond - 1], float(followed[beyond - 1]), known.idle_by_name)
            for key, known, (first, beyond) in zip(keys, before, pairwise(bounds), strict=True)
            if first < beyond and followed[beyond - 1] > 0
        }
        return by_page, followed

    def hold_idle(self, key: Key, idle_by_name: dict[str, float]) -> None:
        """Remember how much of each mapping was idle at the last look.

        Parameters
        ----------
        key
            `Target.key` of a target.
        idle_by_name
            Idle bytes by the name of the mapping.
        """
        self._held[key].idle_by_name = idle_by_name

    def idle(self, key: Key) -> dict[str, float] | None:
        """How much of each mapping was idle at the last look.

        Parameters
        ----------
        key
            `Target.key` of a target.

        Returns
        -------
        dict or None
            Idle bytes by the name of the mapping; `None` where nobody has looked at the pages.
        """
        held = self._held.get(key)
        return held.idle_by_name if held else None
