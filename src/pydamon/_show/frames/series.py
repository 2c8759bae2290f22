"""Resident memory by age over a whole recording, of all targets together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._data.analysis.folding import classes_of
from pydamon._data.recording import Recording
from pydamon._data.recording.coverage import TargetNumbers
from pydamon._show.frames.ages import AgeSplit, HeldAges, Looks, WindowAges, Windows

__all__ = ["AgeSeries", "AgeSeriesFold"]

_MOST_POINTS = 4000


@dataclass(frozen=True, eq=False)
class AgeSeries:
    """Bytes by age over time: an entry for each point of time, in order.

    `split` has a row for each point. Its `followed_share` is 0 where idle times are those of
    regions.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    split: AgeSplit

    def __len__(self) -> int:
        return len(self.start_ns)

    def thinned(self, most: int) -> AgeSeries:
        """At most so many points: means over neighbours, weighted by time."""
        series = self
        while len(series) > most:
            series = series._halved()
        return series

    def _halved(self) -> AgeSeries:
        heads = np.arange(0, len(self), 2)
        tails = np.append(heads[1:], len(self)) - 1
        weight = np.maximum(self.end_ns - self.start_ns, 1).astype(np.float64)
        sums = np.add.reduceat(self.split.sizes * weight[:, None], heads)
        sizes = sums / np.add.reduceat(weight, heads)[:, None]
        split = AgeSplit(sizes, self.split.followed_share[tails])
        return AgeSeries(self.start_ns[heads], self.end_ns[tails], split)


class AgeSeriesFold:
    """The series as a fold over the chunks of a recording, in the order of time.

    Its memory does not grow with the recording: there are fewer points for each time then.
    """

    def __init__(self) -> None:
        self._numbers = TargetNumbers()
        self._held = HeldAges()
        self._pieces: list[AgeSeries] = []

    def add(self, chunk: Recording) -> None:
        if not len(chunk):
            return
        of_target = self._numbers.per_target(chunk)
        keys, target = np.unique(of_target, return_inverse=True)
        window = np.repeat(np.arange(len(of_target)), np.diff(chunk.target_offsets))
        classes = classes_of(chunk).over(len(self._numbers))
        windows = Windows(target, chunk.per_target("end_ns"))
        ages = WindowAges.of(windows, window, classes, Looks.in_recording(chunk))
        split = self._held.split(keys.tolist(), ages)
        heads = chunk.snapshot_heads
        sizes = np.add.reduceat(split.sizes, heads)
        # Where some targets are split by pages only, that is what the figures are about.
        shares = np.maximum.reduceat(split.followed_share, heads)
        times = chunk.per_snapshot("start_ns"), chunk.per_snapshot("end_ns")
        self._pieces.append(AgeSeries(*times, AgeSplit(sizes, shares)))
        if sum(map(len, self._pieces)) > 2 * _MOST_POINTS:
            self._pieces = [self.series().thinned(_MOST_POINTS)]

    def series(self) -> AgeSeries:
        """The points so far."""
        pieces = self._pieces
        return AgeSeries(
            np.concatenate([piece.start_ns for piece in pieces]),
            np.concatenate([piece.end_ns for piece in pieces]),
            AgeSplit(
                np.concatenate([piece.split.sizes for piece in pieces]),
                np.concatenate([piece.split.followed_share for piece in pieces]),
            ),
        )
