"""A page that several targets map counts in the one that used it last."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_ages import BLOCK_PAGES
from pydamon._model.ranges import EMPTY, PAGE_SIZE, from_order_keys, order_keys
from pydamon._observe.pages import shared
from pydamon._observe.pages.followed import FollowedPages
from pydamon._observe.pages.look_times import ABSENT, UNKNOWN
from pydamon._observe.pages.shared import SharedPages, repeated_now

BLOCK = BLOCK_PAGES * PAGE_SIZE
LAST = 9


def mapped(*parts: tuple[int, int, int]) -> MappingTable:
    """A table of parts of one file: address and offset in pages, and how many."""
    rows = [np.array(part) * PAGE_SIZE for part in parts]
    return MappingTable(
        tuple(Mapping(int(s), int(s + n), "rw-s", "/x", "8:1 7", int(o)) for s, o, n in rows)
    )


def known(tables: list[MappingTable]) -> tuple[FollowedPages, SharedPages]:
    pages, ranges = FollowedPages(), [table.runs for table in tables]
    pages.fit(ranges)
    return pages, SharedPages(tables, ranges)


def stamp(pages: FollowedPages, target: int, page: int, stamps: list[int]) -> None:
    keys = order_keys(np.array([target]), np.array([page * PAGE_SIZE])) + np.arange(len(stamps))
    pages.flat[pages.places_of(keys)] = stamps


def repeated_pages(pages: FollowedPages, of: SharedPages) -> set[tuple[int, int]]:
    """The target and page number of each page that counts elsewhere."""
    found = set()
    for first, beyond in of.find_repeated(pages, LAST).tolist():
        target, address = from_order_keys(np.arange(first, beyond))
        found |= set(zip(target.tolist(), (address // PAGE_SIZE).tolist(), strict=True))
    return found


@pytest.mark.parametrize("long_row", [1, 10**6])
def test_a_page_counts_where_it_was_used_last(
    monkeypatch: pytest.MonkeyPatch, long_row: int
) -> None:
    monkeypatch.setattr(shared, "_LONG_ROW_PAGES", long_row)
    pages, of = known([mapped((16, 0, 5)), mapped((700, 0, 5))])
    stamp(pages, 0, 16, [ABSENT, 5, LAST, 5, 3])
    stamp(pages, 1, 700, [2, LAST, LAST, 5, UNKNOWN])
    assert repeated_pages(pages, of) == {(0, 17), (1, 702), (1, 703), (0, 20)}
    keys = order_keys(np.array([0, 1, 1]), np.array([16, 702, 5000]) * PAGE_SIZE)
    assert of.last_used(keys).tolist() == [2, LAST, ABSENT]


def test_a_page_counts_where_it_is_used_all_the_time() -> None:
    pages, of = known([mapped((16, 0, 1)), mapped((700, 0, 1))])
    stamp(pages, 0, 16, [LAST])
    stamp(pages, 1, 700, [LAST])
    busy = pages.busy
    busy[pages.places_of(order_keys(np.array([1]), np.array([700 * PAGE_SIZE])))] = True
    pages.busy = busy
    assert repeated_pages(pages, of) == {(0, 16)}


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_each_page_of_a_file_in_memory_counts_once(seed: int, is_long: bool) -> None:
    """Mappings of any part of a file, over the borders of its pieces and of blocks."""
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "_PIECE_PAGES", 64)
        patch.setattr(shared, "_LONG_ROW_PAGES", 1 if is_long else 10**6)
        tables = [
            mapped(*((at * 1000, int(rng.integers(100)), int(rng.integers(1, 300))) for at in ats))
            for ats in ([1, 2], [3], [7])
        ]
        pages, of = known(tables)
        pages.flat[:] = rng.choice([ABSENT, 3, 5, LAST], len(pages))
        elsewhere = repeated_pages(pages, of)
    counted: dict[int, list[int]] = {}
    best: dict[int, int] = {}
    for target, table in enumerate(tables):
        for mapping in table.mappings:
            count = (mapping.end - mapping.start) // PAGE_SIZE
            key = order_keys(np.array([target]), np.array([mapping.start]))
            stamps = pages.flat[pages.places_of(key + np.arange(count))].tolist()
            for place, used in enumerate(stamps):
                page = mapping.offset // PAGE_SIZE + place
                best[page] = max(best.get(page, ABSENT), used)
                if used != ABSENT and (target, mapping.start // PAGE_SIZE + place) not in elsewhere:
                    counted.setdefault(page, []).append(used)
    assert counted == {page: [used] for page, used in best.items() if used != ABSENT}


def test_other_numbers_of_targets() -> None:
    def keys(*targets: int) -> NDArray[np.int64]:
        first = order_keys(np.array(targets), np.full(len(targets), BLOCK))
        return np.stack([first, first + 5], axis=1)

    now = repeated_now(keys(0, 1, 2), np.array([2, -1, 0]), keys(0, 1))
    assert now.tolist() == keys(0, 1, 2).tolist(), "the first is looked at, the second is new"
    assert not len(repeated_now(EMPTY, np.array([0]), EMPTY))
