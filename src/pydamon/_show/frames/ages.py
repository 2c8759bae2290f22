"""Resident memory by the time since its last use: the part of a frame that says so."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.classify import RegionClasses
from pydamon._model.page_ages import IDLE_CLASSES_NS
from pydamon._model.runs import group_bounds

__all__ = [
    "AGE_EDGES_NS",
    "AgeSplit",
    "HeldAges",
    "WindowAges",
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


@dataclass(frozen=True, eq=False)
class WindowAges:
    """The ages in windows of single targets, a row each, in the order of time.

    `target` numbers the targets. `total` and `datable` are bytes: all, and those that can have an
    age. `by_age` has a column for each class of age. `followed_share` is 0 where nobody looked at
    pages in that window.
    """

    target: NDArray[np.int64]
    total: _Bytes
    datable: _Bytes
    by_age: _Bytes
    followed_share: _Bytes

    @classmethod
    def of(
        cls,
        target: NDArray[np.int64],
        window: NDArray[np.int64],
        classes: RegionClasses,
        followed_share: _Bytes,
    ) -> WindowAges:
        """The ages of windows; `classes`, *window* and *followed_share* are those of regions."""

        def summed(amount: NDArray[np.int64]) -> _Bytes:
            sums: _Bytes = np.bincount(window, amount, len(target)).astype(np.float64)
            return sums

        by_age = classes.by_idle_time(AGE_EDGES_NS)
        by_age[:, 0] -= classes.undated
        shares = np.zeros(len(target))
        np.maximum.at(shares, window, np.where(classes.is_looked, followed_share, 0.0))
        return cls(
            target,
            summed(classes.total),
            summed(classes.total - classes.unobservable),
            np.stack([summed(column) for column in by_age.T], axis=1),
            shares,
        )


@dataclass
class _Held:
    """What the last look at a target said."""

    by_age: _Bytes
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
        by_age, followed = self._carried(keys, windows, order)
        # Memory that was freed since the look is taken from all classes alike.
        scale = np.minimum(1.0, windows.datable[order] / np.maximum(by_age.sum(axis=1), 1.0))
        by_age = by_age * scale[:, None]
        unknown = np.maximum(windows.total[order] - by_age.sum(axis=1), 0.0)
        sizes = np.empty((len(order), _CLASSES + 1))
        shares = np.empty(len(order))
        sizes[order] = np.column_stack([by_age, unknown])
        shares[order] = followed
        return AgeSplit(sizes, shares)

    def _carried(
        self, keys: Sequence[Key], windows: WindowAges, order: NDArray[np.intp]
    ) -> tuple[_Bytes, _Bytes]:
        """The newest look for each window, sorted by target; remembers the last look of each."""
        target, looked = windows.target[order], windows.followed_share[order]
        by_age = windows.by_age[order]
        last = np.maximum.accumulate(np.where(looked > 0, np.arange(len(order)), -1))
        bounds = group_bounds(target, len(keys))
        is_new = last >= bounds[target]
        before = [self._held.get(key, _NOTHING_HELD) for key in keys]
        held = np.array([known.by_age for known in before]).reshape(-1, _CLASSES)[target]
        share = np.array([known.followed_share for known in before])[target]
        by_age = np.where((share > 0)[:, None], held, by_age)
        by_age = np.where(is_new[:, None], windows.by_age[order][last], by_age)
        followed = np.where(is_new, looked[last], share)
        self._held = {
            key: _Held(by_age[beyond - 1], float(followed[beyond - 1]), known.idle_by_name)
            for key, known, (first, beyond) in zip(keys, before, pairwise(bounds), strict=True)
            if first < beyond and followed[beyond - 1] > 0
        }
        return by_age, followed

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
