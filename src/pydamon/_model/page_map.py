"""The age of each single page of a target, as of one look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pydamon._model.owners import MemoryView
from pydamon._model.ranges import PAGE_SIZE, locate, union
from pydamon._model.runs import Runs, expand, running_total, unique

__all__ = ["ABSENT_NS", "UNKNOWN_NS", "PageMap", "PageRuns", "of_shared_memory", "of_views"]

ABSENT_NS, UNKNOWN_NS = -1, -2
"""Stand in place of an idle time: the page is not in memory, or nobody can watch it."""
_MOST_CODES = 256
_UNKNOWN_RANK = 2**62


@dataclass(frozen=True, slots=True)
class PageRuns:
    """Neighbouring pages with the same idle time: sorted by address, without overlap.

    *idle_ns* is how long the pages have been idle for certain, `ABSENT_NS`, or `UNKNOWN_NS`.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    idle_ns: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PageMap:
    """How long each followed page of a target has been idle.

    Parameters
    ----------
    looked_ns
        When the pages were looked at (Unix time).
    followed_share
        The part of the memory that is followed page by page: below 1, the map has a pseudo-random
        part of all blocks of 2 MiB.
    start, pages
        The address of each stretch of followed memory, and how many pages it has.
    codes
        A byte for each page, one stretch behind the other: an index into *idle_ns*.
    idle_ns
        For how long the pages of each code have been idle at least; `ABSENT_NS` for pages that are
        not in memory, `UNKNOWN_NS` for pages that cannot be watched.
    page_bytes
        Bytes of a page of the machine that was looked at.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.array([0, 0, 1, 2], np.uint8)
    >>> ages = PageMap(10**9, 1.0, np.array([0]), np.array([4]), codes, np.array([-1, 0, 10**9]))
    >>> ages.idle_bytes(10**9)
    4096
    """

    looked_ns: int
    followed_share: float
    start: NDArray[np.int64]
    pages: NDArray[np.int64]
    codes: NDArray[np.uint8]
    idle_ns: NDArray[np.int64]
    page_bytes: int = PAGE_SIZE

    @property
    def resident_bytes(self) -> int:
        """Bytes of followed pages that are in memory."""
        return int((self.idle_ns != ABSENT_NS)[self.codes].sum()) * self.page_bytes

    def idle_bytes(self, idle_ns: int) -> int:
        """Bytes of followed pages that have been idle for at least *idle_ns*."""
        return int((self.idle_ns >= max(0, idle_ns))[self.codes].sum()) * self.page_bytes

    def compact(self) -> Self:
        """The same ages, with a code for each idle time that pages have."""
        used = np.flatnonzero(np.bincount(self.codes, minlength=len(self.idle_ns)))
        idle_ns = unique(self.idle_ns[used])
        code = np.searchsorted(idle_ns, self.idle_ns).astype(np.uint8)
        return replace(self, codes=code[self.codes], idle_ns=idle_ns)

    def chunks(self, most_pages: int) -> Iterator[Self]:
        """The map in parts of at most so many pages."""
        per_stretch = -(-self.pages // most_pages)
        stretch, place = expand(per_stretch)
        skipped = place * most_pages
        start = self.start[stretch] + skipped * self.page_bytes
        pages = np.minimum(self.pages[stretch] - skipped, most_pages)
        bounds = running_total(pages)
        first = 0
        while first < len(start):
            beyond = int(np.searchsorted(bounds, bounds[first] + most_pages, side="right")) - 1
            rows = slice(first, beyond)
            codes = self.codes[bounds[first] : bounds[beyond]]
            yield replace(self, start=start[rows], pages=pages[rows], codes=codes)
            first = beyond

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The parts of a map of one look as one map."""
        first = parts[0]
        if len(parts) == 1:
            return first
        idle_ns = unique(np.concatenate([part.idle_ns for part in parts]))
        codes = [
            np.searchsorted(idle_ns, part.idle_ns).astype(np.uint8)[part.codes] for part in parts
        ]
        return cls(
            first.looked_ns,
            first.followed_share,
            np.concatenate([part.start for part in parts]),
            np.concatenate([part.pages for part in parts]),
            np.concatenate(codes),
            idle_ns,
            first.page_bytes,
        )

    def runs(self) -> PageRuns:
        """The pages as runs of equal idle times."""
        offsets = running_total(self.pages)
        apart = self.codes[1:] != self.codes[:-1]
        ends = self.start[:-1] + self.pages[:-1] * self.page_bytes
        apart[offsets[1:-1] - 1] |= self.start[1:] != ends
        runs = Runs.split(apart, len(self.codes))
        start, last = (self._addresses(offsets, place) for place in (runs.heads, runs.tails))
        return PageRuns(start, last + self.page_bytes, self.idle_ns[self.codes[runs.heads]])

    def _addresses(self, offsets: NDArray[np.int64], place: NDArray[np.intp]) -> NDArray[np.int64]:
        """The addresses of the pages at some places of the codes."""
        stretch = np.searchsorted(offsets, place, side="right") - 1
        address: NDArray[np.int64] = (
            self.start[stretch] + (place - offsets[stretch]) * self.page_bytes
        )
        return address


def of_shared_memory(maps: Sequence[PageMap]) -> PageMap:
    """The ages of pages that several processes share at the same addresses.

    A page has been idle for as long as in the process that used it last.
    """
    if len(maps) == 1:
        return maps[0]
    page_bytes = maps[0].page_bytes
    first = [page_map.start // page_bytes for page_map in maps]
    spans = [
        np.stack([start, start + each.pages], axis=1)
        for start, each in zip(first, maps, strict=True)
    ]
    bounds = union(np.concatenate(spans))
    offsets = running_total(bounds[:, 1] - bounds[:, 0])
    # One process after the other: there may be hundreds, with millions of pages each.
    latest = np.full(offsets[-1], _rank(np.array([ABSENT_NS]))[0])
    for start, page_map in zip(first, maps, strict=True):
        row = locate(bounds, start)
        stretch, place = expand(page_map.pages)
        place += (offsets[row] + start - bounds[row, 0])[stretch]
        latest[place] = np.minimum(latest[place], _rank(page_map.idle_ns)[page_map.codes])
    age_ns = np.where(latest >= _UNKNOWN_RANK, latest - _UNKNOWN_RANK + UNKNOWN_NS, latest)
    idle_ns = _few(unique(age_ns))
    codes = (np.searchsorted(idle_ns, age_ns, side="right") - 1).astype(np.uint8)
    return PageMap(
        max(page_map.looked_ns for page_map in maps),
        min(page_map.followed_share for page_map in maps),
        bounds[:, 0] * page_bytes,
        bounds[:, 1] - bounds[:, 0],
        codes,
        idle_ns,
        page_bytes,
    )


def _rank(age_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """An age counts before "not watched", and that before "not in memory"."""
    return np.where(
        age_ns >= 0,
        np.minimum(age_ns, _UNKNOWN_RANK - 1),
        _UNKNOWN_RANK + (age_ns - UNKNOWN_NS),
    )


def of_views(page_map: PageMap, views: Sequence[MemoryView]) -> PageMap:
    """The ages of pages that a process maps at several addresses, at those that count."""
    if not views:
        return page_map
    start, ends, counted_at = np.array(sorted(views), np.int64).T
    row = np.maximum(np.searchsorted(start, page_map.start, side="right") - 1, 0)
    is_view = (page_map.start >= start[row]) & (page_map.start < ends[row])
    moved = np.where(is_view, page_map.start - start[row] + counted_at[row], page_map.start)
    number = np.where(is_view, row, -1)
    parts = []
    for view in unique(number).tolist():
        chosen = number == view
        codes = page_map.codes[np.repeat(chosen, page_map.pages)]
        parts.append(
            replace(page_map, start=moved[chosen], pages=page_map.pages[chosen], codes=codes)
        )
    return of_shared_memory(parts) if parts else page_map


def _few(idle_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most 256 of the sorted idle times, with those that are no times."""
    if len(idle_ns) <= _MOST_CODES:
        return idle_ns
    place = np.linspace(0, len(idle_ns) - 1, _MOST_CODES - 3).astype(np.int64)
    return unique(np.concatenate([idle_ns[:3], idle_ns[place]]))
