"""Regions that are drawn from the accessed bit of every page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pydamon._model.draw import draw_many, redraw
from pydamon._model.regions import PAGE_SIZE, RegionTable
from pydamon._model.stretches import Stretches
from tests.strategies import COUNTERS, tables

N = 100_000


def marks(*runs: tuple[int, int], n: int = N, stride: int = 1) -> NDArray[np.bool_]:
    """Marks of accessed pages: the pages in *runs*."""
    accessed = np.zeros(n, np.bool_)
    for first, last in runs:
        accessed[first:last:stride] = True
    return accessed


def draw(accessed: NDArray[np.bool_] | NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """Where the regions of a single stretch begin, as page numbers."""
    stretch = Stretches.of([(0, 0, len(accessed) * PAGE_SIZE)])
    return draw_many(accessed, stretch, np.array([most]))


def test_runs_are_regions_where_there_is_room() -> None:
    assert draw(marks((0, 25_000)), 100).tolist() == [0, 25_000]
    assert draw(marks((7, 8), (99_999, N)), 100).tolist() == [0, 7, 8, 99_999]
    assert draw(marks(), 100).tolist() == [0]


def test_an_even_pattern_is_one_region() -> None:
    assert draw(marks((0, N), stride=16), 100).tolist() == [0]
    assert draw(np.random.default_rng(0).random(N) < 0.3, 100).tolist() == [0]


def test_even_patterns_of_other_density_part_where_they_meet() -> None:
    starts = draw(marks((0, 25_000), stride=16), 100)
    assert len(starts) == 2
    assert abs(starts[1] - 25_000) <= 16
    rng = np.random.default_rng(0)
    chance = np.where(np.arange(N) < 33_333, 0.9, 0.02)
    starts = draw(rng.random(N) < chance, 100)
    assert len(starts) == 2
    assert abs(starts[1] - 33_333) <= 5


def test_a_spot_in_noise_is_found() -> None:
    accessed = np.random.default_rng(0).random(N) < 0.01
    accessed[40_000:40_100] = True
    starts = draw(accessed, 100)
    assert len(starts) == 3
    assert np.abs(starts[1:] - [40_000, 40_100]).max() <= 3


@given(
    st.integers(1, 3000),
    st.integers(2, 50),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 7, 100]),
)
def test_starts_are_in_order_and_not_too_many(
    n: int, most: int, share: float, seed: int, run: int
) -> None:
    rng = np.random.default_rng(seed)
    accessed = np.repeat(rng.random(-(-n // run)) < share, run)[:n]
    starts = draw(accessed, most)
    assert starts[0] == 0
    assert starts[-1] < n
    assert (np.diff(starts) > 0).all()
    assert len(starts) <= most


def test_redraw_moves_borders_and_keeps_what_was_counted() -> None:
    table = RegionTable.of(0, [0, 10 * PAGE_SIZE], [10 * PAGE_SIZE, 40 * PAGE_SIZE])
    table.age_ns[:] = 2, 6
    out = redraw(table, Stretches.of([(0, 0, 20 * PAGE_SIZE)]), np.array([0, 5]))
    assert (out.start // PAGE_SIZE).tolist() == [0, 5, 20]
    assert (out.end // PAGE_SIZE).tolist() == [5, 20, 40]
    # The second took 5 pages of age 2 and 10 of age 6.
    assert out.age_ns.tolist() == pytest.approx([2, 14 / 3, 6])


@given(tables(), st.data())
def test_redraw_keeps_memory_and_means(table: RegionTable, data: st.DataObject) -> None:
    table = table.take(table.target == 0)
    if not len(table):
        return
    low, high = int(table.start[0]) // PAGE_SIZE, int(table.end[-1]) // PAGE_SIZE
    bounds = sorted(data.draw(st.sets(st.integers(low, high), min_size=2, max_size=2)))
    inside = st.integers(bounds[0], bounds[1] - 1)
    starts = sorted({bounds[0], *data.draw(st.lists(inside, max_size=6))})
    surveyed = Stretches.of([(0, bounds[0] * PAGE_SIZE, bounds[1] * PAGE_SIZE)])
    out = redraw(table, surveyed, np.array(starts))
    out.check()
    assert out.size.sum() == table.size.sum()
    for name in COUNTERS:
        before = np.dot(getattr(table, name), table.size)
        assert np.dot(getattr(out, name), out.size) == pytest.approx(before, nan_ok=True)
    within = (out.start >= bounds[0] * PAGE_SIZE) & (out.start < bounds[1] * PAGE_SIZE)
    gaps = set(table.start.tolist())
    drawn = {start * PAGE_SIZE for start in starts}
    assert {*out.start[within].tolist()} <= drawn | gaps


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 6)), min_size=1, max_size=8))
def test_many_stretches_are_drawn_like_each_alone(shapes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(len(shapes))
    rows, parts = [], []
    for number, (pages, run) in enumerate(shapes):
        start = number // 2 * PAGE_SIZE * 1000 + number % 2 * PAGE_SIZE * 300
        rows.append((number % 2, start, start + pages * PAGE_SIZE))
        parts.append(np.repeat(rng.random(pages) < 0.5, run + 1)[:pages])
    order = sorted(range(len(rows)), key=rows.__getitem__)
    stretches = Stretches.of([rows[i] for i in order])
    together = draw_many(
        np.concatenate([parts[i] for i in order]), stretches, np.full(len(rows), 10)
    )
    alone = [stretches.keys[at, 0] + draw(parts[i], 10) for at, i in enumerate(order)]
    assert together.tolist() == np.sort(np.concatenate(alone)).tolist()
