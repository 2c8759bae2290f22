"""Private pages that processes share since a fork: one page until one of them writes to it.

Such a page has the same address in each of the processes, unless mremap has moved it, and it is in
the same frame. Two targets can have it only if they come from one program: see
`MappingTable.origin`. Of targets that do, the frames are compared now and then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import MappingTable, of_one_origin
from pydamon._model.ranges import PAGE_SIZE, from_order_keys
from pydamon._model.runs import Runs, expand
from pydamon._observe.pages.followed import FollowedPages
from pydamon._observe.pages.shared import PartOfTarget, Rows, SharedPages
from pydamon._observe.probes.base import Session

__all__ = ["ForkedPages"]

_MOST_VERSIONS = 7
"""Of the pages at one address so many can be shared: of further ones each counts by itself."""


class ForkedPages(SharedPages):
    """The private pages that several targets map, in the memory that each has now."""

    _most_versions = _MOST_VERSIONS

    def _parts(self, mappings: Sequence[MappingTable]) -> Sequence[Iterable[PartOfTarget]]:
        # An address is a place in what was forked, as an offset is one in a file.
        private = of_one_origin(mappings, [table.private for table in mappings])
        return [
            [(start, end, table.origin, start // PAGE_SIZE) for start, end in ranges.tolist()]
            for table, ranges in zip(mappings, private, strict=True)
        ]

    def _versions(self, pages: FollowedPages) -> Sequence[NDArray[np.bool_]]:
        versions = pages.versions
        if versions is None:
            return []
        return [versions == number for number in range(1, int(versions.max(initial=0)) + 1)]

    def inherit(self, pages: FollowedPages, new: Sequence[int]) -> None:
        """Let *new* targets share what others have there, until frames are compared.

        They were forked a moment ago, so that hardly anything is their own.
        """
        versions = pages.versions
        if versions is None:
            return
        is_new = np.isin(from_order_keys(self._keys[:, 0])[0], new)
        for batch in self._batches:
            if not is_new[batch].any():
                continue
            of_pieces, rows = self._rows(batch, pages)
            shared = np.zeros(of_pieces.stop - of_pieces.start, np.uint8)
            for places, slots in rows.take(~is_new[batch]).parts():
                np.maximum(shared[slots], versions[places], out=shared[slots])
            for places, slots in rows.take(is_new[batch]).parts():
                versions[places] = shared[slots]

    def compare(self, session: Session, pages: FollowedPages) -> int:
        """Set the `versions` of pages by the frames they are in; returns how many have changed."""
        before = pages.versions
        if not len(self):
            pages.versions = None
            return 0 if before is None else int(np.count_nonzero(before))
        stretches = pages.stretches
        is_forked = np.isin(stretches.target, self.targets)
        frames = session.shared_frames(stretches.take(is_forked))
        if not is_forked.all():
            of_all = np.zeros(len(pages), np.uint32)
            of_all[stretches.of_pages(is_forked)] = frames
            frames = of_all
        versions = np.zeros(len(pages), np.uint8)
        for batch in self._batches:
            of_pieces, rows = self._rows(batch, pages)
            slots = of_pieces.stop - of_pieces.start
            find = _versions_by_row if rows.are_long else _versions_by_page
            _tell_apart(find(frames, rows, slots, versions), versions)
        pages.versions = versions if versions.any() else None
        return int(np.count_nonzero(versions if before is None else versions != before))


class _Rest(NamedTuple):
    """Pages that may be shared, and are not those that most targets have there: one entry each."""

    places: NDArray[np.int64]
    slots: NDArray[np.int64]
    frames: NDArray[np.uint32]


def _versions_by_page(
    frames: NDArray[np.uint32], rows: Rows, slots: int, versions: NDArray[np.uint8]
) -> _Rest:
    """Give version 1 to the pages (flat) of a slot that are in the frame of its first one.

    Unless that is the only one; returns all others.
    """
    places, slot = rows.each_page()
    frame = frames[places]
    there = np.flatnonzero(frame)
    places, slot, frame = places[there], slot[there], frame[there]
    first = np.zeros(slots, np.uint32)
    first[slot[::-1]] = frame[::-1]  # the last write counts: that of the first row
    same = frame == first[slot]
    several = np.bincount(slot[same], minlength=slots) > 1
    versions[places] = same & several[slot]
    rest = np.flatnonzero(~same)
    return _Rest(places[rest], slot[rest], frame[rest])


def _versions_by_row(
    frames: NDArray[np.uint32], rows: Rows, slots: int, versions: NDArray[np.uint8]
) -> _Rest:
    """The same, many times as fast where rows are long."""
    first, count = np.zeros(slots, np.uint32), np.zeros(slots, np.uint16)
    found = [np.zeros((2, 0), np.int64)]
    parts = rows.parts()
    for places, slot in parts:
        frame, of_first = frames[places], first[slot]
        np.copyto(of_first, frame, where=of_first == 0)
        there = frame != 0
        same = frame == of_first
        same &= there
        versions[places] = same
        count[slot] += same
        rest = np.flatnonzero(there ^ same)
        if len(rest):
            found.append(np.stack([places.start + rest, slot.start + rest]))
    several = count > 1
    for places, slot in parts:
        versions[places] &= several[slot]
    places_found, slots_found = np.concatenate(found, axis=1)
    return _Rest(places_found, slots_found, frames[places_found])


def _tell_apart(rest: _Rest, versions: NDArray[np.uint8]) -> None:
    """Give versions above 1 to the pages of a slot that are in one frame, if there are several."""
    order = np.argsort(rest.slots << 32 | rest.frames, kind="stable")
    places, slot, frame = (column[order] for column in rest)
    same = Runs.of(slot, frame)
    several = same.lengths > 1
    heads = same.heads[several]
    of_slot = Runs.of(slot[heads])
    _, number = expand(of_slot.lengths)
    version = np.where(number + 2 <= _MOST_VERSIONS, number + 2, 0)
    lengths = same.lengths[several]
    run, place = expand(lengths)
    versions[places[heads[run] + place]] = version[run]
