"""Tests of pages that are mapped at several addresses; private names, because maps are private."""

from __future__ import annotations

import numpy as np

from pydamon._model.owners import MemoryView
from pydamon._model.page_map import ABSENT_NS, PageMap, of_views

PAGE = 4096


def page_map(*stretches: tuple[int, list[int]]) -> PageMap:
    idle_ns = np.array([ABSENT_NS, 0, 10, 20])
    return PageMap(
        100,
        1.0,
        np.array([start for start, _ in stretches]) * PAGE,
        np.array([len(codes) for _, codes in stretches]),
        np.array([code for _, codes in stretches for code in codes], np.uint8),
        idle_ns,
    )


def ages(told: PageMap) -> dict[int, int]:
    runs = told.runs()
    rows = zip(runs.start.tolist(), runs.end.tolist(), runs.idle_ns.tolist(), strict=True)
    return {page: idle for start, end, idle in rows for page in range(start // PAGE, end // PAGE)}


def test_the_view_that_was_used_last_counts() -> None:
    views = (
        MemoryView(100 * PAGE, 110 * PAGE, 10 * PAGE),
        MemoryView(200 * PAGE, 210 * PAGE, 10 * PAGE),
    )
    told = page_map((5, [3]), (10, [3, 3, 0]), (101, [1, 0]), (200, [2, 0, 3]), (300, [1]))
    assert ages(of_views(told, views)) == {5: 20, 10: 10, 11: 0, 12: 20, 300: 0}


def test_without_views_nothing_changes() -> None:
    told = page_map((5, [3]))
    assert of_views(told, ()) is told
