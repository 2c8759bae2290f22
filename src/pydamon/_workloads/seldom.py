"""Memory that is accessed seldom: from what came back after how long a rest, how often.

Pages that are accessed at random r times a second come back after a rest of at least T at a rate of
r * exp(-r * T) a second each. So the returns after several rests tell how many pages there are of
each of some rates: the least squares that are not negative, by multiplicative updates (D. D. Lee
and H. S. Seung, "Algorithms for non-negative matrix factorization", 2000).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydamon._data.recording import Recording
from pydamon._model.page_ages import IDLE_EDGES_NS

__all__ = [
    "RATES_HZ",
    "REST_EDGES",
    "ReturnSums",
    "returned_bytes",
    "seldom_pages",
    "touched_pages",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REST_EDGES = (15, 20, 25, 30, 36, 42, 48)
"""Indices into `IDLE_EDGES_NS`: rests of 1.8, 4.6, 12, 32, 100, 316 and 1000 s."""
_REST_S: Floats = IDLE_EDGES_NS[list(REST_EDGES)] / 1e9
RATES_HZ: Floats = 1 / np.array([1.5, 2.5, 4.0, 7.0, 12.0, 25.0, 80.0, 250.0, 800.0])
"""From the most frequent on; anything more frequent shows in windows."""
_UPDATES = 300
_SPARSE = 0.01
_TINY = 1e-12


def returned_bytes(chunk: Recording) -> Floats | None:
    """Bytes of each region that came back after each rest: shape (rests, rows); `None` if no look.

    They are those since the look before, not a second.
    """
    if not chunk.column("looked_ns").any():
        return None
    ages = chunk.page_ages
    rows = len(chunk.table)
    counts = [
        np.bincount(ages.region, ages.returned_bytes * (ages.bucket > edge), rows)
        for edge in REST_EDGES
    ]
    return np.array(counts, np.float64)


class ReturnSums:
    """What came back in each cell and slot, and in how much time that was seen."""

    def __init__(self, targets: int, slots: int, cells: int) -> None:
        self._slots, self._cells = slots, cells
        self._bytes = np.zeros((len(REST_EDGES), slots * cells))
        self._looked_s = np.zeros((targets, slots))

    def add_looks(
        self, target: NDArray[np.int32], slot: NDArray[np.intp], looked_s: Floats
    ) -> None:
        """Take looks at targets, each at all that happened in so much time."""
        np.add.at(self._looked_s, (target, slot), looked_s)

    def add(self, place: NDArray[np.intp], amounts: Floats) -> None:
        """Take bytes by rest, of the cells at some places: slot times the number of cells, plus."""
        for rest, amount in enumerate(amounts):
            self._bytes[rest] += np.bincount(place, amount, self._slots * self._cells)

    def bytes_per_s(self, target: Ints, slot_ns: Floats) -> Floats:
        """Bytes a second that came back: shape (rests, cells, slots), NaN where none could be seen.

        *target* is the number of each cell's target. A slot in which nobody looked has the next
        look's. No page has rested longer than it was looked at: the first slots have the mean of
        those later ones that tell.
        """
        sums = self._bytes.reshape(-1, self._slots, self._cells).transpose(0, 2, 1)
        rates = np.full(sums.shape, np.nan)
        for number in range(len(self._looked_s)):
            of_target = np.flatnonzero(target == number)
            looked = np.flatnonzero(self._looked_s[number])
            if not len(looked):
                continue
            next_look = np.searchsorted(looked, np.arange(self._slots))
            source = looked[np.minimum(next_look, len(looked) - 1)]
            seen = sums[:, of_target][:, :, source] / self._looked_s[number, source]
            begin = max(0, looked[0] - 1)
            elapsed_s = (np.cumsum(slot_ns) - slot_ns[:begin].sum()) / 1e9
            for rest, rest_s in enumerate(_REST_S):
                tells = elapsed_s > rest_s
                if tells.any():
                    mean = np.average(seen[rest][:, tells], axis=1, weights=slot_ns[tells])
                    rates[rest, of_target] = np.where(tells, seen[rest], mean[:, None])
        return rates


def seldom_pages(
    returned_hz: Floats, most_pages: Floats, most_touched: Floats, window_s: Floats
) -> Floats:
    """How many pages are accessed at each of `RATES_HZ`: shape (rates, ...).

    *returned_hz* are the pages a second that came back after each rest: shape (rests, ...). There
    are at most *most_pages*, of which *most_touched* are accessed in a window.
    """
    shape = most_pages.shape
    columns = returned_hz.reshape(len(returned_hz), -1)
    used = np.flatnonzero((columns > 0).any(axis=0))
    numbers = np.zeros((len(RATES_HZ), columns.shape[1]))
    numbers[:, used] = _least_squares(columns[:, used])
    numbers = numbers.reshape(-1, *shape)
    numbers *= np.clip(most_touched / np.maximum(touched_pages(numbers, window_s), _TINY), 0.0, 1.0)
    within = np.minimum(np.cumsum(numbers, axis=0), most_pages)
    kept: Floats = np.diff(within, axis=0, prepend=0)
    return kept


def _least_squares(returned_hz: Floats) -> Floats:
    """The pages of each rate that explain best what came back; NaN is not known."""
    known = np.isfinite(returned_hz)
    # Times the rest: every equation then counts pages.
    wanted = np.where(known, returned_hz, 0.0) * _REST_S[:, None]
    times = np.outer(_REST_S, RATES_HZ)
    per_page = times * np.exp(-times)
    toward = per_page.T @ wanted
    # Few pages that come back soon rather than many of which no return was seen.
    least = np.maximum(_SPARSE * toward.max(axis=0), _TINY)
    numbers: Floats = np.repeat(wanted.sum(axis=0)[None], len(RATES_HZ), axis=0)
    for _ in range(_UPDATES):
        numbers = numbers * toward / (per_page.T @ (known * (per_page @ numbers)) + least)
    return numbers


def touched_pages(numbers: Floats, window_s: Floats) -> Floats:
    """How many of the pages of each rate are accessed in a window."""
    rates = RATES_HZ.reshape((-1,) + (1,) * (numbers.ndim - 1))
    touched: Floats = (numbers * -np.expm1(-rates * window_s)).sum(axis=0)
    return touched
