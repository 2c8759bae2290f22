"""How often memory is accessed, from how long cleared pages survive without an access.

Once an *epoch*, pages are cleared and then looked at several times, later and later, without
clearing them again. When a page is first seen accessed says how often it is accessed: a few clears
tell rates over several orders of magnitude.

What looks see is summed up here, over epochs and with the doubt that it is of the same accesses;
`access_patterns` tells the rates from that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_PAGES", "MEMORY_EPOCHS", "Survival"]

BLOCK_PAGES = 16
"""The pages of a block: clearing so many side by side costs what clearing one does."""

MEMORY_EPOCHS = 30.0
"""Sums reach back this many epochs, unless the region changes: 8 s by default."""
_CONTRADICTION = 12.0
"""Twice the log-likelihood ratio at which what is new does not fit what was: 1 in 1,900 by chance.
There are many regions and looks, and what starts anew knows little."""
_MOST_SHARE = 0.98
"""Where more is accessed, chance decides in which epochs a page was not."""


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
    def of_shares(cls, shares: NDArray[np.float64]) -> Survival:
        """An epoch of blocks of which looks saw these shares accessed: shape (looks, n).

        What looks saw of all pages of regions becomes evidence in that way.
        """
        whole = np.ones(shares.shape[1])
        # A block has an access unless each of its pages lacks one.
        hits = 1 - (1 - shares) ** BLOCK_PAGES
        return cls(whole * BLOCK_PAGES, whole, shares * BLOCK_PAGES, hits)

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

    def take(self, regions: NDArray[np.int64]) -> Survival:
        """The sums of these regions."""
        return Survival(*(getattr(self, field.name)[..., regions] for field in fields(self)))

    def less(self, part: Survival) -> Survival:
        """These sums without those of a *part* of the epochs."""
        return Survival(
            *(getattr(self, field.name) - getattr(part, field.name) for field in fields(self))
        )

    def followed_by(self, new: Survival, later: NDArray[np.float64] | float = 1.0) -> Survival:
        """These sums, faded as epochs pass, and *new* ones of the same regions.

        The looks of *new* came so many times *later* after the clear: one figure each. Where *new*
        contradicts what was known, the region starts anew with it.
        """
        units = self.independent_pages
        keep = np.maximum(0, 1 - new.epochs / MEMORY_EPOCHS) * ~self._contradicted(
            new, units, later
        )
        # Where another monitor takes accesses, blocks have one page at times. How much an epoch
        # counts by its pages depends on how many of them are as good as independent.
        independent = np.maximum(units, new.independent_pages)
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
    def independent_pages(self) -> NDArray[np.float64]:
        """How many pages of a block are as good as independent ones, by all looks: shape (n,).

        Of *m* independent pages, each accessed with probability F, none is in a share (1 - F)^m of
        epochs. A look tells most where about half of the epochs had a hit, and nothing where all
        or none had.
        """
        hits, pages = self.hit_epochs / self._epochs, self.pages / self._epochs
        # By chance, all epochs may have had a hit.
        missed = np.clip(1 - hits, 0.5 / (self.epochs + 1), 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            units = np.log(missed) / np.log(1 - np.clip(self._shares, 0, _MOST_SHARE))
        tells = (hits > 0) & (self._shares > 0)
        weight = np.where(tells, hits * missed, 0.0)
        total = weight.sum(axis=0)
        mean = (weight * np.where(tells, units, 0.0)).sum(axis=0) / np.where(total > 0, total, 1)
        independent: NDArray[np.float64] = np.where(total > 0, mean, pages)
        return independent.clip(1, np.maximum(pages, 1))

    def _scaled(self, factor: NDArray[np.float64]) -> Survival:
        """The same with so many times as many pages in each epoch."""
        return replace(self, pages=self.pages * factor, seen=self.seen * factor)

    def _contradicted(
        self, new: Survival, units: NDArray[np.float64], later: NDArray[np.float64] | float
    ) -> NDArray[np.bool_]:
        """Whether the share of pages with a hit has changed at a look, by its likelihood ratio."""
        known, trials = self.epochs * units, np.minimum(new.epochs * units, new.pages)
        same = (self._shares * known + 0.5) / (known + 1)
        now = np.clip(new._shares, 1e-9, 1 - 1e-9)
        # Up to so many times as much is accessed in a longer time, or nothing more.
        then = np.minimum(same * np.reshape(later, (-1, 1)), (known + 0.5) / (known + 1))
        before = np.clip(now, np.minimum(same, then), np.maximum(same, then))
        gain = now * np.log(now / before) + (1 - now) * np.log((1 - now) / (1 - before))
        contradicted: NDArray[np.bool_] = 2 * (trials * gain).max(axis=0) >= _CONTRADICTION
        return contradicted
