"""How often memory is accessed, from how long cleared pages survive without an access.

Once an *epoch*, pages are cleared and then looked at several times, later and later, without
clearing them again. When a page is first seen accessed says how often it is accessed: a few clears
tell rates over several orders of magnitude.

The estimate is DAMON's `nr_accesses` as a share: the probability that an interval of given length
has an access. For an interval that begins at a random moment this is the distribution F of the time
to the next access, which is concave for every stationary pattern. So the share at the first look is
known from that look alone, and where accesses are rare, later looks with more events narrow it: the
share at look j, given the one at look j+1, lies between a straight line (periodic accesses) and an
exponential (accesses at random). What lies between them stands for some events of evidence. Where
all pages of a block are accessed at once, an epoch is one observation only, and a loop is likely:
there the line counts for more, and as more events. Where looks see more accesses than that, as of
bursts, it counts for less.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_PAGES", "MEMORY_EPOCHS", "Survival", "access_share"]

BLOCK_PAGES = 16
"""The pages of a block: clearing so many side by side costs what clearing one does."""

MEMORY_EPOCHS = 30.0
"""Sums reach back this many epochs, unless the region changes: 8 s by default."""
_CONTRADICTION = 11.0
"""Twice the log-likelihood ratio at which what is new does not fit what was: 1 in 1,100 by chance.
There are many regions and looks, and what starts anew knows little."""
_FORESIGHT, _OF_BLOCKS, _FEW_EPOCHS = 2.0, 16.0, 4.0
"""What a later look says of an earlier one counts as much as so many events: of pages that are
accessed on their own, and of whole blocks. After so few epochs it is half of that, and an eighth of
what whole blocks add: it hardly outweighs what the earlier look has seen."""
_STRAIGHT_BLOCKS = 0.8
"""The part of the line in what is expected of whole blocks; of pages on their own it is half."""
_SURPLUS = 1.3
"""At a surplus of accesses of so much chi-squared, what was expected counts half."""


@dataclass(frozen=True, slots=True)
class Survival:
    """Sums over epochs, one entry a region; looks are the first axis of arrays with two.

    Attributes
    ----------
    pages : array of float, shape (n,)
        Pages that were cleared and watched, summed over epochs.
    epochs : array of float, shape (n,)
        Epochs in which the region was watched.
    seen : array of float, shape (looks, n)
        Of those pages, how many each look saw accessed since the clear.
    hit_epochs : array of float, shape (looks, n)
        Epochs in which each look saw at least one such page. Neighbouring pages are often accessed
        together, so that epochs, not pages, are what is independent.
    """

    pages: NDArray[np.float64]
    epochs: NDArray[np.float64]
    seen: NDArray[np.float64]
    hit_epochs: NDArray[np.float64]

    @classmethod
    def empty(cls, looks: int, regions: int) -> Survival:
        """Sums of nothing."""
        return cls(
            np.zeros(regions),
            np.zeros(regions),
            np.zeros((looks, regions)),
            np.zeros((looks, regions)),
        )

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def looks(self) -> int:
        """How often each epoch is looked at."""
        return len(self.seen)

    @classmethod
    def of_rows(cls, rows: NDArray[np.float64]) -> Survival:
        """Sums from rows as `rows` makes them: shape (regions, 2 + 2 * looks)."""
        looks = (rows.shape[1] - 2) // 2
        columns = rows.T
        return cls(columns[0], columns[1], columns[2 : 2 + looks], columns[2 + looks :])

    @property
    def rows(self) -> NDArray[np.float64]:
        """All sums of each region side by side: shape (regions, 2 + 2 * looks)."""
        columns = np.vstack([self.pages, self.epochs, self.seen, self.hit_epochs])
        return np.ascontiguousarray(columns.T)

    def less(self, part: Survival) -> Survival:
        """These sums without those of a *part* of the epochs."""
        return Survival(
            *(getattr(self, field.name) - getattr(part, field.name) for field in fields(self))
        )

    def followed_by(self, new: Survival) -> Survival:
        """These sums, faded as epochs pass, and *new* ones of the same regions.

        Where *new* contradicts what was known, the region starts anew with it.
        """
        units = self._units
        keep = np.maximum(0, 1 - new.epochs / MEMORY_EPOCHS) * ~self._contradicted(new, units)
        # Where another monitor takes accesses, blocks have one page at times. How much an epoch
        # counts by its pages depends on how many of them are as good as independent.
        independent = np.maximum(units, new._units).min(axis=0)
        of_old, of_new = self.pages / self._epochs, new.pages / new._epochs
        most = np.maximum(of_old, of_new)
        of_most = most / np.minimum(independent, np.maximum(most, 1))
        old, new = (
            each._scaled(of_most * np.minimum(independent, pages) / np.where(pages > 0, pages, 1))
            for each, pages in ((self, of_old), (new, of_new))
        )
        sums = {
            field.name: getattr(old, field.name) * keep + getattr(new, field.name)
            for field in fields(self)
        }
        return replace(self, **sums)

    @property
    def _epochs(self) -> NDArray[np.float64]:
        return np.maximum(self.epochs, 1e-9)

    @property
    def _shares(self) -> NDArray[np.float64]:
        return self.seen / np.where(self.pages > 0, self.pages, np.inf)

    @property
    def _units(self) -> NDArray[np.float64]:
        """How many pages of a block are as good as independent ones, at each look."""
        hits, pages = self.hit_epochs / self._epochs, self.pages / self._epochs
        with np.errstate(divide="ignore", invalid="ignore"):
            return _independent_units(self._shares, hits, pages)

    def _scaled(self, factor: NDArray[np.float64]) -> Survival:
        """The same with so many times as many pages in each epoch."""
        return replace(self, pages=self.pages * factor, seen=self.seen * factor)

    def _contradicted(self, new: Survival, units: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the share of pages with a hit has changed at a look, by its likelihood ratio."""
        known, trials = self.epochs * units, np.where(new.pages > 0, new.epochs * units, 0)
        before = (self._shares * known + 0.5) / (known + 1)
        now = np.clip(new._shares, 1e-9, 1 - 1e-9)
        gain = now * np.log(now / before) + (1 - now) * np.log((1 - now) / (1 - before))
        contradicted: NDArray[np.bool_] = 2 * (trials * gain).max(axis=0) >= _CONTRADICTION
        return contradicted


