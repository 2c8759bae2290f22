"""Idle bytes come from the ages of pages where there are any, and never exceed the cold bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.classify import UNKNOWN, RegionClasses, cold_parts, joined_classes
from pydamon._model.page_ages import BUCKETS, IDLE_CLASSES_NS, PageAges
from pydamon._model.snapshot import Snapshot
from tests.recordings import MIB, REDIS, WORKER, aged, snapshot

S = 10**9
AGES_NS = [0, S, 10 * S, 3600 * S]


def two_regions(*ages: tuple[int, int, int, int], touched: int = 0, resident: int = 64) -> Snapshot:
    """64 MiB that are in use by 1 page in many, and 64 MiB that the regions call idle for 9 s."""
    regions = [(0, 0, 64 * MIB, 10, 5), (0, 64 * MIB, 128 * MIB, 0, 9)]
    taken = snapshot((WORKER,), regions, window_ns=S, touched=[touched * MIB, 0])
    sizes = np.full(2, resident * MIB)
    taken = dataclasses.replace(taken, resident_bytes=sizes)
    return aged(taken, ages) if ages else taken


def test_without_ages_regions_say_what_is_idle() -> None:
    classes = two_regions(touched=8).classes
    assert classes.idle(5 * S).tolist() == [0, 64 * MIB]
    assert not classes.is_looked.any()


def test_pages_of_a_region_in_use_are_idle() -> None:
    classes = two_regions((0, 0, 8 * MIB, 0), (0, 20 * S, 56 * MIB, 0), touched=8).classes
    assert classes.idle(5 * S).tolist() == [56 * MIB, 64 * MIB], "one has no ages of pages"
    assert classes.idle(60 * S).tolist() == [0, 0]
    assert classes.is_looked.all()


def test_cold_bytes_without_an_old_page_are_not_idle() -> None:
    classes = two_regions((0, 0, 64 * MIB, 0), (1, 0, 64 * MIB, 0), touched=8).classes
    assert classes.cold.tolist() == [56 * MIB, 64 * MIB]
    assert classes.idle(0).tolist() == [56 * MIB, 64 * MIB]
    assert classes.idle(S).tolist() == [0, 0]


def test_no_more_is_idle_than_is_cold_and_the_oldest_counts() -> None:
    ages = ((0, 5 * S, 32 * MIB, 0), (0, 50 * S, 32 * MIB, 0))
    classes = two_regions(*ages, touched=24).classes
    assert classes.idle(S).tolist()[0] == 40 * MIB
    assert classes.idle(30 * S).tolist()[0] == 32 * MIB


def test_pages_with_an_age_can_be_watched() -> None:
    """Samples cannot clear memory that is mapped twice; looks do it in another way."""
    taken = two_regions((0, 0, 16 * MIB, 0), (0, 20 * S, 40 * MIB, 0), touched=8)
    classes = dataclasses.replace(taken, unobservable_bytes=np.array([32 * MIB, 4 * MIB])).classes
    assert classes.unobservable.tolist() == [8 * MIB, 4 * MIB]
    assert classes.idle(5 * S).tolist() == [40 * MIB, 60 * MIB]


def test_memory_that_is_shared_counts_once() -> None:
    ages = ((0, 20 * S, 32 * MIB, 0), (1, 20 * S, 64 * MIB, 0))
    taken = dataclasses.replace(two_regions(*ages), repeated_bytes=np.array([16 * MIB, 0]))
    once = taken.classes.once()
    assert once.cold.tolist() == [48 * MIB, 64 * MIB]
    assert once.idle(S).tolist() == [16 * MIB, 64 * MIB], "another target has used it since"


def test_what_is_shared_is_not_taken_from_what_is_in_use() -> None:
    """Samples cannot watch the libraries of forked processes; their pages may have ages."""
    shared = np.array([48 * MIB, 0])
    ages = ((0, 0, 16 * MIB, 0), (0, 20 * S, 48 * MIB, 0))
    for told, unobservable in (((), shared), (ages, shared), (ages, np.zeros(2, np.int64))):
        taken = two_regions(*told, touched=12)
        taken = dataclasses.replace(taken, unobservable_bytes=unobservable, repeated_bytes=shared)
        once = taken.classes.once()
        assert once.accessed.tolist() == [12 * MIB, 0]
        assert once.cold.tolist() == [4 * MIB, 64 * MIB]


def test_a_sample_of_pages_stands_for_the_rest() -> None:
    taken = two_regions((0, 0, 30 * MIB, 0), (0, 20 * S, 10 * MIB, 0))
    assert taken.page_ages is not None
    sampled = dataclasses.replace(taken.page_ages, followed_share=0.1)
    classes = dataclasses.replace(taken, page_ages=sampled).classes
    assert classes.idle(10 * S).tolist() == [16 * MIB, 16 * MIB]


def test_undated_bytes_are_those_without_any_age() -> None:
    taken = two_regions((0, 20 * S, 64 * MIB, 0))
    unknown = dataclasses.replace(taken, age_ns=np.array([UNKNOWN, UNKNOWN]))
    assert unknown.classes.undated.tolist() == [0, 64 * MIB]


def test_classes_of_idle_time() -> None:
    ages = (
        (0, 0, 8 * MIB, 0),
        (0, 5 * S, 16 * MIB, 0),
        (0, 30 * S, 40 * MIB, 0),
        (1, 7200 * S, 64 * MIB, 0),
    )
    classes = two_regions(*ages, touched=4).classes
    table = classes.by_idle_time(IDLE_CLASSES_NS) // MIB
    assert table.tolist() == [[8, 16, 40, 0, 0], [0, 0, 0, 0, 64]]


@st.composite
def any_snapshot(draw: st.DrawFn) -> Snapshot:
    """Any regions of two targets, with or without ages of pages."""
    amount = st.integers(0, MIB)
    regions = [
        (target, n * MIB, (n + 1) * MIB, draw(st.integers(0, 20)), draw(st.integers(0, 100)))
        for target in (0, 1)
        for n in range(draw(st.integers(1, 3)))
    ]
    count = len(regions)

    def amounts() -> list[int]:
        return [draw(amount) for _ in range(count)]

    taken = snapshot((REDIS, WORKER), regions, touched=amounts(), unobservable=amounts())
    taken = dataclasses.replace(
        taken,
        resident_bytes=np.array(amounts(), np.int64),
        unseen_bytes=np.array(amounts(), np.int64),
        repeated_bytes=np.array(amounts(), np.int64),
    )
    cells = draw(st.sets(st.integers(0, count * BUCKETS - 1), max_size=12))
    cell = np.array(sorted(cells), np.int64)
    size = np.array([draw(st.integers(0, 2 * MIB)) for _ in cells], np.int64)
    ages = PageAges(
        *(cell // BUCKETS, cell % BUCKETS, size, size * 0),
        looked_ns=taken.end_ns,
        since_ns=taken.start_ns,
        followed_share=draw(st.sampled_from([1.0, 0.25])),
    )
    return dataclasses.replace(taken, page_ages=ages)


def same(first: RegionClasses, second: RegionClasses) -> bool:
    ages = np.array(AGES_NS)
    return all(
        np.array_equal(one, other)
        for one, other in zip(cold_parts(first, ages), cold_parts(second, ages), strict=True)
    )


@given(any_snapshot())
def test_parts_of_cold_bytes_add_up(taken: Snapshot) -> None:
    for classes in (taken.classes, taken.classes.once()):
        parts = cold_parts(classes, np.array(AGES_NS))
        assert (parts.size_bytes >= 0).all()
        sums = np.bincount(parts.region, parts.size_bytes, len(taken))
        assert sums.tolist() == classes.cold.tolist()
        for number, age_ns in enumerate(AGES_NS):
            reached = parts.reached > number
            idle = np.bincount(parts.region[reached], parts.size_bytes[reached], len(taken))
            assert idle.tolist() == classes.idle(age_ns).tolist()
        table = classes.by_idle_time(AGES_NS[1:])
        assert table.sum(axis=1).tolist() == (classes.accessed + classes.cold).tolist()
        assert (classes.idle(S) >= classes.idle(10 * S)).all()


@given(any_snapshot(), any_snapshot())
def test_classes_are_joined_and_cut(first: Snapshot, second: Snapshot) -> None:
    joined = joined_classes([first.classes, second.classes])
    assert same(joined.rows(slice(0, len(first))), first.classes)
    assert same(joined.rows(slice(len(first), None)), second.classes)


@pytest.mark.parametrize("index", [0, 1])
def test_a_target_by_itself_has_its_own_ages(index: int) -> None:
    ages = ((0, 20 * S, MIB, 0), (2, 20 * S, MIB, 0))
    taken = aged(
        snapshot((REDIS, WORKER), [(0, 0, MIB, 0, 1), (0, MIB, 2 * MIB, 0, 1), (1, 0, MIB, 0, 1)]),
        ages,
    )
    rows = slice(0, 2) if index == 0 else slice(2, 3)
    assert same(taken.of_target(index).classes, taken.classes.rows(rows))
