"""Pages that count in another target: those of files, and those that were forked.

Where only a part of all pages is followed, it is not the same part in each target. Then a sample of
the addresses of forked targets tells how much of each region counts elsewhere; of files, what
mappings say is all that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pydamon._model.mappings import MappingTable, forked_ranges, of_one_origin
from pydamon._model.ranges import EMPTY, Ranges, from_order_keys, keyed
from pydamon._observe.linux.process import Process
from pydamon._observe.pages.followed import FollowedPages
from pydamon._observe.pages.forked import ForkedPages
from pydamon._observe.pages.look_times import ABSENT, FIRST
from pydamon._observe.pages.shared import SharedPages, repeated_now
from pydamon._observe.probes.base import Session
from pydamon._observe.targets import Layout

__all__ = ["Repeated", "RepeatedPages"]

_SHARE = 0.25
"""The part of the CPU time for looks at all pages that comparing frames may take."""
_LEAST_REST_NS = 10**9
_SELDOM_NS = 60 * 10**9
"""Where frames stay the same, they are compared ever less often, up to this."""
_FEW = 0.01
"""They stay the same if no more than this part of the shared pages has changed."""
_MOST_BLOCKS = 8192
_HALF = 0.5


class Repeated(NamedTuple):
    """What counts in another target, as ranges of order keys."""

    files: Ranges | None
    """Pages of files; `None` if nobody has looked at all pages."""
    forked: Ranges = EMPTY
    """Pages that were forked: where nobody has looked at all pages, those in a sample..."""
    sampled: Ranges = EMPTY
    """...of this memory."""


class RepeatedPages:
    """Finds the pages of a session's targets that count in another target.

    Comparing frames takes at most a part of *share* of one CPU.
    """

    def __init__(self, session: Session, share: float) -> None:
        self._session = session
        self._share = _SHARE * share
        self._files: SharedPages | None = None
        """`None` where only a part of the pages is followed."""
        self._forked = ForkedPages([], [])
        self._sample: FollowedPages | None = None
        """The pages of which frames are compared, if those that are followed will not do."""
        self._mappings: Sequence[MappingTable] = ()
        self._processes: Sequence[Process] = ()
        self._paid_ns = self._due_ns = 0
        """When comparing is paid for, and when frames are compared again."""
        self._rest_ns = 0
        self._new = EMPTY
        """What targets share that have come since the last look: all that was forked."""
        self.found = Repeated(None)
        """As of the last look."""

    def fit(self, layout: Layout, ranges: Sequence[Ranges], pages: FollowedPages) -> None:
        """Find them in the memory that each target has now, of which some *pages* are followed."""
        self._mappings = mappings = layout.mappings
        is_all = pages.share == 1
        self._files = SharedPages(mappings, ranges) if is_all else None
        forked = of_one_origin(mappings, ranges)
        if is_all:
            self._sample = None
        else:
            sample = self._sample
            self._sample = sample = FollowedPages(by_address=True) if sample is None else sample
            while sample.count(forked) * sample.share > _MOST_BLOCKS:
                sample.share *= _HALF
            sample.fit(forked)
            forked = sample.ranges(len(forked))
        self._forked = ForkedPages(mappings, forked)
        known = {id(process) for process in self._processes}
        new = [i for i, process in enumerate(layout.processes) if id(process) not in known]
        self._processes = layout.processes
        if new:
            self._forked.inherit(pages if self._sample is None else self._sample, new)
            self._new = keyed(forked_ranges(mappings))
            self._new = self._new[np.isin(from_order_keys(self._new[:, 0])[0], new)]
            self._due_ns = self._paid_ns

    def renumber(self, numbers: NDArray[np.int64]) -> None:
        """Give each target its new number; targets with the number -1 are gone."""
        if self._sample is not None:
            self._sample.renumber(numbers)

    def compare_if_due(self, pages: FollowedPages) -> None:
        """After a look, compare the frames of forked pages, if that is paid for."""
        clock, self._new = self._session.clock, EMPTY
        compared = pages if self._sample is None else self._sample
        if clock.now_ns() < self._due_ns:
            return
        if not len(self._forked) and compared.versions is None:
            return
        begin_ns = clock.cpu_ns()
        changed = self._forked.compare(self._session, compared)
        # The first time belongs to the start.
        cost_ns = clock.cpu_ns() - begin_ns if self._paid_ns else 0
        versions = compared.versions
        shared = 0 if versions is None else int(np.count_nonzero(versions))
        few = changed <= _FEW * shared
        rest_ns = max(_LEAST_REST_NS, int(cost_ns / self._share))
        self._rest_ns = max(rest_ns, min(2 * self._rest_ns, _SELDOM_NS) if few else 0)
        self._paid_ns, self._due_ns = clock.now_ns() + rest_ns, clock.now_ns() + self._rest_ns

    def find(self, pages: FollowedPages, last: int) -> None:
        """Find them; *last* is the stamp of the last interval between two looks."""
        self.found = Repeated(None)
        if not last:
            return
        if self._files is not None:
            of_files = self._files.find_repeated(pages, last)
            of_forks = self._forked.find_repeated(pages, last)
            self.found = Repeated(of_files, _sorted(of_forks, self._new))
        elif self._sample is not None:
            self.found = self._find_in(self._sample)

    def _find_in(self, sample: FollowedPages) -> Repeated:
        if sample.versions is None:
            return Repeated(None)
        # Nobody knows who used them last: each counts in the first target that has it.
        sample.flat[:] = np.where(sample.versions > 0, FIRST, ABSENT)
        forked = self._forked.find_repeated(sample, FIRST + 1)
        return Repeated(None, forked, sample.stretches.keys)

    def moved(self, numbers: NDArray[np.int64], by_mapping: Ranges, new_forks: Ranges) -> Repeated:
        """What was found, after targets have got other *numbers*: see `repeated_now`.

        Nobody knows which pages counted in forked targets that are gone, so that one that is left
        has all of its own.
        """
        files, forked, sampled = self.found
        if files is None and not len(sampled):
            return self.found
        left = self._left_of_forked(numbers >= 0)
        forked = forked[~np.isin(from_order_keys(forked[:, 0])[0], left)]
        return Repeated(
            None if files is None else repeated_now(files, numbers, by_mapping),
            repeated_now(forked, numbers, new_forks),
            repeated_now(sampled, numbers, new_forks if len(sampled) else EMPTY),
        )

    def _left_of_forked(self, is_there: NDArray[np.bool_]) -> list[int]:
        """A target that is left of each program of which others are gone."""
        origins = [table.origin for table in self._mappings]
        gone = {origins[target] for target in np.flatnonzero(~is_there).tolist()}
        left = {origins[target]: target for target in np.flatnonzero(is_there)[::-1].tolist()}
        return [target for origin, target in left.items() if origin in gone]

    def last_used(self, keys: NDArray[np.int64], pages: FollowedPages) -> NDArray[np.uint8]:
        """When any target used the followed pages with these order keys: see `SharedPages`."""
        if self._files is None:
            return np.full(len(keys), ABSENT, np.uint8)
        stamps = self._files.last_used(keys)
        if pages.versions is not None:
            versions = pages.versions[pages.places_of(keys)]
            stamps = np.maximum(stamps, self._forked.last_used(keys, versions))
        return stamps


def _sorted(some: Ranges, others: Ranges) -> Ranges:
    both = np.concatenate([some, others])
    return both[np.argsort(both[:, 0])]
