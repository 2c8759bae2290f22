"""Spots in memory that is too large to look at all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model import spots
from pydamon._model.regions import RegionTable
from pydamon._model.spots import SPOT_BYTES, Spots

GIB = 1 << 30


def looked_at(chosen: Spots, hot: list[tuple[int, int]]) -> Spots:
    """The spots with what a look finds where all of *hot* is in use and nothing else."""
    share = np.zeros(len(chosen))
    for start, end in hot:
        low, high = np.maximum(chosen.address, start), np.minimum(chosen.address + SPOT_BYTES, end)
        share += np.maximum(0, high - low) / SPOT_BYTES
    return replace(chosen, touched=share)


def test_spots_are_whole_apart_and_inside_of_regions() -> None:
    table = RegionTable.of([0, 0, 1], [0, 2 * GIB, 4096], [GIB, 2 * GIB + 8192, 3 * GIB])
    chosen = spots.choose(table, Spots.none(), 500, np.random.default_rng(1))
    assert 400 < len(chosen) <= 500
    assert (chosen.address % SPOT_BYTES == 0).all()
    for target, address in zip(chosen.target.tolist(), chosen.address.tolist(), strict=True):
        inside = (table.target == target) & (table.start <= address)
        assert (inside & (address + SPOT_BYTES <= table.end)).any()
    keys = list(zip(chosen.target.tolist(), chosen.address.tolist(), strict=True))
    assert keys == sorted(set(keys))
    assert set(chosen.target.tolist()) == {0, 1}


def test_a_border_is_closed_in_upon_round_by_round() -> None:
    hot = (300 * GIB + 12345 * 4096, 330 * GIB)
    table = RegionTable.of(0, 0, 1000 * GIB)
    known, rng = Spots.none(), np.random.default_rng(2)
    errors = []
    for _ in range(12):
        known = looked_at(spots.choose(table, known, 200, rng), [hot])
        table = spots.apply_spots(table, known, 500)
        is_hot = table.touched > 0.5
        first, last = table.start[is_hot].min(), table.end[is_hot].max()
        errors.append(abs(first - hot[0]) + abs(last - hot[1]))
    assert errors[0] < 10 * GIB
    assert errors[-1] <= 2 * SPOT_BYTES


def test_what_is_idle_now_is_told_from_new_spots() -> None:
    table = RegionTable.of(0, 0, 100 * GIB)
    rng = np.random.default_rng(3)
    known = looked_at(spots.choose(table, Spots.none(), 100, rng), [(0, 50 * GIB)])
    table = spots.apply_spots(table, known, 500)
    assert abs(table.touched @ table.size - 50 * GIB) < 2 * GIB
    for _ in range(12):
        known = looked_at(spots.choose(table, known, 100, rng), [])
        table = spots.apply_spots(table, known, 500)
    assert table.touched @ table.size < 0.01 * 50 * GIB


def test_a_share_follows_spots_that_all_say_another() -> None:
    table = RegionTable.of(0, 0, 10 * GIB)
    table.touched[:] = 0.7
    rng = np.random.default_rng(4)
    for _ in range(3):
        chosen = spots.choose(table, Spots.none(), 50, rng)
        table = spots.apply_spots(table, replace(chosen, touched=np.full(len(chosen), 0.9)), 500)
    assert abs(table.touched[0] - 0.9) < 0.02


def test_nothing_is_told_by_spots_that_could_not_be_watched() -> None:
    table = RegionTable.of(0, 0, GIB)
    chosen = spots.choose(table, Spots.none(), 50, np.random.default_rng(5))
    assert np.isnan(spots.apply_spots(table, chosen, 500).touched).all()


@given(
    cuts=st.lists(st.integers(1, 4000), max_size=20, unique=True),
    hot=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 400)), max_size=6),
    count=st.integers(64, 300),
    most=st.integers(1, 60),
    seed=st.integers(0, 1000),
)
def test_regions_are_only_ever_split(
    cuts: list[int], hot: list[tuple[int, int]], count: int, most: int, seed: int
) -> None:
    borders = np.array([0, *sorted(cuts), 4001], np.int64) << 20
    table = RegionTable.of(0, borders[:-1], borders[1:])
    rng = np.random.default_rng(seed)
    spans = [(start << 20, (start + length) << 20) for start, length in hot]
    known = Spots.none()
    for _ in range(3):
        known = looked_at(spots.choose(table, known, count, rng), spans)
        known = replace(known, touched=np.minimum(known.touched, 1))
        before = len(table)
        table = spots.apply_spots(table, known, most)
        table.check()
        assert len(table) <= max(most, before)
        assert np.isin(borders, np.append(table.start, table.end)).all()
        assert (table.start[1:] == table.end[:-1]).all()
        told = table.touched[~np.isnan(table.touched)]
        assert ((told >= 0) & (told <= 1)).all()
