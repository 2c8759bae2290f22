"""Owners of addresses joined with ages of pages, against sums byte by byte.

The model's parts are private: they are what is tested here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import UsageError
from pydamon._model.owner_sums import MemoryFacts, sums_by_owner
from pydamon._model.page_map import ABSENT_NS, UNKNOWN_NS, PageMap, of_shared_memory
from pydamon.owners import ALWAYS_NS, FOREVER_NS, OwnedInterval, Owners

PAGE, S = 4096, 10**9
PAGES = 6
IDLE_NS = 10 * S
AGES = np.array([ABSENT_NS, UNKNOWN_NS, 0, 5 * S, 20 * S], np.int64)
NOW = 100 * S


def page_map(codes: list[int]) -> PageMap:
    return PageMap(NOW, 1.0, np.array([0]), np.array([PAGES]), np.array(codes, np.uint8), AGES)


codes = st.lists(st.integers(0, len(AGES) - 1), min_size=PAGES, max_size=PAGES)
intervals = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, PAGES * PAGE - 1),
        st.integers(1, 2 * PAGE),
        st.sampled_from([ALWAYS_NS, 95 * S, 99 * S + 1, 200 * S]),
        st.sampled_from([FOREVER_NS, 50 * S, NOW, NOW + 1]),
    ),
    max_size=12,
)


def owners_of(rows: list[tuple[int, int, int, int, int]]) -> Owners:
    return Owners.of(
        OwnedInterval((f"owner {number}",), start, min(start + size, PAGES * PAGE), since, until)
        for number, start, size, since, until in rows
    )


@given(intervals)
def test_no_byte_has_two_owners_and_the_last_to_begin_has_it(rows: Any) -> None:
    owners = owners_of(rows)
    ranges = owners.at(NOW)
    assert (ranges.start < ranges.end).all()
    assert (ranges.start[1:] >= ranges.end[:-1]).all()
    alive = [
        (start, min(start + size, PAGES * PAGE)) for _, start, size, s, u in rows if s <= NOW < u
    ]
    covered = np.zeros(PAGES * PAGE, np.bool_)
    for start, end in alive:
        covered[start:end] = True
    assert (ranges.end - ranges.start).sum() == covered.sum()
    for start, end in zip(ranges.start.tolist(), ranges.end.tolist(), strict=True):
        around = [low for low, high in alive if low <= start and end <= high]
        assert around
        assert not [low for low, high in alive if max(around) < low < end and high > start]


@given(intervals, codes)
def test_sums_are_those_of_single_bytes(rows: Any, ages: list[int]) -> None:
    owners = owners_of(rows)
    ranges, count = owners.at(NOW), len(owners.paths)
    told = sums_by_owner(
        ranges, MemoryFacts.of_map(page_map(ages), IDLE_NS), count, young_since_ns=NOW - IDLE_NS
    ).by_owner
    holder = np.full(PAGES * PAGE, -1)
    since = np.zeros(PAGES * PAGE, np.int64)
    for start, end, owner, since_ns in zip(*(column.tolist() for column in ranges), strict=True):
        holder[start:end], since[start:end] = owner, since_ns
    age = np.repeat(AGES[ages], PAGE)
    owned_on = [set(holder[at : at + PAGE].tolist()) - {-1} for at in range(0, len(holder), PAGE)]
    is_shared = np.repeat([len(numbers) > 1 for numbers in owned_on], PAGE)
    is_young = since > NOW - IDLE_NS
    marks = (
        np.ones_like(is_shared),
        np.ones_like(is_shared),
        age != ABSENT_NS,
        age == 0,
        (age > 0) & ((age < IDLE_NS) | is_young),
        (age >= IDLE_NS) & ~is_young,
        is_shared & (age >= 0) & (age < IDLE_NS),
    )
    for row, marked in zip(told, marks, strict=True):
        known = np.bincount(holder[marked & (holder >= 0)], minlength=count)
        np.testing.assert_allclose(row, known[:count])


def test_an_arena_around_objects_does_not_make_their_pages_shared() -> None:
    told = Owners.of(
        [
            OwnedInterval(("arena",), 0, 2 * PAGE),
            OwnedInterval(("a",), 64, 128),
            OwnedInterval(("b",), PAGE + 64, PAGE + 128),
            OwnedInterval(("c",), PAGE + 256, PAGE + 512),
        ]
    )
    facts = MemoryFacts.of_map(page_map([2] * PAGES), IDLE_NS)
    sums = sums_by_owner(
        told.at(NOW), facts, 4, young_since_ns=NOW, containers=frozenset({0})
    ).by_owner
    assert sums[0].tolist() == [2 * PAGE - 64 - 64 - 256, 64, 64, 256]
    assert sums[-1].tolist() == [0, 0, 64, 256]


def test_deep_and_crossing_intervals_are_cut_short_in_time() -> None:
    count = 20_000
    start = np.arange(count) * 16
    crossing = Owners.of([OwnedInterval(("a",), int(low), int(low) + 100_000) for low in start])
    ranges = crossing.at(0)
    assert (ranges.start[1:] >= ranges.end[:-1]).all()


def test_memory_that_processes_share_was_used_by_the_last_of_them() -> None:
    several = [page_map([4, 4, 0, 1, 3, 2]), page_map([4, 3, 4, 0, 1, 4])]
    merged = of_shared_memory(several)
    ages = merged.idle_ns[merged.codes].tolist()
    assert ages == [20 * S, 5 * S, 20 * S, UNKNOWN_NS, 5 * S, 0]


@given(codes, st.integers(1, PAGES))
def test_chunks_of_a_map_are_the_map(ages: list[int], most: int) -> None:
    whole = page_map(ages)
    parts = list(whole.chunks(most))
    joined = PageMap.joined(parts)
    assert max(len(part.codes) for part in parts) <= most
    assert joined.idle_ns[joined.codes].tolist() == AGES[ages].tolist()
    runs, again = whole.runs(), joined.runs()
    assert runs.idle_ns.tolist() == again.idle_ns.tolist()
    assert runs.start.tolist() == again.start.tolist()


def test_sources_of_several_processes_are_not_joined() -> None:
    several = [Owners.of([], pids=(1,)), Owners.of([], pids=(2,))]
    with pytest.raises(UsageError, match="different processes"):
        Owners.joined(several)


def test_joined_owners_keep_their_paths() -> None:
    row = OwnedInterval(("a", "b"), 0, 10)
    joined = Owners.joined([Owners.of([row]), Owners.of([row._replace(path=("c",), start=2)])])
    ranges = joined.at(0)
    assert [joined.paths[number] for number in ranges.owner] == [("a", "b"), ("c",)]


def test_a_mapping_that_begins_within_an_allocation_does_not_take_it() -> None:
    """As where NumPy advises huge pages, for the whole pages of an array."""
    array = Owners.of([OwnedInterval(("load",), 16, 1000)])
    mappings = Owners.of([OwnedInterval(("file",), 0, 100), OwnedInterval(("anon",), 100, 1200)])
    told = Owners.joined([array, replace(mappings, containers=frozenset([0, 1]))])
    ranges = told.at(1)
    rows = zip(ranges.start.tolist(), ranges.end.tolist(), ranges.owner.tolist(), strict=True)
    sizes = {"file": 0, "load": 0, "anon": 0}
    for start, end, owner in rows:
        sizes[told.paths[owner][0]] += end - start
    assert sizes == {"file": 16, "load": 984, "anon": 200}
