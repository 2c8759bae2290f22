"""The last look at the pages of each target of a recording."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._model.carried_ages import with_ages_of
from pydamon._model.runs import running_total
from pydamon._model.snapshot import Snapshot

__all__ = ["LastLooks", "looked_windows"]

_MOST_CHUNKS = 4
"""Whole chunks that are kept, before only their last looks are."""


def looked_windows(chunk: Recording) -> NDArray[np.bool_]:
    """Which targets of snapshots have ages of pages: shape (targets of snapshots,)."""
    has_ages = running_total(chunk.column("looked_ns") > 0)[chunk.target_offsets]
    return np.diff(has_ages) > 0


class _Looks(NamedTuple):
    """A chunk, and the targets of its snapshots that were looked at last then: numbers, times."""

    chunk: Recording
    places: NDArray[np.intp]
    numbers: NDArray[np.int64]
    end_ns: NDArray[np.int64]

    def only(self, wanted: NDArray[np.bool_]) -> _Looks:
        return _Looks(self.chunk, *(column[wanted] for column in self[1:]))

    def recording(self) -> Recording:
        """Only the rows of the looks."""
        targets = np.zeros(len(self.chunk.target_snapshots), np.bool_)
        targets[self.places] = True
        return self.chunk.pick_targets(targets)


class LastLooks:
    """The last window with ages of pages of each target: a fold."""

    def __init__(self) -> None:
        self._numbers = TargetNumbers()
        self._latest_ns: dict[int, int] = {}
        self._kept: list[_Looks] = []

    def __bool__(self) -> bool:
        """Whether there was any look."""
        return bool(self._kept)

    def add(self, chunk: Recording) -> None:
        numbers = self._numbers.per_target(chunk)
        if not chunk.column("looked_ns").any():
            return
        places = np.flatnonzero(looked_windows(chunk))
        end_ns = chunk.per_target("end_ns")
        places = places[np.lexsort((end_ns[places], numbers[places]))]
        is_last = np.append(np.diff(numbers[places]) != 0, True)[: len(places)]
        places = places[is_last]
        looks = _Looks(chunk, places, numbers[places].astype(np.int64), end_ns[places])
        for number, time_ns in zip(looks.numbers.tolist(), looks.end_ns.tolist(), strict=True):
            self._latest_ns[number] = max(time_ns, self._latest_ns.get(number, 0))
        self._kept = [
            latest for each in (*self._kept, looks) if len((latest := self._latest(each)).places)
        ]
        if len(self._kept) > _MOST_CHUNKS:
            self._kept = [_compact(each) for each in self._kept]

    def _latest(self, looks: _Looks) -> _Looks:
        latest_ns = np.array([self._latest_ns[number] for number in looks.numbers.tolist()])
        return looks.only(looks.end_ns == latest_ns)

    def carried_to(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the last ages of each target, if these still hold."""
        looked = [each for looks in self._kept for each in looks.recording().snapshots()]
        for earlier in sorted(looked, key=lambda each: -each.end_ns):
            if earlier.page_ages is not None:
                snapshot = with_ages_of(snapshot, earlier)
        return snapshot


def _compact(looks: _Looks) -> _Looks:
    """The same looks without the rest of their chunk."""
    recording = looks.recording()
    order = np.argsort(looks.places)
    places = np.arange(len(order))
    return _Looks(recording, places, looks.numbers[order], looks.end_ns[order])
