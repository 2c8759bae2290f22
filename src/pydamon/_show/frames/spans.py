"""Spans of addresses with an access rate, and unions of them in a bounded number of spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_size import SMALLEST_PAGE
from pydamon._model.ranges import join
from pydamon._model.runs import Runs, expand

__all__ = ["MOST_SPANS", "RateSpans", "union"]

MOST_SPANS = 1000
"""A union keeps at most this many spans, unless mapping names force more."""

_LEVELS = (64, 16, 4, 1)
"""Rates count as alike within 1/64; within more, where there would be too many spans."""
_NEGLIGIBLE = 1e-9
_PAGE_BITS = 46
"""An address has at most 57 bits, 12 of them within a page; one more bit for the end."""


@dataclass(frozen=True, eq=False)
class RateSpans:
    """Spans sorted by target and address, without overlap; each column has one entry a span.

    Parameters
    ----------
    target, name
        Indices into lists of targets and of mapping names that the owner of the spans keeps.
    start, end
        Bytes, half open.
    rate
        The access rate, 0 to 1; NaN where no probe had looked yet.

    Examples
    --------
    >>> import numpy as np
    >>> first = np.zeros(1, np.int32)
    >>> start, end = np.array([4096]), np.array([8192])
    >>> spans = RateSpans(first, start, end, np.array([0.5], np.float32), first)
    >>> len(spans), spans.of_target(1).rate.size
    (1, 0)
    """

    target: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    rate: NDArray[np.float32]
    name: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start)

    def of_target(self, index: int) -> RateSpans:
        """The spans of one target."""
        first, beyond = np.searchsorted(self.target, (index, index + 1)).tolist()
        rows = slice(first, beyond)
        return RateSpans(
            self.target[rows], self.start[rows], self.end[rows], self.rate[rows], self.name[rows]
        )

    def renumbered(self, target: NDArray[np.int32], name: NDArray[np.int32]) -> RateSpans:
        """The same spans with other indices: i becomes target[i], or name[i]. Order is lost."""
        return replace(self, target=target[self.target], name=name[self.name])

    def blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start and end of each stretch without a gap; the spans must be of one target."""
        blocks = join(np.column_stack([self.start, self.end]))
        return blocks[:, 0], blocks[:, 1]


def union(parts: Sequence[RateSpans], weights: Sequence[float]) -> RateSpans:
    """The spans that any part covers, with the mean rate of the parts that know a rate.

    Parameters
    ----------
    parts
        Lists of spans, each in any order and without overlap.
    weights
        What each part counts in the mean, such as the time that it stands for.

    Returns
    -------
    RateSpans
        Borders are rounded to pages. Neighbours of the same name merge where their rates are
        alike: within 1/64, or more coarsely where more than 1000 spans would be left.

    Examples
    --------
    >>> import numpy as np
    >>> def spans(start, end, rate):
    ...     first = np.zeros(1, np.int32)
    ...     bounds = np.array([start]), np.array([end])
    ...     return RateSpans(first, *bounds, np.array([rate], np.float32), first)
    >>> both = union([spans(0, 8192, 1.0), spans(4096, 12288, 0.0)], [1, 1])
    >>> both.start.tolist(), both.rate.tolist()
    ([0, 4096, 8192], [1.0, 0.5, 0.0])
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
    name = _newest_names(parts, first, beyond, len(edges) - 1)
    covered = np.flatnonzero(name >= 0)
    # What rounding leaves of a sum of equal numbers is not an access.
    mean = np.full(len(covered), np.nan)
    is_known = known[covered] > _NEGLIGIBLE * weight.max(initial=0)
    np.divide(heat[covered], known[covered], out=mean, where=is_known)
    mean = np.clip(np.round(mean, 6), 0, 1)
    return _merged(edges[covered], edges[covered + 1], mean, name[covered])


def _place(target: NDArray[np.int32], address: NDArray[np.int64]) -> NDArray[np.int64]:
    """Target and page as one number."""
    return (target.astype(np.int64) << _PAGE_BITS) + address // SMALLEST_PAGE


def _filled(
    first: list[NDArray[np.intp]],
    beyond: list[NDArray[np.intp]],
    weight: NDArray[np.float64],
    edges: int,
) -> NDArray[np.float64]:
    """The weight that lies on each cell between two edges."""
    begun = np.bincount(np.concatenate(first), weight, edges)
    over = np.bincount(np.concatenate(beyond), weight, edges)
    filled: NDArray[np.float64] = np.cumsum(begun - over)[:-1]
    return filled


def _newest_names(
    parts: Sequence[RateSpans],
    first: list[NDArray[np.intp]],
    beyond: list[NDArray[np.intp]],
    cells: int,
) -> NDArray[np.int32]:
    """The name of each cell in the newest part that covers it; -1 where no part does."""
    name = np.full(cells, -1, np.int32)
    for part, begin, end in zip(reversed(parts), reversed(first), reversed(beyond), strict=True):
        span, place = expand(end - begin)
        cell = begin[span] + place
        names = part.name[span]
        nameless = name[cell] < 0
        name[cell[nameless]] = names[nameless]
        if (name >= 0).all():  # the last part nearly always covers everything
            break
    return name


def _merged(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    rate: NDArray[np.float64],
    name: NDArray[np.int32],
) -> RateSpans:
    """Cells with alike neighbours merged."""
    apart = (low[1:] != high[:-1]) | (name[1:] != name[:-1])
    runs = Runs.of(low)
    for levels in _LEVELS:
        level = np.nan_to_num(np.ceil(rate * levels), nan=-1)
        runs = Runs.split(apart | (level[1:] != level[:-1]), len(low))
        if len(runs) <= MOST_SPANS:
            break
    size = (high - low).astype(np.float64)
    start, end = low[runs.heads], high[runs.tails]
    mean = runs.sum(rate * size) / runs.sum(size)
    pages = (1 << _PAGE_BITS) - 1
    return RateSpans(
        (start >> _PAGE_BITS).astype(np.int32),
        (start & pages) * SMALLEST_PAGE,
        (end & pages) * SMALLEST_PAGE,
        mean.astype(np.float32),
        name[runs.heads],
    )


_EMPTY = RateSpans(
    np.empty(0, np.int32),
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)