def access_share(
    sums: Survival, look_ns: NDArray[np.float64], interval_ns: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of intervals with an access, and its standard deviation, of each region.

    Parameters
    ----------
    sums : Survival
        What the looks have seen.
    look_ns : array of float, shape (looks,)
        How long after the clear each look came on average, rising.
    interval_ns : float
        The sampling interval that the share refers to.

    Returns
    -------
    share, deviation : arrays of float, shape (n,)
        Regions that were never watched have a share and a deviation of NaN.

    Notes
    -----
    Simulated with 20 epochs of 16 pages and looks after 5, 20, 80 and 250 ms, the mean is within
    20 % of the truth for accesses at random (2 to 1000 a second), periods of 1.3 to 900 ms with all
    pages at once, sequential scans and mixtures of 1 page in 8; bursts of 50 ms in 500 read 40 %
    too low. `tests/unit/model/test_survival.py` holds it to that. Where all pages are accessed at
    once, each epoch is one observation: a single estimate is then off by 37 % (periods of 20 ms) to
    71 % (periods of 900 ms, root mean square), which the deviation says.
    """
    epochs, shares, units = sums._epochs, sums._shares, sums._units
    with np.errstate(divide="ignore", invalid="ignore"):
        of_blocks = 1 / units.min(axis=0)
        part = epochs / (epochs + _FEW_EPOCHS)
        foresight = _FORESIGHT * part + (_OF_BLOCKS - _FORESIGHT) * of_blocks * part**3
        straight = 0.5 + (_STRAIGHT_BLOCKS - 0.5) * of_blocks
        share = later = shares[-1]
        trials = epochs * units[-1]
        evidence, surplus = trials, np.zeros(len(sums))
        for look in range(sums.looks - 2, -1, -1):
            ratio = look_ns[look] / look_ns[look + 1]
            at_random = 1 - (1 - share) ** ratio
            expected = straight * share * ratio + (1 - straight) * at_random
            trials = epochs * units[look]
            events, foreseen = shares[look] * trials, expected * trials
            # That all was accessed by the later look says little, unless epochs are few.
            told = 1 - share * epochs / (epochs + 1)
            surplus += told * np.maximum(events - foreseen, 0) ** 2 / (foreseen + 1)
            weight = foresight * told**2 / (1 + (surplus / _SURPLUS) ** 2)
            evidence = np.where(expected > 0, trials + weight / expected, trials)
            later = share
            share = np.where(expected > 0, (events + weight) / evidence, 0.0)
        share = np.where(sums.pages > 0, share, np.nan)
        deviation = np.sqrt(np.maximum(share * (1 - share), 1 / trials) / evidence)
    return np.minimum(share * _of_first_look(share, later, look_ns, interval_ns), 1), deviation


def _of_first_look(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    look_ns: NDArray[np.float64],
    interval_ns: float,
) -> NDArray[np.float64]:
    """The share after an interval, divided by that at the first look, which comes a bit later.

    F grows as a power of the time there: 1 where accesses are rare, and 0 where a part of the pages
    is always in use, and the rest never. For accesses at random, at any rate, that power is the
    square root of the one from the first look to the second, within 5 %.
    """
    power = np.ones(len(first))
    if len(look_ns) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.log(second / first) / np.log(look_ns[1] / look_ns[0])
        power = np.sqrt(np.clip(np.nan_to_num(power, nan=1, posinf=1), 0, 1))
    of_first: NDArray[np.float64] = (interval_ns / max(look_ns[0], 1)) ** power
    return of_first


def _independent_units(
    shares: NDArray[np.float64], hit_epochs: NDArray[np.float64], pages: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How many pages of a block are as good as independent ones, at each look.

    Of *m* independent pages, each accessed with probability F, none is in a share (1 - F)^m of
    epochs. A look without a hit tells nothing of that: the next one does.
    """
    missed = np.clip(1 - hit_epochs, 0.02, 1)
    units = np.log(missed) / np.log(1 - np.clip(shares, 0, 0.98))
    units = np.where((hit_epochs > 0) & (shares > 0), units, np.nan)
    for look in range(len(units) - 2, -1, -1):
        units[look] = np.where(np.isnan(units[look]), units[look + 1], units[look])
    return np.clip(np.where(np.isnan(units), pages, units), 1, np.maximum(pages, 1))
