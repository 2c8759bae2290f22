"""Stamps of pages: they stay with their memory, and add up to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.page_ages import BLOCK_PAGES, BUCKETS, spread_over_buckets
from pydamon._model.ranges import PAGE_SIZE, Ranges, keyed
from pydamon._model.stretches import Stretches
from pydamon._observe.pages.followed import FollowedPages
from pydamon._observe.pages.look_times import ABSENT, UNKNOWN

BLOCK = BLOCK_PAGES * PAGE_SIZE
NONE = np.zeros(0, np.int64), np.zeros(0, np.int64)
IN_USE = np.eye(1, BUCKETS).repeat(256, axis=0)


def ranges(*blocks: tuple[int, int]) -> Ranges:
    """Ranges in blocks of 2 MiB."""
    return np.array(blocks, np.int64).reshape(-1, 2) * BLOCK


def followed(*targets: Ranges, share: float = 1.0) -> FollowedPages:
    pages = FollowedPages()
    pages.share = share
    pages.fit(targets)
    return pages


def test_memory_that_stays_keeps_its_stamps() -> None:
    pages = followed(ranges((0, 4), (8, 9)), ranges((2, 3)))
    pages.flat[:] = np.repeat([1, 2, 3, 4, 5, 6], BLOCK_PAGES)
    pages.busy = pages.flat == 3
    pages.fit([ranges((2, 6)), ranges((2, 4))])
    assert pages.flat[::BLOCK_PAGES].tolist() == [3, 4, ABSENT, ABSENT, 6, ABSENT]
    assert pages.busy[::BLOCK_PAGES].tolist() == [True, False, False, False, False, False]
    pages.renumber(np.array([-1, 0]))
    assert pages.flat[::BLOCK_PAGES].tolist() == [6, ABSENT]
    assert pages.stretches.start.tolist() == [2 * BLOCK]
    assert pages.stretches.target.tolist() == [0]


def test_targets_change_places() -> None:
    pages = followed(ranges((0, 1)), ranges((5, 6)))
    pages.flat[:] = np.repeat([1, 2], BLOCK_PAGES)
    pages.renumber(np.array([1, 0]))
    assert pages.flat[::BLOCK_PAGES].tolist() == [2, 1]
    assert pages.stretches.start.tolist() == [5 * BLOCK, 0]


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 5 * BLOCK_PAGES), unique=True, max_size=12).map(sorted),
)
def test_sums_count_every_page_once(seed: int, edges: list[int]) -> None:
    """Blocks 1, 2 and 4 are followed; regions lie anywhere."""
    pages = followed(ranges((1, 3), (4, 5)))
    stamps = np.random.default_rng(seed).integers(0, 256, 3 * BLOCK_PAGES)
    pages.flat[:] = stamps
    bounds = np.array(edges[: len(edges) // 2 * 2], np.int64).reshape(-1, 2)
    idle_ns = np.arange(256) * 10**9
    spread = spread_over_buckets(idle_ns, idle_ns)
    sums, in_memory = pages.sums(keyed([bounds * PAGE_SIZE]), spread, NONE)
    assert np.isnan(in_memory[bounds[:, 0] < BLOCK_PAGES]).all(), "block 0 is not followed"
    of_page = np.zeros(5 * BLOCK_PAGES, int)
    of_page[BLOCK_PAGES : 3 * BLOCK_PAGES] = stamps[: 2 * BLOCK_PAGES]
    of_page[4 * BLOCK_PAGES :] = stamps[2 * BLOCK_PAGES :]
    for region, (low, high) in enumerate(bounds.tolist()):
        inside = of_page[low:high]
        if not np.isnan(in_memory[region]):
            assert in_memory[region] == pytest.approx(np.mean(inside != ABSENT))
        known = inside[(inside != ABSENT) & (inside != UNKNOWN)]
        of_region = sums.region == region
        assert sums.resident_bytes[of_region].sum() == len(known) * PAGE_SIZE
        idle = sums.idle_bytes(10**10, len(bounds))[region]
        assert idle == (known >= 10).sum() * PAGE_SIZE


def test_returns_belong_to_their_region() -> None:
    pages = followed(ranges((0, 2)))
    regions = keyed([np.array([[0, BLOCK], [BLOCK + 8 * PAGE_SIZE, 2 * BLOCK]])])
    keys = np.array([0, 5, BLOCK_PAGES + 2, BLOCK_PAGES + 9])
    sums, _ = pages.sums(regions, IN_USE, (keys, np.array([3, 3, 4, 4])))
    rows = zip(
        sums.region.tolist(), sums.bucket.tolist(), sums.returned_bytes.tolist(), strict=True
    )
    assert [row for row in rows if row[2]] == [(0, 3, 2 * PAGE_SIZE), (1, 4, PAGE_SIZE)]


def test_a_part_of_the_blocks_stands_for_all() -> None:
    pages = followed(ranges((0, 4096)), share=0.25)
    assert 0.22 < len(pages) / (4096 * BLOCK_PAGES) < 0.28
    pages.flat[:] = 1
    sums, _ = pages.sums(keyed([ranges((0, 4096))]), IN_USE, NONE)
    assert sums.resident_bytes.sum() == pytest.approx(4096 * BLOCK, rel=0.1)
    before = pages.stretches.start
    pages.fit([ranges((0, 4096), (5000, 5100))])
    assert np.isin(before, pages.stretches.start).all(), "a block stays in"


def test_places_and_stamps_by_address() -> None:
    pages = followed(ranges((3, 5)), ranges((7, 8)))
    pages.flat[:] = np.arange(len(pages)) % 200 + 2
    key = int(keyed([ranges((3, 5))])[0, 0])
    stamps = pages.stamps_in(key - 4, 2 * BLOCK_PAGES + 8)
    assert (stamps[:4] == ABSENT).all()
    assert (stamps[-4:] == ABSENT).all()
    assert (stamps[4:-4] == pages.flat[: 2 * BLOCK_PAGES]).all()
    keys = np.array([key - 1, key, key + 700])
    assert pages.places_of(keys).tolist() == [0, 700]
    assert pages.keys_at(np.array([0, 700])).tolist() == [key, key + 700]


@given(st.lists(st.integers(0, 30), unique=True, max_size=10).map(sorted))
def test_stretches_are_cut_and_stay_whole(cuts: list[int]) -> None:
    stretches = Stretches.of(
        [(0, 0, 8 * PAGE_SIZE), (0, 10 * PAGE_SIZE, 20 * PAGE_SIZE), (2, 0, PAGE_SIZE)]
    )
    cut = stretches.cut_at(np.array(cuts, np.int64))
    assert cut.pages.sum() == stretches.pages.sum()
    assert (cut.pages > 0).all()
    begins = {key for key in cuts if 0 < key < 8 or 10 < key < 20}
    assert set(cut.keys[:, 0].tolist()) == begins | set(stretches.keys[:, 0].tolist())


@pytest.mark.parametrize("seen_gone", [False, True])
def test_memory_that_moves_keeps_its_age(seen_gone: bool) -> None:
    """As mremap moves an array that grows, not by whole blocks; a look may come in between."""
    before = np.array([[3 * PAGE_SIZE, 103 * PAGE_SIZE], [4 * BLOCK, 5 * BLOCK]])
    pages = followed(before)
    pages.flat[3:103] = np.arange(100) + 2
    if seen_gone:
        pages.vanish(slice(0, BLOCK_PAGES), np.ones(BLOCK_PAGES, np.bool_))
        assert not pages.flat[:BLOCK_PAGES].any()
    after = np.array([[4 * BLOCK, 5 * BLOCK], [8 * BLOCK + 7 * PAGE_SIZE, 9 * BLOCK]])
    pages.fit([after])
    old = np.ones(len(pages), np.bool_)
    old[BLOCK_PAGES + 7 + 50] = False  # was accessed, or is new
    for part in (slice(0, BLOCK_PAGES), slice(BLOCK_PAGES, len(pages))):
        pages.restore_moved(part, old[part])
    pages.forget_moved()
    moved = pages.flat[BLOCK_PAGES + 7 :][:100].tolist()
    assert moved == [*range(2, 52), ABSENT, *range(53, 102)]
    assert not pages.flat[:BLOCK_PAGES].any()
    pages.flat[:] = ABSENT
    pages.restore_moved(slice(0, len(pages)), old)
    assert not pages.flat.any(), "only once"
