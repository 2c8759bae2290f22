"""Hypothesis strategies for region tables, and what tests ask of a table."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from pydamon._model.regions import PAGE_SIZE, Ranges, RegionTable

__all__ = ["COUNTERS", "FRESH", "SAMPLES", "coalesced", "covered", "ranges", "table_of", "tables"]

COUNTERS = ("nr_accesses", "last_nr_accesses", "age_ns", "touched", "unobservable")
FRESH = dict.fromkeys(COUNTERS, 0.0) | {"touched": float("nan")}
"""The counters of a new region; nothing is known yet of what is touched in it."""
SAMPLES = 20
_TOP_PAGE = 2**56 // PAGE_SIZE

_bases = st.one_of(st.integers(0, 100), st.integers(0, _TOP_PAGE - 2**30))
_pages = st.one_of(st.integers(1, 8), st.integers(1, 300), st.integers(1, 2**22))
_gaps = st.sampled_from([0, 0, 0, 0, 1, 5, 10_000])


@st.composite
def ranges(draw: st.DrawFn, min_size: int = 0, max_size: int = 6) -> Ranges:
    """The ranges of one target; some touch."""
    page = draw(_bases)
    bounds = []
    for gap, pages in draw(
        st.lists(st.tuples(_gaps, _pages), min_size=min_size, max_size=max_size)
    ):
        bounds.append((page + gap, page + gap + pages))
        page += gap + pages
    return np.array(bounds, np.int64).reshape(-1, 2) * PAGE_SIZE


@st.composite
def tables(draw: st.DrawFn, max_targets: int = 3, max_regions: int = 25) -> RegionTable:
    """Regions with counters of every kind, of some targets, up to 2**56."""
    each = [draw(ranges(max_size=max_regions)) for _ in range(draw(st.integers(0, max_targets)))]
    target = [number for number, bounds in enumerate(each) for _ in bounds]
    bounds = np.concatenate([np.empty((0, 2), np.int64), *each])
    table = RegionTable.of(target, bounds[:, 0], bounds[:, 1])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    highest = draw(st.sampled_from([0, 1, SAMPLES]))
    table.nr_accesses = rng.integers(0, highest + 1, len(table)).astype(np.float64)
    table.last_nr_accesses = rng.integers(0, highest + 1, len(table)).astype(np.float64)
    table.age_ns = rng.integers(0, 1000, len(table)).astype(np.float64)
    table.touched = rng.random(len(table))
    table.unobservable = rng.random(len(table))
    return table


def table_of(
    rows: list[tuple[int, int, float]], target: int = 0, unit: int = PAGE_SIZE
) -> RegionTable:
    """A table of (start, end, nr_accesses), in *unit* bytes."""
    table = RegionTable.of(target, [r[0] * unit for r in rows], [r[1] * unit for r in rows])
    table.nr_accesses = np.array([r[2] for r in rows], np.float64)
    return table


def covered(table: RegionTable) -> list[tuple[int, int, int]]:
    """(target, start, end) of the bytes in the table, with touching regions taken together."""
    return coalesced(
        zip(table.target.tolist(), table.start.tolist(), table.end.tolist(), strict=True)
    )


def coalesced(rows: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The same bytes in as few (target, start, end) as possible."""
    out: list[tuple[int, int, int]] = []
    for target, start, end in rows:
        if out and out[-1][0] == target and out[-1][2] == start:
            out[-1] = (target, out[-1][1], end)
        else:
            out.append((target, start, end))
    return out
