"""What a survey finds where clearing does not make everything visible again."""

from __future__ import annotations

import numpy as np
import pytest

from pydamon._model import adjust
from pydamon._model.ranges import EMPTY, PAGE_SIZE
from pydamon._model.regions import RegionTable
from pydamon._observe.probes.base import PageBits, RealClock, Session
from pydamon._observe.sampling.exact_looks import Clearing, chunks_of

PAGES, HOT, SHARED = 512, 128, slice(400, 440)
SIZE = PAGES * PAGE_SIZE


class CachedSession(Session):
    """A program that touches its hot pages all the time, and has them in a TLB.

    A clear by `scan` flushes that, so that they are seen at once; `clear_process_wide` does not.
    """

    def __init__(self) -> None:
        self.clock = RealClock()
        self._accessed = np.ones(PAGES, np.bool_)

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        nothing = np.zeros(PAGES, np.bool_)
        stuck = nothing.copy()
        before = self._accessed.copy()
        if clear:
            stuck[SHARED] = True
            self._accessed = stuck | (np.arange(PAGES) < HOT)
        return PageBits(start, ~nothing, nothing, before & ~stuck, stuck)

    def needs_process_wide_clear(self, target: int) -> bool:
        return True

    def clear_process_wide(self, target: int) -> bool:
        self._accessed[:] = False
        return True

    def close(self) -> None:
        pass

    set_targets = watch = tick = counts = pytest.fail  # type: ignore[assignment]


def test_pages_that_stay_in_a_tlb_count_as_touched() -> None:
    look = Clearing(CachedSession(), chunks_of([np.array([[0, SIZE]])])).look
    look.look()
    table = look.finish().draw(RegionTable.of(0, 0, SIZE), 100, EMPTY)
    assert float(table.touched @ table.size) == HOT * PAGE_SIZE
    assert HOT * PAGE_SIZE in table.start
    assert not table.unobservable.any()


class GrowingSession(CachedSession):
    """A program that touches the first half at once, and the second only after some looks."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        nothing = np.zeros(PAGES, np.bool_)
        self._looks += not clear
        early = np.arange(PAGES) < PAGES // 2
        accessed = nothing if clear else early | (self._looks > 2)
        return PageBits(start, ~nothing, nothing, accessed, nothing)

    def needs_process_wide_clear(self, target: int) -> bool:
        return False


def test_looks_tell_rates_apart_and_keep_regions_apart() -> None:
    """All pages are touched in the end: only the earlier looks tell the halves apart."""
    look = Clearing(GrowingSession(), chunks_of([np.array([[0, SIZE]])])).look
    look.tells_rates = True
    for _ in range(3):
        look.look()
    before = RegionTable.of(0, 0, SIZE)
    before.evidence[:, 1] = 20
    table = look.finish().draw(before, 100, EMPTY)
    assert table.start.tolist() == [0, SIZE // 2]
    assert table.touched.tolist() == [1, 1]
    assert table.heat.tolist() == [1, 0.5]
    assert (table.evidence[:, 1] < 20).all()  # of a mixture
    merged = adjust.merge_within(table, 1, SIZE, 100, 20, keep_contrasts=True)
    assert len(merged) == 2
    assert len(adjust.merge_within(table, 1, SIZE, 100, 20)) == 1
