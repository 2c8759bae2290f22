"""Survival sampling, as the engine sees it: blocks of pages that are cleared once an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pydamon._model.regions import RegionTable
from pydamon._model.survival import Survival

__all__ = ["EpochCounts", "Epochs"]


@dataclass(frozen=True, slots=True)
class EpochCounts:
    """What epochs have counted since `Epochs.watch`: arrays with one entry a region."""

    sums: Survival
    look_ns: NDArray[np.float64]
    """How long after the clear each look came, on average."""
    epochs: int
    """How many epochs there were."""
    unobservable: NDArray[np.float64]
    """How often a block was chosen of which no page could be cleared."""
    split_hint: NDArray[np.int64]
    """An address that parts blocks with an access from all others, 0 for none."""
    lost: bool = False
    """A target has another address space now (it called exec), or none: read its mappings again."""


class Epochs(ABC):
    """Watches a block of neighbouring pages in each region, epoch by epoch.

    An epoch begins with a clear; then the pages are looked at several times, later and later,
    without clearing them again (`pydamon._model.survival`).
    """

    most_blocks: int
    """How many blocks one epoch may have."""

    @property
    @abstractmethod
    def paced_by_kernel(self) -> bool:
        """Whether looks within an epoch come by themselves; else `look` must be called for each."""

    @property
    @abstractmethod
    def interrupt_ns(self) -> int:
        """Time that looks have taken in interrupts so far, on whatever CPU."""

    @abstractmethod
    def plan(self, after_ns: Sequence[int]) -> None:
        """Look so long after each clear from now on, and at the end of each epoch."""

    @abstractmethod
    def watch(self, table: RegionTable, share: NDArray[np.float64] | float = 1.0) -> None:
        """Watch these regions from now on, each in a *share* of the epochs; sums start at 0."""

    @abstractmethod
    def begin(self) -> None:
        """Begin an epoch: choose blocks at random, and clear them."""

    @abstractmethod
    def look(self) -> None:
        """Take the next look of this epoch now."""

    @abstractmethod
    def end(self) -> None:
        """Take the last look of this epoch."""

    @abstractmethod
    def counts(self) -> EpochCounts:
        """The sums since `watch`."""
