"""The memory that was accessed within a time, by the ages of its pages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of
from pydamon._data.analysis.last_looks import looked_windows
from pydamon._data.recording import Recording
from pydamon._model.carried_ages import holds_until_ns
from pydamon._model.classify import RegionClasses
from pydamon._model.page_ages import bucket_bounds_ns, bucket_of

__all__ = ["Look", "PagesWithin", "looks_within"]


class Look(NamedTuple):
    """A look at the pages of a target: the classes of its regions, for itself and for sums."""

    looked_ns: int
    since_ns: int
    classes: tuple[RegionClasses, RegionClasses]


def looks_within(recording: Recording) -> dict[int, Look]:
    """The looks of a chunk, by the index of a target of a snapshot."""
    if not recording.column("looked_ns").any():
        return {}
    own = classes_of(recording)
    once = own.once()
    offsets = recording.target_offsets.tolist()
    looked_ns, since_ns = (recording.column(name) for name in ("looked_ns", "looked_since_ns"))
    looks = {}
    for index in np.flatnonzero(looked_windows(recording)).tolist():
        rows = slice(offsets[index], offsets[index + 1])
        row = rows.start + int(looked_ns[rows].argmax())
        classes = own.rows(rows), once.rows(rows)
        looks[index] = Look(int(looked_ns[row]), int(since_ns[row]), classes)
    return looks


class PagesWithin:
    """The bytes of a target that were accessed within some rising times, as of its last look."""

    def __init__(self, times_ns: list[int]) -> None:
        self._times_ns = np.array(times_ns, np.int64)
        self._began_ns = 0
        self._until_ns = 0
        self._is_known = np.zeros(len(times_ns), np.bool_)
        self._is_recorded = np.zeros(len(times_ns), np.bool_)
        self._bytes = np.zeros((len(times_ns), 2))

    def add(self, look: Look) -> None:
        """The next look of the target."""
        self._began_ns = self._began_ns or look.since_ns
        self._until_ns = holds_until_ns(look.looked_ns, look.since_ns)
        self._is_known = self._times_ns >= max(1, look.looked_ns - look.since_ns)
        # Pages that nobody saw accessed since the first look do not count for any time.
        recorded = bucket_of(np.array([look.looked_ns - self._began_ns]))
        known_ns, _ = bucket_bounds_ns(int(recorded[0]))
        self._is_recorded = self._times_ns <= known_ns
        ages_ns = np.unique(np.minimum(self._times_ns, known_ns))
        place = np.searchsorted(ages_ns, np.minimum(self._times_ns, known_ns))
        for column, classes in enumerate(look.classes):
            sums = classes.by_idle_time(ages_ns.tolist()).sum(axis=0)
            self._bytes[:, column] = np.cumsum(sums)[place]

    def put_into(self, amounts: NDArray[np.float64], now_ns: int) -> None:
        """Replace the amounts within each time, where a look tells them and still holds."""
        if not self._is_known.any() or now_ns > self._until_ns:
            return
        least = np.where(self._is_recorded[:, None], 0, amounts)
        amounts[self._is_known] = np.maximum(least, self._bytes)[self._is_known]
        np.maximum.accumulate(amounts, axis=0, out=amounts)
