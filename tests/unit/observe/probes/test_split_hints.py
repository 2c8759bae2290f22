"""Where to split a region: between the samples with an access and the others."""

from __future__ import annotations

import numpy as np

from pydamon._observe.probes.split_hints import NO_SPAN, split_hints

PAGE = 4096


def split_hint(hit: tuple[int, int], miss: tuple[int, int]) -> int:
    return int(split_hints(np.array([hit]), np.array([miss]))[0])


def test_half_way_between_hits_and_misses() -> None:
    assert split_hint((10 * PAGE, 20 * PAGE), (40 * PAGE, 50 * PAGE)) == 31 * PAGE
    assert split_hint((40 * PAGE, 50 * PAGE), (10 * PAGE, 20 * PAGE)) == 31 * PAGE


def test_neighbouring_pages_part_between_them() -> None:
    assert split_hint((10 * PAGE, 10 * PAGE), (11 * PAGE, 11 * PAGE)) == 11 * PAGE


def test_mixed_samples_give_no_hint() -> None:
    assert split_hint((10 * PAGE, 40 * PAGE), (20 * PAGE, 30 * PAGE)) == 0
    assert split_hint((10 * PAGE, 30 * PAGE), (20 * PAGE, 40 * PAGE)) == 0


def test_samples_of_one_kind_give_no_hint() -> None:
    assert split_hint((10 * PAGE, 20 * PAGE), NO_SPAN) == 0
    assert split_hint(NO_SPAN, (10 * PAGE, 20 * PAGE)) == 0
    assert split_hint(NO_SPAN, NO_SPAN) == 0
