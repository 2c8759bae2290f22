"""Follows pages: looks at all of them now and then, and tells how long each has been idle."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import pairwise, starmap
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pydamon._model.page_ages import BLOCK_PAGES, PageAges, bucket_of, spread_over_buckets
from pydamon._model.page_map import ABSENT_NS, UNKNOWN_NS, PageMap
from pydamon._model.ranges import PAGE_SIZE, Ranges, order_keys
from pydamon._model.regions import RegionTable
from pydamon._model.runs import Runs, expand, group_bounds, unique
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.process import Process
from pydamon._observe.pages.followed import FollowedPages, Returns
from pydamon._observe.pages.look_times import ABSENT, FIRST, UNKNOWN, LookTimes
from pydamon._observe.pages.repeated import Repeated, RepeatedPages
from pydamon._observe.probes.base import Accessed, ManyBits, Session
from pydamon._observe.targets import Layout

__all__ = ["ClearPages", "PageFollower", "StuckPages"]

_LONGEST_REST_NS = 30e9
"""If looks at all pages, within their part of the budget, came less often than this, only a part of
the pages is followed."""
_BLOCK_NS = 12_000
"""The CPU time of a look for each block of 2 MiB, before any has been measured."""
_HALF = 0.5
_EWMA_WEIGHT = 0.3
_LEAST_BLOCKS, _ENOUGH_BLOCKS = 64, 2048
"""So few blocks are followed in any case; and where all are too many, no more than so many, as the
first look at each has the bits of a life-time to clear."""
_LEAST_REST_NS = 10**9
_MANY_FAULTS_PER_S = 10
"""With so many major faults a second, memory is short, and looks come as seldom as they may: where
clearing an accessed bit deactivates the page, a look puts the working set in front of what the
kernel reclaims."""
_MOST_WITNESSED = 256
_PAGES_AT_ONCE = 2**17
"""So many pages are looked at before their bits are noted: 512 MiB."""
_SOONER = 8
"""A map is never older than this part of the time for which pages have been followed."""


StuckPages: TypeAlias = Callable[[Stretches], NDArray[np.bool_]]
"""Tells which pages of some stretches (flat) could not be cleared."""
ClearPages: TypeAlias = Callable[[], StuckPages | None]
"""Clears all pages, for a survey to begin; `None` if only a part of them is followed."""


class PageFollower:
    """Follows the pages of a session's targets, with at most *share* of one CPU.

    Each look clears the accessed bits that it reads. Whatever else clears them, such as samples and
    surveys, tells this object first.
    """

    def __init__(self, session: Session, share: float) -> None:
        self._session = session
        self._share = share
        self._pages = FollowedPages()
        self._times = LookTimes()
        self._returns = Returns()
        self._processes: Sequence[Process] = ()
        self._ranges: Sequence[Ranges] | None = None
        self._block_ns = float(_BLOCK_NS)
        self._most_blocks = 0.0
        self._paid_ns = 0
        self._faults = (0, 0)
        """The major faults of all processes when they were last counted, and when that was."""
        self._told_ns = self._untold = 0
        """The last look that `ages_of` has told about, and how many there were since."""
        self._first_ns = self._mapped_ns = 0
        """The first look, and the last of which there is a map."""
        self._in_survey, self._surveyed_ns = False, 0
        self._witnessed: list[Callable[[], Accessed]] = []
        """Pages that others have cleared: see `Witness`."""
        self._mappings: object = ()
        self._repeated = RepeatedPages(session, share)
        session.witness = self._witness

    def is_due(self, now_ns: int) -> bool:
        """Whether the looks so far are paid for."""
        return now_ns >= self._paid_ns

    def look(self, layout: Layout, ranges: Sequence[Ranges], spare_share: float = 0.0) -> None:
        """Look at all pages that are followed, of the memory that each target has now.

        The next look waits until this one is paid for, also by what others leave of one CPU. Pages
        that are accessed all the time are not cleared: that is most of the work, and tells little.
        """
        clock = self._session.clock
        begin_ns = clock.cpu_ns()
        self.fit(layout, ranges)
        repeated_ns = self._look_at_all(busy_too=False)
        cost_ns = self._learned(clock.cpu_ns() - begin_ns - repeated_ns) + repeated_ns
        least_ns = _LONGEST_REST_NS if self._memory_is_short(clock.now_ns()) else _LEAST_REST_NS
        rest_ns = int(max(least_ns, cost_ns / (self._share + spare_share)))
        self._paid_ns = max(clock.now_ns(), self._paid_ns) + rest_ns

    def fit(self, layout: Layout, ranges: Sequence[Ranges]) -> None:
        """Follow the memory that there is now, with the numbers that its targets have now."""
        processes = layout.processes
        if self._processes is not processes and list(self._processes) != list(processes):
            numbers = self._numbers_in(layout)
            if numbers.tolist() != list(range(len(numbers))):
                self._pages.renumber(numbers)
                self._repeated.renumber(numbers)
            self._processes, self._ranges = processes, None
        if ranges is not self._ranges or layout.mappings is not self._mappings:
            self._ranges, self._mappings = ranges, layout.mappings
            self._follow_less(self._pages.count(ranges))
            self._pages.fit(ranges)
            self._repeated.fit(layout, ranges, self._pages)
            self._repeated.find(self._pages, self._times.last)

    def repeated_in(self, layout: Layout, by_mapping: Ranges, forked: Ranges) -> Repeated:
        """What counts in another target, as of the last look.

        Of targets that have come since then, what mappings say, and all that was *forked*.
        """
        if layout.mappings is self._mappings:
            return self._repeated.found
        return self._repeated.moved(self._numbers_in(layout), by_mapping, forked)

    def _numbers_in(self, layout: Layout) -> NDArray[np.int64]:
        """The numbers that the targets of the last look have now; -1 for those that are gone."""
        place = {id(process): index for index, process in enumerate(layout.processes)}
        return np.array([place.get(id(process), -1) for process in self._processes], np.int64)

    def begin_survey(self, layout: Layout, ranges: Sequence[Ranges]) -> StuckPages | None:
        """Look, and clear all pages: a survey, which pays for that, needs not clear again.

        If only a part of the pages is followed, the survey has to clear what it needs.
        """
        self.fit(layout, ranges)
        if self._pages.share < 1:
            return None
        self._look_at_all(busy_too=True)
        self._in_survey, self._surveyed_ns = True, self._times.end_ns
        return self.unknown_pages

    def finish_survey(self) -> None:
        """See which pages are accessed all the time: before the survey, and again since then."""
        if not self._in_survey:
            return
        self._in_survey = False
        bits = self._session.scan_many(self._pages.stretches, clear=False)
        self._pages.busy = (
            bits.accessed & (self._pages.flat >= self._times.last) & ~bits.unobservable
        )
        self._repeated.find(self._pages, self._times.last)

    def unknown_pages(self, stretches: Stretches) -> NDArray[np.bool_]:
        """Which pages of some stretches (flat) the last look could not clear."""
        rows = zip(stretches.keys[:, 0].tolist(), stretches.pages.tolist(), strict=True)
        parts = [self._pages.stamps_in(key, pages) == UNKNOWN for key, pages in rows]
        return np.concatenate([np.zeros(0, np.bool_), *parts])

    def ages_of(self, table: RegionTable) -> PageAges | None:
        """The ages of the pages of regions, if there was a look since this was last asked.

        Sets how much of each region is in memory: shares of regions that were merged or cut since
        their survey are means.
        """
        looked_ns = self._times.end_ns
        if not self._times.last or looked_ns == self._told_ns:
            return None
        begin_ns = self._session.clock.cpu_ns()
        since_ns, self._told_ns = self._told_ns or looked_ns, looked_ns
        looks, self._untold = self._untold, 0
        spread = spread_over_buckets(*self._times.ages_ns())
        sums, in_memory = self._pages.sums(table.keys, spread, self._returns.take())
        if looked_ns != self._surveyed_ns:  # else the end of the survey has told
            table.resident = np.where(np.isnan(in_memory), table.resident, in_memory)
        self._paid_ns += int((self._session.clock.cpu_ns() - begin_ns) / self._share)
        unix_ns = self._session.clock.unix_ns
        return PageAges(
            sums.region,
            sums.bucket,
            sums.resident_bytes,
            sums.returned_bytes,
            looked_ns=unix_ns(looked_ns),
            since_ns=unix_ns(since_ns),
            looks=looks,
            followed_share=self._pages.share,
        )

    def maps_of(self, targets: int, every_ns: int, *, final: bool) -> tuple[PageMap | None, ...]:
        """The age of each followed page of so many targets; empty unless a map is due.

        A map is due *every_ns*, sooner where pages have been followed for a short time only, since
        programs may end soon, and if it is the *final* one. A target without pages in memory, such
        as a program that has just ended, has no map.
        """
        looked_ns = self._times.end_ns
        due_ns = min(every_ns, (looked_ns - self._first_ns) // _SOONER)
        if not self._times.last or looked_ns == self._mapped_ns:
            return ()
        if looked_ns - self._mapped_ns < due_ns and not final:
            return ()
        begin_ns = self._session.clock.cpu_ns()
        self._mapped_ns = looked_ns
        idle_ns = self._times.ages_ns()[0]
        idle_ns[[ABSENT, UNKNOWN]] = ABSENT_NS, UNKNOWN_NS
        looked = self._session.clock.unix_ns(looked_ns)
        stretches, stamps = self._pages.stretches, self._pages.flat
        maps = []
        for rows in starmap(slice, pairwise(group_bounds(stretches.target, targets).tolist())):
            pages = slice(*stretches.offsets[[rows.start, rows.stop]].tolist())
            start, sizes, codes = stretches.start[rows], stretches.pages[rows], stamps[pages]
            maps.append(
                PageMap(looked, self._pages.share, start, sizes, codes.copy(), idle_ns)
                if (codes != ABSENT).any()
                else None
            )
        self._paid_ns += int((self._session.clock.cpu_ns() - begin_ns) / self._share)
        return tuple(maps)

    def idle_pages(self, process: Process, start: int, end: int, idle_ns: int) -> NDArray[np.bool_]:
        """For each page of a range: whether it was in memory, and surely idle for so long.

        Pages whose age is not known are not idle. Ages are as of the last look: what was accessed
        since has an accessed bit.
        """
        target = next((i for i, p in enumerate(self._processes) if p is process), -1)
        key = order_keys(np.array([target]), np.array([start], np.int64))
        pages = (end - start) // PAGE_SIZE
        if target < 0 or not self._times.last:
            return np.zeros(pages, np.bool_)
        self._take_witnessed()
        stamps = self._pages.stamps_in(int(key[0]), pages)
        latest_ns = self._times.latest_ns()
        latest_ns[self._times.last + 1 :] = self._session.clock.now_ns()
        old = self._session.clock.now_ns() - latest_ns >= idle_ns
        old[[ABSENT, UNKNOWN]] = False
        idle: NDArray[np.bool_] = old[stamps]
        return idle

    def _memory_is_short(self, now_ns: int) -> bool:
        """Whether the processes have had many major faults since this was last asked."""
        before, before_ns = self._faults
        faults = sum(process.major_faults() for process in self._processes)
        self._faults = faults, now_ns
        # Those before the first look are of the start of the program.
        return before_ns > 0 and faults - before > _MANY_FAULTS_PER_S * (now_ns - before_ns) / 1e9

    def _follow_less(self, blocks: int) -> None:
        """Follow a part of the memory only, if all of it is too much. That part never grows:
        nothing would be known of the past of what came back."""
        affordable = self._share * _LONGEST_REST_NS / self._block_ns
        if self._pages.share == 1 and blocks <= max(_LEAST_BLOCKS, affordable):
            return
        most = np.clip(affordable, _LEAST_BLOCKS, _ENOUGH_BLOCKS)
        while self._pages.share * blocks > most:
            self._pages.share *= _HALF

    def _learned(self, cost_ns: int) -> float:
        """Learn what looks cost; returns what this one has to pay.

        The first look has to clear the bits of a life-time: that belongs to the start. So does the
        first look at most of the memory of programs that grow.
        """
        blocks = len(self._pages) / BLOCK_PAGES
        is_first, self._most_blocks = blocks > 2 * self._most_blocks, max(blocks, self._most_blocks)
        if is_first or self._times.last <= FIRST or not blocks:
            return min(cost_ns, self._block_ns * blocks)
        self._block_ns += _EWMA_WEIGHT * (cost_ns / blocks - self._block_ns)
        return cost_ns

    def _look_at_all(self, *, busy_too: bool) -> int:
        """Read all accessed bits, clear them, and note what was accessed.

        Pages that are accessed all the time are cleared if *busy_too*. That is done part by part:
        for a moment, each page takes many times the byte that it takes for good. Returns the CPU
        time for finding which pages count in another target, too.
        """
        session, stretches = self._session, self._pages.stretches
        self._pages.forget_vanished()
        targets = unique(stretches.target).tolist()
        whole = {target for target in targets if session.clear_whole(target)}

        def needs_more(target: int) -> bool:
            return target not in whole and session.needs_process_wide_clear(target)

        undivided = [target for target in targets if needs_more(target)]
        pages_of = np.bincount(stretches.target, stretches.pages)
        for part, pages in _parts_of(stretches, undivided):
            bits = self._read_and_clear(
                part, whole, None if busy_too else self._pages.busy_in(pages)
            )
            in_part = np.bincount(part.target, part.pages, len(pages_of))
            for target in np.flatnonzero((in_part == pages_of) & (in_part > 0)).tolist():
                if needs_more(target) and session.clear_process_wide(target):
                    bits.unobservable[part.of_pages(part.target == target)] = False
            self._note(part, pages, bits)
        self._pages.forget_moved()
        self._times.add(session.clock.now_ns())
        self._first_ns = self._first_ns or self._times.end_ns
        self._untold += 1
        if self._times.must_merge:
            self._pages.merge(self._times.merge())
        begin_ns = session.clock.cpu_ns()
        self._repeated.compare_if_due(self._pages)
        self._repeated.find(self._pages, self._times.last)
        return session.clock.cpu_ns() - begin_ns

    def _read_and_clear(
        self, stretches: Stretches, whole: Container[int], kept: NDArray[np.bool_] | None
    ) -> ManyBits:
        """Read accessed bits, and clear those that are not *kept*, or cleared as a *whole*."""
        session = self._session
        by_page = np.array([target not in whole for target in stretches.target.tolist()], np.bool_)
        session.witness = None  # of what this look clears, it sees the bits itself
        try:
            if by_page.all():
                return session.scan_many(stretches, clear=True, kept=kept)
            bits = session.scan_many(stretches, clear=False)
            pages = stretches.of_pages(by_page)
            kept = None if kept is None else kept[pages]
            cleared = session.scan_many(stretches.take(by_page), clear=True, kept=kept)
        finally:
            session.witness = self._witness
        for name in ("present", "accessed", "unobservable"):
            getattr(bits, name)[pages] = getattr(cleared, name)
        bits.gone[by_page] = cleared.gone
        return bits

    def _note(self, stretches: Stretches, pages: slice, bits: ManyBits) -> None:
        """Stamp the pages of some stretches, which stand at *pages* of all."""
        self._take_witnessed()
        stamps = self._pages.flat[pages]
        self._pages.restore_moved(pages, bits.present & ~bits.accessed)
        self._touch(pages.start + np.flatnonzero(bits.accessed))
        now = self._times.last + 1
        stamps[bits.present & (stamps == ABSENT)] = now
        self._pages.vanish(pages, ~bits.present)
        stamps[bits.unobservable] = UNKNOWN
        if bits.gone.any():
            stamps[stretches.of_pages(bits.gone)] = ABSENT

    def _witness(self, told: Callable[[], Accessed]) -> None:
        """Pages are accessed, and will be cleared by somebody else.

        That happens some times a second, so that it must take hardly any time.
        """
        if self._times.last:
            self._witnessed.append(told)
            if len(self._witnessed) > _MOST_WITNESSED:
                self._take_witnessed()

    def _take_witnessed(self) -> None:
        """Stamp the pages that others have cleared since the last look."""
        accessed = [np.zeros(0, np.int64)]
        for keys, marks in (told() for told in self._witnessed):
            if marks.dtype == np.uint16:
                bits = marks.astype("<u2").view(np.uint8).reshape(-1, 2)
                row, page = np.nonzero(np.unpackbits(bits, axis=1, bitorder="little"))
            else:
                row, page = np.nonzero(marks)
            accessed.append(keys[row] + page)
        self._witnessed = []
        self._touch(self._pages.places_of(unique(np.concatenate(accessed))))

    def _touch(self, places: NDArray[np.int64]) -> None:
        """Pages were accessed since the last look; note how long those had rested that did."""
        now = self._times.last + 1
        before = self._pages.flat[places]
        # Between two looks running there may have been no rest at all.
        rested = np.flatnonzero((before != ABSENT) & (before < now - 1))
        keys, before = self._pages.keys_at(places[rested]), before[rested]
        if len(rested):
            # A page that others used meanwhile has been in use.
            before = np.maximum(before, self._repeated.last_used(keys, self._pages))
            keys, before = keys[before < now - 1], before[before < now - 1]
        if len(keys):
            since_ns = self._times.middle_ns()[before]
            now_ns = (self._times.end_ns + self._session.clock.now_ns()) // 2
            self._returns.add(keys, bucket_of(np.maximum(now_ns - since_ns, 0)))
        self._pages.flat[places] = now


def _parts_of(stretches: Stretches, undivided: Sequence[int]) -> Iterator[tuple[Stretches, slice]]:
    """The pages in parts of not too many, and where they stand; some targets stay *undivided*."""
    divided = ~np.isin(stretches.target, undivided)
    row, place = expand(np.where(divided, (stretches.pages - 1) // _PAGES_AT_ONCE, 0))
    stretches = stretches.cut_at(stretches.keys[row, 0] + (place + 1) * _PAGES_AT_ONCE)
    target, offsets = stretches.target, stretches.offsets
    first = np.arange(len(stretches))
    whole = np.isin(target, undivided)
    first[whole] = np.searchsorted(target, target[whole])
    part = offsets[first] // _PAGES_AT_ONCE
    for head, beyond in Runs.of(part):
        pages = slice(int(offsets[head]), int(offsets[beyond]))
        yield stretches.take(np.arange(head, beyond)), pages
