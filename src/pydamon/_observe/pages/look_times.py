"""When the looks at all pages were: a byte a page is enough to say when it was last accessed.

The byte is a *stamp*, the number of an interval between two looks. Old intervals are merged, so
that 250 of them reach back for as long as it takes, and each is short against its age.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABSENT", "FIRST", "UNKNOWN", "LookTimes"]

ABSENT, FIRST, UNKNOWN = 0, 1, 255
"""Stamps of pages that are not in memory, that nobody saw accessed since the first look, and that
cannot be watched."""
_MOST = 250
_FREED = 32
"""So many stamps must be free after a merge: it goes through all pages."""
_PRECISION, _COARSER = 0.05, 1.3
"""Intervals are merged while they are no longer than this part of their age, or so many times that
where this frees too few."""


class LookTimes:
    """The intervals between looks, by stamp. The last stamp is that of the last interval."""

    def __init__(self) -> None:
        self._start_ns = np.zeros(_MOST + 1, np.int64)
        self._end_ns = np.zeros(_MOST + 1, np.int64)
        self.last = ABSENT
        """The stamp of the last interval; `ABSENT` before the first look."""

    @property
    def end_ns(self) -> int:
        """When the last look was."""
        return int(self._end_ns[self.last])

    @property
    def must_merge(self) -> bool:
        """Whether `merge` must come before the next look."""
        return self.last == _MOST

    def add(self, now_ns: int) -> int:
        """A look takes place; returns the stamp of what was accessed since the one before.

        The first look cannot tell when anything was accessed: before it.
        """
        start_ns = self.end_ns if self.last else now_ns
        self.last += 1
        self._start_ns[self.last], self._end_ns[self.last] = start_ns, now_ns
        return self.last

    def merge(self) -> NDArray[np.uint8]:
        """Merge intervals; returns the new stamp for each old one: shape (256,)."""
        precision = _PRECISION
        while True:
            stamps = self._merged(precision)
            if stamps[self.last] <= _MOST - _FREED:
                break
            precision *= _COARSER
        old = np.arange(1, self.last + 1)
        new = stamps[old]
        heads = np.append(True, new[1:] != new[:-1])
        tails = np.append(heads[1:], True)
        start_ns, end_ns = self._start_ns[old[heads]], self._end_ns[old[tails]]
        self.last = len(start_ns)
        self._start_ns[1 : self.last + 1], self._end_ns[1 : self.last + 1] = start_ns, end_ns
        return stamps

    def _merged(self, precision: float) -> NDArray[np.uint8]:
        """The stamps after a merge of neighbours, from the newest interval to the oldest."""
        now_ns = self.end_ns
        stamps = np.arange(256)
        start, end = self._start_ns.tolist(), self._end_ns.tolist()
        group = until_ns = 0
        # The first interval stays: "not since the first look" is no moment.
        for stamp in range(self.last, FIRST, -1):
            if not group or until_ns - start[stamp] > precision * (now_ns - until_ns):
                group, until_ns = group + 1, end[stamp]
            stamps[stamp] = group
        merged = stamps[FIRST + 1 : self.last + 1]
        stamps[FIRST + 1 : self.last + 1] = FIRST + 1 + group - merged
        return stamps.astype(np.uint8)

    def middle_ns(self) -> NDArray[np.int64]:
        """When pages of each stamp were accessed, most likely: shape (256,).

        That is the middle of the interval; for the last one its end, as most pages that are
        accessed then are accessed all the time. What was accessed since has no interval yet.
        """
        middle = np.zeros(256, np.int64)
        middle[: _MOST + 1] = self._start_ns + (self._end_ns - self._start_ns) // 2
        middle[self.last :] = self.end_ns
        return middle

    def ages_ns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The least and the most that pages of each stamp have been idle: shapes (256,).

        Pages that were accessed in the last interval, or since, are in use.
        """
        least, most = np.zeros((2, 256), np.int64)
        least[: _MOST + 1] = self.end_ns - self._end_ns
        most[: _MOST + 1] = self.end_ns - self._start_ns
        least[self.last :] = most[self.last :] = 0
        return least, most

    def latest_ns(self) -> NDArray[np.int64]:
        """The last moment at which pages of each stamp can have been accessed: shape (256,)."""
        latest = np.zeros(256, np.int64)
        latest[: _MOST + 1] = self._end_ns
        return latest
