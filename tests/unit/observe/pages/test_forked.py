"""Private pages that targets share since a fork count once, by the frames that they are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_ages import BLOCK_PAGES
from pydamon._model.ranges import PAGE_SIZE, contains, from_order_keys, keyed, order_keys
from pydamon._model.stretches import Stretches
from pydamon._observe.pages import repeated, shared
from pydamon._observe.pages.followed import FollowedPages
from pydamon._observe.pages.forked import ForkedPages
from pydamon._observe.pages.look_times import ABSENT
from pydamon._observe.pages.repeated import RepeatedPages
from pydamon._observe.probes.base import Session
from pydamon._observe.probes.simulation import VirtualClock
from pydamon._observe.targets import Layout

BLOCK, S = BLOCK_PAGES * PAGE_SIZE, 10**9
LAST, FIRST_PAGE = 9, 1000 * BLOCK_PAGES
STACK = 0x7FFF_0000_0000


def program(*areas: tuple[int, int], stack: int = STACK) -> MappingTable:
    """A process with private memory at some pages (first, count), of the program with a stack."""
    rows = [(first * PAGE_SIZE, (first + count) * PAGE_SIZE) for first, count in areas]
    own = [Mapping(start, end, "rw-p", "[anon]") for start, end in rows]
    return MappingTable((*own, Mapping(stack - PAGE_SIZE, stack, "rw-p", "[stack]")))


@dataclass
class Memory:
    """A session: the frame of each page by target and page number, and how often it was asked."""

    frames: dict[int, NDArray[np.uint32]]
    """From page `FIRST_PAGE` on."""
    clock: VirtualClock = field(default_factory=VirtualClock)
    cost_ns: int = 0
    asked: list[list[int]] = field(default_factory=list)

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        self.asked.append(sorted(set(stretches.target.tolist())))
        self.clock.spend(self.cost_ns)
        found = np.zeros(int(stretches.offsets[-1]), np.uint32)
        for target, frames in self.frames.items():
            first = order_keys(np.array([target]), np.array([FIRST_PAGE * PAGE_SIZE]))
            keys = first + np.arange(len(frames))
            inside = contains(stretches.keys, keys)
            found[stretches.place_of(keys[inside])] = frames[inside]
        return found


def of_processes(tables: list[MappingTable], *names: str) -> Layout:
    """The layout of targets; a process is known by its name."""
    return cast("Layout", SimpleNamespace(mappings=tables, processes=list(names)))


def pages_in(ranges: NDArray[np.int64]) -> set[int]:
    return {key for first, beyond in ranges.tolist() for key in range(first, beyond)}


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_each_frame_counts_once_where_it_was_used_last(seed: int, is_long: bool) -> None:
    """Any pages of any targets in any frames: those of a fork of a fork, too."""
    rng = np.random.default_rng(seed)
    size, targets = 300, 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "_PIECE_PAGES", 64)
        patch.setattr(shared, "_LONG_ROW_PAGES", 1 if is_long else 10**6)
        patch.setattr(shared, "_FEW", int(rng.integers(0, 100)))
        tables = [
            program((FIRST_PAGE + int(rng.integers(80)), int(rng.integers(1, 220))))
            for _ in range(targets)
        ]
        frames = {
            # At one address, up to three frames are shared; 0 is a page of one's own.
            target: (10 * np.arange(size) + rng.integers(0, 4, size)).astype(np.uint32)
            for target in range(targets)
        }
        for of_target in frames.values():
            of_target[of_target % 10 == 0] = 0
        pages, ranges = FollowedPages(), [table.runs for table in tables]
        pages.fit(ranges)
        pages.flat[:] = rng.choice([ABSENT, 3, 5, LAST], len(pages))
        forked = ForkedPages(tables, ranges)
        forked.compare(cast("Session", Memory(frames)), pages)
        elsewhere = pages_in(forked.find_repeated(pages, LAST))
        best: dict[tuple[int, int], int] = {}
        counted: dict[tuple[int, int], list[int]] = {}
        for target, table in enumerate(tables):
            area = table.mappings[0]
            for page in range(area.start // PAGE_SIZE, area.end // PAGE_SIZE):
                key = order_keys(np.array([target]), np.array([page * PAGE_SIZE]))
                stamp = int(pages.flat[pages.places_of(key)][0])
                frame = int(frames[target][page - FIRST_PAGE])
                if stamp != ABSENT:
                    same = (page, frame or -1 - target)
                    best[same] = max(best.get(same, 0), stamp)
                    if int(key[0]) not in elsewhere:
                        counted.setdefault(same, []).append(stamp)
                if frame and pages.versions is not None and pages.versions[pages.places_of(key)][0]:
                    every = [
                        int(pages.flat[pages.places_of(order_keys(np.array([other]), at))][0])
                        for other, of_other in enumerate(tables)
                        if of_other.mappings[0].start <= page * PAGE_SIZE < of_other.mappings[0].end
                        and frames[other][page - FIRST_PAGE] == frame
                        for at in [np.array([page * PAGE_SIZE])]
                    ]
                    version = pages.versions[pages.places_of(key)]
                    assert forked.last_used(key, version).tolist() == [max(every)]
    assert counted == {same: [stamp] for same, stamp in best.items()}


def test_only_targets_of_one_program_are_asked_for_frames() -> None:
    """The second target is another program, with the same frames at the same addresses."""
    area = (FIRST_PAGE, 8)
    tables = [program(area), program(area, stack=STACK + BLOCK), program(area)]
    pages, ranges = FollowedPages(), [table.runs for table in tables]
    pages.fit(ranges)
    pages.flat[:] = 3
    memory = Memory({target: np.arange(1, 9, dtype=np.uint32) for target in range(3)})
    forked = ForkedPages(tables, ranges)
    forked.compare(cast("Session", memory), pages)
    assert memory.asked == [[0, 2]]
    first = int(order_keys(np.array([2]), np.array([FIRST_PAGE * PAGE_SIZE]))[0])
    assert pages_in(forked.find_repeated(pages, LAST)) == set(range(first, first + 8))
    # Who is left alone shares with nobody, whatever is known of its pages.
    left = FollowedPages()
    left.fit(ranges[:2])
    alone = ForkedPages(tables[:2], ranges[:2])
    assert not len(alone)
    alone.compare(cast("Session", memory), left)
    assert left.versions is None
    assert len(memory.asked) == 1


def test_frames_are_compared_when_that_is_paid_for_and_seldom_while_they_stay() -> None:
    area = (FIRST_PAGE, BLOCK_PAGES)
    tables = [program(area), program(area)]
    frames = np.arange(1, BLOCK_PAGES + 1, dtype=np.uint32)
    memory = Memory({0: frames, 1: frames.copy()}, cost_ns=10**6)
    of = RepeatedPages(cast("Session", memory), share=0.002)
    pages, ranges = FollowedPages(), [table.runs for table in tables]
    pages.fit(ranges)
    pages.flat[:] = 3
    of.fit(of_processes(tables, "parent", "child"), ranges, pages)
    asked_s = []
    for second in range(200):
        memory.clock.wait_until(second * S)
        before = len(memory.asked)
        of.compare_if_due(pages)
        if len(memory.asked) > before:
            asked_s.append(second)
    gaps_s = np.diff(asked_s)
    paid_s = 1e-3 / (0.002 / 4)
    assert gaps_s.min() >= paid_s
    assert gaps_s.max() <= 61
    assert (np.diff(gaps_s) >= 0).all(), "ever less often"
    of.find(pages, LAST)
    assert of.found.files is not None
    assert len(pages_in(of.found.forked)) == BLOCK_PAGES
    # The child has written to half of them: that is seen, and then looked at more often again.
    memory.frames[1] = np.where(np.arange(BLOCK_PAGES) % 2, frames, 0).astype(np.uint32)
    for second in range(200, 300):
        memory.clock.wait_until(second * S)
        of.compare_if_due(pages)
    of.find(pages, LAST)
    assert len(pages_in(of.found.forked)) == BLOCK_PAGES / 2


def test_targets_that_come_share_all_and_those_that_go_leave_it_to_others() -> None:
    area = (FIRST_PAGE, BLOCK_PAGES)
    every = np.arange(1, BLOCK_PAGES + 1, dtype=np.uint32)
    half = np.where(np.arange(BLOCK_PAGES) % 2, every, 0).astype(np.uint32)
    memory = Memory({0: every, 1: every, 2: half}, cost_ns=10**6)
    of = RepeatedPages(cast("Session", memory), share=0.002)
    pages, tables = FollowedPages(), [program(area)] * 3
    ranges = [table.runs for table in tables]

    def counted(stamps: list[int]) -> int:
        """How many pages of the area count, if these are the stamps of each target's."""
        first = order_keys(np.arange(len(stamps)), np.full(len(stamps), FIRST_PAGE * PAGE_SIZE))
        keys = first[:, None] + np.arange(BLOCK_PAGES)
        pages.flat[pages.places_of(keys.ravel())] = np.repeat(stamps, BLOCK_PAGES)
        of.find(pages, LAST)
        return int((~contains(of.found.forked, keys.ravel())).sum())

    pages.fit(ranges[:2])
    of.fit(of_processes(tables[:2], "parent", "child"), ranges[:2], pages)
    of.compare_if_due(pages)
    assert counted([3, 5]) == BLOCK_PAGES
    # The child, which used all pages last, is gone, and another one has come.
    left, new = order_keys(np.array([0, 1]), np.array([FIRST_PAGE * PAGE_SIZE] * 2)).tolist()
    forked = np.array([[new, new + BLOCK_PAGES]])
    moved = of.moved(np.array([0, -1]), keyed([]), forked)
    assert moved.forked.tolist() == forked.tolist(), "the parent has what the child had"
    assert of.moved(np.array([0, 1]), keyed([]), keyed([])).forked.tolist() == [
        [left, left + BLOCK_PAGES]
    ]
    # Nobody has looked at a third one. It is compared when that is paid for.
    pages.fit(ranges)
    of.fit(of_processes(tables, "parent", "child", "new"), ranges, pages)
    assert counted([3, 5, ABSENT]) == BLOCK_PAGES
    memory.clock.wait_until(60 * S)
    of.compare_if_due(pages)
    assert counted([3, 5, 5]) == BLOCK_PAGES * 3 / 2


