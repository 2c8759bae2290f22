from __future__ import annotations

import numpy as np

from pydamon._observe.probes.refs import NO_SPAN, borders

PAGE = 4096


def border(hit: tuple[int, int], miss: tuple[int, int]) -> int:
    return int(borders(np.array([hit]), np.array([miss]))[0])


def test_half_way_between_hits_and_misses() -> None:
    assert border((10 * PAGE, 20 * PAGE), (40 * PAGE, 50 * PAGE)) == 31 * PAGE
    assert border((40 * PAGE, 50 * PAGE), (10 * PAGE, 20 * PAGE)) == 31 * PAGE


def test_neighbouring_pages_part_between_them() -> None:
    assert border((10 * PAGE, 10 * PAGE), (11 * PAGE, 11 * PAGE)) == 11 * PAGE


def test_mixed_samples_have_no_border() -> None:
    assert border((10 * PAGE, 40 * PAGE), (20 * PAGE, 30 * PAGE)) == 0
    assert border((10 * PAGE, 30 * PAGE), (20 * PAGE, 40 * PAGE)) == 0


def test_samples_of_one_kind_have_no_border() -> None:
    assert border((10 * PAGE, 20 * PAGE), NO_SPAN) == 0
    assert border(NO_SPAN, (10 * PAGE, 20 * PAGE)) == 0
    assert border(NO_SPAN, NO_SPAN) == 0
