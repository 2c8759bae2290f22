"""Looks at spots, for memory that is too large to look at all of it (`_model/spots.py`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import RegionTable
from pydamon._model.spots import Spots, apply_spots, choose
from pydamon._observe.probes.base import Session

__all__ = ["SpotLooks"]

_FIRST_SPOT_NS = 20_000
"""The CPU time of a spot, before any has been measured."""
_LEAST_SPOTS, _MOST_SPOTS = 64, 4096
_EWMA_WEIGHT = 0.5


class SpotLooks:
    """Looks at spots in rounds: each round chooses its spots by the findings of the one before."""

    def __init__(self, session: Session, rng: np.random.Generator) -> None:
        self._session = session
        self._rng = rng
        self._spots = Spots.none()
        self._spot_ns = float(_FIRST_SPOT_NS)
        self._clear_cpu_ns = 0

    def forget(self) -> None:
        """Begin the next round without earlier findings."""
        self._spots = Spots.none()

    def begin(self, table: RegionTable, most_ns: float) -> None:
        """Choose as many spots as *most_ns* of CPU time allow, and clear them."""
        begin_ns = self._session.clock.cpu_ns()
        count = int(np.clip(most_ns / self._spot_ns, _LEAST_SPOTS, _MOST_SPOTS))
        spots = choose(table, self._spots, count, self._rng)
        self._spots = replace(spots, touched=self._look(spots, clear=True))
        self._clear_cpu_ns = self._session.clock.cpu_ns() - begin_ns

    def look_early(self) -> None:
        """See what was touched in a quarter of the window."""
        self._spots = replace(self._spots, touched_early=self._look(self._spots, clear=False))

    def finish(self, table: RegionTable, max_regions: int) -> RegionTable:
        """See what was touched in the whole window, and update the regions by that."""
        if len(self._spots):
            begin_ns = self._session.clock.cpu_ns()
            touched = self._look(self._spots, clear=False)
            # Spots that could not be cleared stay unknown.
            touched = np.where(np.isnan(self._spots.touched), np.nan, touched)
            self._spots = replace(self._spots, touched=touched)
            cpu_ns = self._clear_cpu_ns + 2 * (self._session.clock.cpu_ns() - begin_ns)
            self._spot_ns += _EWMA_WEIGHT * (cpu_ns / len(self._spots) - self._spot_ns)
        return apply_spots(table, self._spots, max_regions // 2)

    def _look(self, spots: Spots, *, clear: bool) -> NDArray[np.float64]:
        return self._session.look(spots.target, spots.address, clear=clear)
