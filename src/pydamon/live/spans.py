"""Spans of addresses with an access rate, and the mean of several lists of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon.core.regions import PAGE_SIZE

__all__ = ["MOST_SPANS", "RateSpans", "union"]

MOST_SPANS = 1000
"""As many does a union have, however many it is made of, if names allow it."""

_LEVELS = (64, 16, 4, 1)
"""Rates count as alike within 1 / so many; fewer where there would be too many spans."""
_NEGLIGIBLE = 1e-9
_PAGE_BITS = 46
"""An address has at most 57 bits, of which 12 are within a page; one more for its end."""


@dataclass(frozen=True, eq=False)
class RateSpans:
    """Sorted by target and address, without overlap; one entry a span in each column.

    `target` and `name` are indices into lists that somebody else has, `start` and `end` bytes,
    `rate` is 0 to 1, and NaN where nobody had looked yet.
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    rate: NDArray[np.float32]
    name: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start)

    def of_target(self, index: int) -> RateSpans:
        """Those of one target."""
        first, beyond = np.searchsorted(self.target, (index, index + 1)).tolist()
        rows = slice(first, beyond)
        return RateSpans(
            self.target[rows], self.start[rows], self.end[rows], self.rate[rows], self.name[rows]
        )

    def renumbered(self, target: NDArray[np.int32], name: NDArray[np.int32]) -> RateSpans:
        """The same with other indices: i becomes target[i], and name[i]. Their order is lost."""
        return replace(self, target=target[self.target], name=name[self.name])

    def blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end of what the spans, which are of one target, fill without a gap."""
        if not len(self):
            return self.start, self.end
        apart = self.start[1:] != self.end[:-1]
        return self.start[np.append(True, apart)], self.end[np.append(apart, True)]


def union(parts: Sequence[RateSpans], weights: Sequence[float]) -> RateSpans:
    """Spans of all that any part covers, with the mean rate of those parts that know it.

    The spans of a part may be in any order. Borders are rounded to pages; neighbours of the same
    name become one where their rates are alike.
    """
    low = [_place(part.target, part.start) for part in parts]
    high = [_place(part.target, part.end) for part in parts]
    edges = np.unique(np.concatenate(low + high))
    if len(edges) < 2:
        return _EMPTY
    first = [np.searchsorted(edges, places) for places in low]
    beyond = [np.searchsorted(edges, places) for places in high]
    weight = np.repeat(np.array(weights, np.float64), [len(part) for part in parts])
    rate = np.concatenate([part.rate for part in parts])
    seen = ~np.isnan(rate)
    known = _filled(first, beyond, weight * seen, len(edges))
    heat = _filled(first, beyond, weight * np.where(seen, rate, 0), len(edges))
    name = np.full(len(edges) - 1, -1, np.int32)
    for part, begin, end in zip(reversed(parts), reversed(first), reversed(beyond), strict=True):
        # The newest name; what the last part covers is nearly always all.
        lengths = end - begin
        cells = np.repeat(begin - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        names = np.repeat(part.name, lengths)
        unknown = name[cells] < 0
        name[cells[unknown]] = names[unknown]
        if (name >= 0).all():
            break
    covered = np.flatnonzero(name >= 0)
    # What rounding leaves of a sum of equal numbers is not an access.
    mean = np.full(len(covered), np.nan)
    is_known = known[covered] > _NEGLIGIBLE * weight.max(initial=0)
    np.divide(heat[covered], known[covered], out=mean, where=is_known)
    mean = np.clip(np.round(mean, 6), 0, 1)
    return _joined(edges[covered], edges[covered + 1], mean, name[covered])


def _place(target: NDArray[np.int32], address: NDArray[np.int64]) -> NDArray[np.int64]:
    """Target and page as one number."""
    return (target.astype(np.int64) << _PAGE_BITS) + address // PAGE_SIZE


def _filled(
    first: list[NDArray[np.intp]],
    beyond: list[NDArray[np.intp]],
    weight: NDArray[np.float64],
    edges: int,
) -> NDArray[np.float64]:
    """How much weight lies on each cell between two edges."""
    begun = np.bincount(np.concatenate(first), weight, edges)
    over = np.bincount(np.concatenate(beyond), weight, edges)
    filled: NDArray[np.float64] = np.cumsum(begun - over)[:-1]
    return filled


def _joined(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    rate: NDArray[np.float64],
    name: NDArray[np.int32],
) -> RateSpans:
    """Neighbours that are alike as one."""
    apart = (low[1:] != high[:-1]) | (name[1:] != name[:-1])
    heads = np.arange(len(low))
    for levels in _LEVELS:
        level = np.nan_to_num(np.ceil(rate * levels), nan=-1)
        heads = np.flatnonzero(np.append(True, apart | (level[1:] != level[:-1])))
        if len(heads) <= MOST_SPANS:
            break
    size = (high - low).astype(np.float64)
    start, end = low[heads], high[np.append(heads[1:], len(low)) - 1]
    mean = np.add.reduceat(rate * size, heads) / np.add.reduceat(size, heads)
    pages = (1 << _PAGE_BITS) - 1
    return RateSpans(
        (start >> _PAGE_BITS).astype(np.int32),
        (start & pages) * PAGE_SIZE,
        (end & pages) * PAGE_SIZE,
        mean.astype(np.float32),
        name[heads],
    )


_EMPTY = RateSpans(
    np.empty(0, np.int32),
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)