def test_a_sample_of_addresses_tells_where_only_a_part_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repeated, "_MOST_BLOCKS", 64)
    size = 128 * BLOCK_PAGES
    tables = [program((FIRST_PAGE, size)) for _ in range(3)]
    frames = np.arange(1, size + 1, dtype=np.uint32)
    written = np.where(np.arange(size) < size // 4, 0, frames).astype(np.uint32)
    memory = Memory({0: frames, 1: written, 2: frames})
    of = RepeatedPages(cast("Session", memory), share=0.002)
    pages, ranges = FollowedPages(), [table.runs for table in tables]
    pages.share = 0.25
    pages.fit(ranges)
    of.fit(of_processes(tables, "a", "b", "c"), ranges, pages)
    of.compare_if_due(pages)
    of.find(pages, LAST)
    assert of.found.files is None
    share = len(pages_in(of.found.sampled)) / len(pages_in(keyed(ranges)))
    assert share == pytest.approx(1 / 8, rel=0.1)
    told = len(pages_in(of.found.forked)) / share
    assert told == pytest.approx(size * 7 / 4, rel=0.05)
    # Targets get other numbers, and one is gone: what was found goes with them.
    moved = of.moved(np.array([1, -1, 0]), keyed([]), keyed([]))
    assert set(from_order_keys(moved.sampled[:, 0])[0].tolist()) == {0, 1}
    assert len(pages_in(moved.forked)) / share == pytest.approx(size, rel=0.05)
