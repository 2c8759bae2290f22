"""How the results of a kdamond are read: as columns, aggregation by aggregation."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon.core.closing import Closing
from pydamon.kernel.kdamond import Kdamond

__all__ = ["Aggregation", "Reader", "TriedReader", "cut_at", "without"]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What the kernel counted in one aggregation, which ended at `end_ns` (monotonic).

    One entry a region, sorted by target and address; addresses are bytes. `lost` aggregations
    before this one could not be read in time.
    """

    end_ns: int
    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    nr_accesses: NDArray[np.int64]
    age: NDArray[np.int64]
    lost: int = 0


def without(aggregation: Aggregation, targets: Sequence[int]) -> Aggregation:
    """The same without some targets, whose numbers the next ones take; *targets* are sorted."""
    gone = np.array(targets, np.int32)
    columns = ("target", "start", "end", "nr_accesses", "age")
    chosen = ~np.isin(aggregation.target, gone)
    kept = {name: getattr(aggregation, name)[chosen] for name in columns}
    kept["target"] = kept["target"] - np.searchsorted(gone, kept["target"]).astype(np.int32)
    return replace(aggregation, **kept)


def cut_at(aggregation: Aggregation, borders: NDArray[np.int64]) -> Aggregation:
    """The same with every region cut in two that lies on both sides of one of some addresses."""
    for border in borders:
        for at in np.flatnonzero((aggregation.start < border) & (border < aggregation.end)):
            twice = np.insert(np.arange(len(aggregation.start)), at, at)
            start, end = aggregation.start[twice], aggregation.end[twice]
            end[at] = start[at + 1] = border
            aggregation = replace(
                aggregation,
                target=aggregation.target[twice],
                start=start,
                end=end,
                nr_accesses=aggregation.nr_accesses[twice],
                age=aggregation.age[twice],
            )
    return aggregation


class Reader(Closing):
    """Gets results from a kdamond that runs."""

    waits: bool
    """Whether `read` itself waits for the next aggregation."""

    @abstractmethod
    def read(self) -> Sequence[Aggregation]:
        """The aggregations that have ended since the last call, oldest first."""

    def close(self) -> None:
        """Nothing to give back."""


class TriedReader(Reader):
    """Asks for the regions that a `stat` scheme tried, which are all: works without tracing.

    The kernel makes four files of each region, which costs about 20 us a region to make and to
    read; aggregations that end meanwhile are never seen. Where events can be had, `EventReader`
    costs a hundredth of that and loses nothing.
    """

    waits = True

    def __init__(self, kdamond: Kdamond, scheme: int) -> None:
        self._kdamond = kdamond
        self._scheme = scheme

    def read(self) -> Sequence[Aggregation]:
        rows = self._kdamond.tried_regions(self._scheme)
        end_ns = time.monotonic_ns()
        if not len(rows):
            return ()
        start, end, nr_accesses, age = np.ascontiguousarray(rows.T)
        # The files do not say which target a region is of; addresses start anew with each.
        target = np.cumsum(np.append(False, start[1:] < end[:-1])).astype(np.int32)
        return (Aggregation(end_ns, target, start, end, nr_accesses, age),)
