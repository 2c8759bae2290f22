"""Snapshots: the columns, the regions, and the figures made of them."""

from __future__ import annotations

import numpy as np
import pytest

from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.snapshot import Cost, Snapshot, Target

HEAP = Mapping(0, 100, "rw-p", "[heap]")
FILE = Mapping(100, 300, "r-xp", "/bin/true")


@pytest.fixture
def snapshot() -> Snapshot:
    first = Target(1, "first", MappingTable((HEAP, FILE)))
    second = Target(2, "second")
    return Snapshot(
        start_ns=1_000,
        end_ns=101_500,
        sampling_ns=5_000,
        max_nr_accesses=20,
        targets=(first, second),
        target=np.array([0, 0, 0, 1], np.int32),
        start=np.array([0, 50, 300, 10], np.int64),
        end=np.array([50, 250, 400, 30], np.int64),
        nr_accesses=np.array([20, 0, 20, 5], np.int64),
        age=np.array([1, 9, 4, 2], np.int64),
        touched_bytes=np.array([50, 0, 70, 8], np.int64),
        unobservable_bytes=np.array([0, 0, 10, 0], np.int64),
        cost=Cost(cpu_ns=7),
    )


def test_window_is_what_was_measured(snapshot: Snapshot) -> None:
    assert snapshot.window_ns == 100_500


def test_working_set(snapshot: Snapshot) -> None:
    assert snapshot.working_set() == 128


def test_regions_are_named_by_the_mapping_that_fills_most(snapshot: Snapshot) -> None:
    assert snapshot.mapping.tolist() == [0, 1, -1, -1]
    assert [region.mapping for region in snapshot] == [HEAP, FILE, None, None]


def test_a_region_for_people(snapshot: Snapshot) -> None:
    region = snapshot[2]
    assert (region.start, region.end, region.size) == (300, 400, 100)
    assert (region.nr_accesses, region.age) == (20, 4)
    assert (region.touched_bytes, region.unobservable_bytes) == (70, 10)
    assert region.target.name == "first"
    assert type(region.start) is int
    assert snapshot[-1].target.pid == 2
    with pytest.raises(IndexError):
        snapshot[4]


def test_is_a_sequence_of_its_regions(snapshot: Snapshot) -> None:
    assert len(snapshot) == 4
    assert [region.start for region in snapshot] == snapshot.start.tolist()
    assert [region.size for region in snapshot] == snapshot.size.tolist()


def test_hottest_prefers_the_older_of_equals(snapshot: Snapshot) -> None:
    assert [region.start for region in snapshot.hottest(3)] == [300, 0, 10]
    assert len(snapshot.hottest()) == 4
    assert snapshot.hottest(0) == []


def test_of_target(snapshot: Snapshot) -> None:
    first, second = snapshot.of_target(0), snapshot.of_target(1)
    assert first.working_set() + second.working_set() == snapshot.working_set()
    assert second.targets == (Target(2, "second"),)
    assert second.target.tolist() == [0]
    assert second[0].target.name == "second"
    assert first.mapping.tolist() == [0, 1, -1]
    assert second.cost == snapshot.cost
    assert second.window_ns == snapshot.window_ns


def test_of_nothing() -> None:
    none = np.zeros(0, np.int64)
    empty = Snapshot(0, 1, 1, 1, (), none.astype(np.int32), none, none, none, none, none, none)
    assert empty.working_set() == 0
    assert empty.hottest() == []
    assert list(empty) == []


def test_compares_by_identity(snapshot: Snapshot) -> None:
    assert snapshot != snapshot.of_target(0)
    assert len({snapshot, snapshot}) == 1
