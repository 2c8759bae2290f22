"""A made-up process whose pages have ages, for tests of schemes that act on pages."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon._act.actions import reclaim
from pydamon._act.memory import TargetMemory
from pydamon._act.runtime.acting import PageLooks
from pydamon._act.runtime.pipeline import SchemePipeline
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_ages import PageAges, bucket_of
from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.snapshot import Snapshot, Target
from pydamon._observe.linux import madvise
from pydamon._observe.linux.pagemap import HUGE, PRESENT, RUN, Frames, PageRuns
from tests.recordings import BEGIN_NS, snapshot

__all__ = ["HUGE_PAGES", "MADE_UP_PID", "SECOND", "MadeUpProcess", "act"]

SECOND = 10**9
HUGE_PAGES = 512
MADE_UP_PID = 7
_HOT = 0


class MadeUpProcess:
    """Pages from the address *start* on, with an age in seconds each; -1 is not in memory.

    *huge* are the first pages of huge pages. *borders* are pages at which regions begin, besides
    the first. Ages grow with `wait`, but those of hot pages (age 0) do not.
    """

    def __init__(
        self,
        ages_s: list[int] | NDArray[np.int64],
        *,
        start: int = 1 << 30,
        huge: tuple[int, ...] = (),
        borders: tuple[int, ...] = (),
    ) -> None:
        self.start = start
        self.ages_s = np.array(ages_s, np.int64)
        self.now_ns = BEGIN_NS
        self.frame = np.arange(1, 2 * len(self.ages_s), 2)[: len(self.ages_s)]
        self.is_huge = np.zeros(len(self.ages_s), np.bool_)
        for number, first in enumerate(huge):
            self.is_huge[first : first + HUGE_PAGES] = True
            frames = (1000 + number) * HUGE_PAGES + np.arange(HUGE_PAGES)
            self.frame[first : first + HUGE_PAGES] = frames
        self.borders = (0, *borders, len(self.ages_s))
        self.advised: list[NDArray[np.int64]] = []
        """The pages of each call: (first, behind) rows."""
        self.asked: list[tuple[int, int, int]] = []
        """(first page, page behind the last, seconds) of each question for idle pages."""
        self.keeps = np.zeros(len(self.ages_s), np.bool_)
        """Pages that stay in memory whatever the advice is."""
        mapping = Mapping(start, self.end, "rw-p", "[heap]")
        process: Any = SimpleNamespace(pid=MADE_UP_PID, alive=True, pidfd=-1)
        self.memory = TargetMemory(process, MappingTable((mapping,)))
        self.memory.pages = cast(Any, self)
        self.target = Target(MADE_UP_PID, "made up", self.memory.mappings)
        self.looks = PageLooks(self._young, self._idle)
        self.refusal = ""

    @property
    def end(self) -> int:
        """The address behind its last page."""
        return self.start + len(self.ages_s) * PAGE_SIZE

    @property
    def advised_pages(self) -> NDArray[np.bool_]:
        """Whether each page was advised at all."""
        advised = np.zeros(len(self.ages_s), np.bool_)
        for rows in self.advised:
            for first, behind in rows.tolist():
                advised[first:behind] = True
        return advised

    def wait(self, seconds: int) -> None:
        """Let time pass: pages that are not hot grow older."""
        self.now_ns += seconds * SECOND
        self.ages_s[self.ages_s > _HOT] += seconds

    def snapshot(self, *, looks: bool = True) -> Snapshot:
        """The regions of now; with ages of pages if somebody *looks*."""
        rows = [
            (0, self._address(first), self._address(behind), 5, 3)
            for first, behind in zip(self.borders[:-1], self.borders[1:], strict=True)
        ]
        seen = snapshot([self.target], rows)
        shift_ns = self.now_ns - seen.end_ns
        seen = dataclasses.replace(
            seen, start_ns=seen.start_ns + shift_ns, end_ns=seen.end_ns + shift_ns
        )
        return dataclasses.replace(seen, page_ages=self._sums(seen)) if looks else seen

    def _sums(self, seen: Snapshot) -> PageAges:
        present = np.flatnonzero(self.ages_s >= 0)
        region = np.searchsorted(seen.start, self._address(present), side="right") - 1
        keys = np.stack([region, bucket_of(self.ages_s[present] * SECOND)], axis=1)[region >= 0]
        rows, counts = np.unique(keys, axis=0, return_counts=True)
        return PageAges(
            rows[:, 0],
            rows[:, 1],
            counts * PAGE_SIZE,
            np.zeros(len(rows), np.int64),
            looked_ns=seen.end_ns,
            since_ns=seen.start_ns,
        )

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let actions advise this process, instead of the kernel about a real one."""
        monkeypatch.setattr(madvise, "advise_at", lambda *_: 0)
        monkeypatch.setattr(madvise, "advise", self._advise)
        monkeypatch.setattr(reclaim, "holds_swap", lambda _: True)

    def _advise(self, pidfd: int, rows: NDArray[np.uint64], advice: int) -> NDArray[np.intp]:
        del pidfd, advice
        address = rows.astype(np.int64)
        first = self._page(address[:, 0])
        self.advised.append(np.stack([first, first + address[:, 1] // PAGE_SIZE], axis=1))
        for begin, behind in self.advised[-1].tolist():
            pages = self.ages_s[begin:behind]
            pages[~self.keeps[begin:behind]] = -1
        return np.empty(0, np.intp)

    def _idle(self, memory: TargetMemory, start: int, end: int, idle_ns: int) -> NDArray[np.bool_]:
        assert memory is self.memory
        first, behind = int(self._page(start)), int(self._page(end))
        self.asked.append((first, behind, idle_ns // SECOND))
        idle: NDArray[np.bool_] = self.ages_s[first:behind] * SECOND >= max(idle_ns, 1)
        return idle

    def _young(self, memory: TargetMemory, start: int, end: int) -> NDArray[np.bool_]:
        del memory
        young: NDArray[np.bool_] = self.ages_s[self._page(start) : self._page(end)] == _HOT
        return young

    # What it has of ProcessPages.

    def runs(self, ranges: NDArray[np.int64]) -> PageRuns:
        """The pages in memory, a run each."""
        pages = [np.arange(self._page(s), self._page(e)) for s, e in ranges.tolist()]
        page = np.concatenate([np.empty(0, np.int64), *pages])
        page = page[(page >= 0) & (page < len(self.ages_s))]
        page = page[self.ages_s[page] >= 0]
        runs = np.zeros(len(page), RUN)
        runs["start"], runs["end"] = self._address(page), self._address(page + 1)
        runs["categories"] = PRESENT | np.where(self.is_huge[page], HUGE, 0)
        return PageRuns(runs)

    def frames(self, start: int, end: int) -> Frames:
        """The frames of the pages of a range."""
        page = np.arange(self._page(start), self._page(end))
        there = (page >= 0) & (page < len(self.ages_s))
        known = np.where(there, page, 0)
        present = there & (self.ages_s[known] >= 0)
        return Frames(
            present, np.zeros(len(page), np.bool_), np.where(present, self.frame[known], 0)
        )

    def _page(self, address: Any) -> Any:
        return (address - self.start) // PAGE_SIZE

    def _address(self, page: Any) -> Any:
        return self.start + page * PAGE_SIZE


def act(pipeline: SchemePipeline, process: MadeUpProcess, *, looks: bool = True) -> None:
    """Apply a scheme to what a process has now."""
    seen = process.snapshot(looks=looks)
    pipeline.apply(seen, {MADE_UP_PID: process.memory}, process.looks)
