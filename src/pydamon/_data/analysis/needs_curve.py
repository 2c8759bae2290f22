"""The results of `needs`: memory against pages that come back, over idle times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.display import Drawable
from pydamon._model.errors import UsageError
from pydamon._model.page_ages import IDLE_EDGES_NS
from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.snapshot import Target

__all__ = [
    "TOLERATED_SHARE",
    "Needs",
    "NeedsCurve",
    "NeedsPeak",
    "NeedsPoint",
    "Periods",
    "value_at",
]

TOLERATED_SHARE = 0.002
"""Which share of the working set may come back each minute, unless a rate is named."""


@dataclass(frozen=True, slots=True)
class NeedsPoint:
    """What it takes to keep the memory that was in use within some time.

    Attributes
    ----------
    idle_ns
        The idle time: memory that has been idle for at least so long is not kept.
    kept_bytes
        How much memory is left, in the mean.
    refaults_per_s
        How many pages a second are used again after they have been idle for so long: each is a
        page fault if they are not kept.
    kept_deviation_bytes, refaults_deviation_per_s
        The standard deviations of both; 0 where every page was watched.
    """

    idle_ns: int
    kept_bytes: int
    refaults_per_s: float
    kept_deviation_bytes: int = 0
    refaults_deviation_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NeedsPeak:
    """The largest need in any part of a recording: see `Needs.peak`.

    Attributes
    ----------
    period_ns
        How long the parts are.
    kept_bytes
        The most memory that is kept in one of them, in the mean over that part.
    kept_begin_ns
        When that part begins (Unix time).
    refaults_per_s
        The most pages a second that come back in one of them.
    refaults_begin_ns
        When that part begins.
    """

    period_ns: int
    kept_bytes: int
    kept_begin_ns: int
    refaults_per_s: float
    refaults_begin_ns: int


@dataclass(frozen=True, eq=False)
class NeedsCurve:
    """Memory against pages that come back, of one target or of all together.

    Arrays have an entry for each idle time. The longer the time, the more memory is kept, and the
    fewer pages come back.

    Attributes
    ----------
    target : Target or None
        The target; `None` stands for all targets together.
    resident_bytes : int
        All of its memory that was watched, in the mean.
    working_set_bytes : int
        How much was in use within a minute, or within the longest time that is known.
    shortest_ns, longest_ns : int
        The shortest idle time that looks can tell, and for how long pages had been watched at the
        end. Nothing is known about other idle times.
    idle_ns : ndarray, shape (times,)
        The idle times, the shortest first; none where the recording is too short.
    kept_bytes : ndarray, shape (times,)
        Memory without that which has been idle for each time or longer, in the mean.
    refaults_per_s : ndarray, shape (times,)
        Pages a second that come back after each time or longer.
    kept_deviation_bytes, refaults_deviation_per_s : ndarray, shape (times,)
        Standard deviations of both; 0 where every page was watched.
    page_size : int
        Bytes of a page on the machine that was monitored.
    """

    target: Target | None
    resident_bytes: int
    working_set_bytes: int
    shortest_ns: int
    longest_ns: int
    idle_ns: NDArray[np.int64]
    kept_bytes: NDArray[np.int64]
    refaults_per_s: NDArray[np.float64]
    kept_deviation_bytes: NDArray[np.int64]
    refaults_deviation_per_s: NDArray[np.float64]
    page_size: int = SMALLEST_PAGE

    @property
    def points(self) -> tuple[NeedsPoint, ...]:
        """The curve, a point for each idle time."""
        return tuple(self._points())

    def _points(self) -> Iterator[NeedsPoint]:
        columns = (
            self.idle_ns,
            self.kept_bytes,
            self.refaults_per_s,
            self.kept_deviation_bytes,
            self.refaults_deviation_per_s,
        )
        for values in zip(*(column.tolist() for column in columns), strict=True):
            yield NeedsPoint(*values)

    def at(self, idle_ns: int) -> NeedsPoint | None:
        """The point of any idle time; `None` where nothing is known about that time."""
        if not (len(self.idle_ns) and self.shortest_ns <= idle_ns <= self.longest_ns):
            return None
        kept, refaults, kept_deviation, deviation = (
            value_at(idle_ns, self.idle_ns, values)
            for values in (
                self.kept_bytes,
                self.refaults_per_s,
                self.kept_deviation_bytes,
                self.refaults_deviation_per_s,
            )
        )
        return NeedsPoint(idle_ns, round(kept), refaults, round(kept_deviation), deviation)

    @property
    def tolerated_per_s(self) -> float:
        """The rate that is tolerated by default: 0.2 % of the working set each minute."""
        return TOLERATED_SHARE * self.working_set_bytes / self.page_size / 60

    def point(self, refaults_per_s: float | None = None) -> NeedsPoint | None:
        """The least memory at which no more pages come back than is tolerated.

        Parameters
        ----------
        refaults_per_s
            The tolerated rate, in pages a second; by default `tolerated_per_s`.

        Returns
        -------
        NeedsPoint or None
            The point with the shortest idle time that will do; `None` if none does.

        Raises
        ------
        UsageError
            If the rate is negative.
        """
        tolerated = self.tolerated_per_s if refaults_per_s is None else refaults_per_s
        if not tolerated >= 0:
            raise UsageError("a tolerated rate is not negative")
        return next((p for p in self._points() if p.refaults_per_s <= tolerated), None)

    def fit(self, size_bytes: int) -> NeedsPoint | None:
        """The point with the fewest pages that come back, of those that keep at most so much.

        Parameters
        ----------
        size_bytes
            How much memory there is.

        Returns
        -------
        NeedsPoint or None
            The point with the longest idle time that fits; `None` if none does.
        """
        fitting = [point for point in self._points() if point.kept_bytes <= size_bytes]
        return fitting[-1] if fitting else None


class Periods(NamedTuple):
    """Parts of a recording: all targets together, by idle time; NaN where nothing is known."""

    period_ns: int
    begin_ns: NDArray[np.int64]
    kept_bytes: NDArray[np.float64]
    refaults_per_s: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Needs(Drawable):
    """How much memory programs need: see `needs`.

    Attributes
    ----------
    total : NeedsCurve
        All targets together. Memory that they share counts once.
    targets : tuple of NeedsCurve
        Each target by itself, in the order of appearance.
    watched_ns : int
        For how long pages were watched: the time between looks.
    look_distance_ns : int
        The time between two looks, in the mean over time.
    followed_share : float
        The part of the memory that was followed page by page; where it is below 1, bytes are
        estimates.

    Examples
    --------
    >>> import pydamon
    >>> pydamon.analysis.NeedsOfSnapshots().result().point() is None
    True
    """

    total: NeedsCurve
    targets: tuple[NeedsCurve, ...]
    watched_ns: int
    look_distance_ns: int
    followed_share: float
    _periods: Periods = field(repr=False)

    @property
    def shortest_ns(self) -> int:
        """The shortest idle time that the looks can tell: twice their mean distance."""
        return self.total.shortest_ns

    @property
    def longest_ns(self) -> int:
        """For how long pages had been watched at the end: no longer idle times are known."""
        return self.total.longest_ns

    def point(self, refaults_per_s: float | None = None) -> NeedsPoint | None:
        """The least memory of all targets together: see `NeedsCurve.point`."""
        return self.total.point(refaults_per_s)

    def peak(self, point: NeedsPoint) -> NeedsPeak | None:
        """The largest need in any hour, or any tenth of a recording below ten hours.

        The idle time of *point* holds throughout. Parts in which pages had not yet been watched for
        that time do not count; `None` if there are no others.
        """
        periods = self._periods
        place = int(np.searchsorted(IDLE_EDGES_NS, point.idle_ns))
        if place == len(IDLE_EDGES_NS):
            return None
        kept, refaults = periods.kept_bytes[:, place], periods.refaults_per_s[:, place]
        if np.isnan(kept).all():
            return None
        most, worst = int(np.nanargmax(kept)), int(np.nanargmax(refaults))
        return NeedsPeak(
            periods.period_ns,
            round(float(kept[most])),
            int(periods.begin_ns[most]),
            float(refaults[worst]),
            int(periods.begin_ns[worst]),
        )


def value_at(idle_ns: int, known_ns: NDArray[np.int64], values: NDArray[np.number]) -> float:
    """A value between idle times, on a scale of ratios, as in `page_ages.share_beyond`."""
    return float(np.interp(np.log(idle_ns), np.log(known_ns), values))
