"""Snapshots of forked targets say how much of their regions counts in another target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon import Snapshot
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import PAGE_SIZE, from_order_keys
from pydamon._model.stretches import Stretches
from pydamon._observe.pages import follower, repeated
from pydamon._observe.probes.base import Counts
from pydamon._observe.sampling.monitor import SamplingMonitor
from pydamon._observe.targets import Layout
from tests.unit.observe.sampling.fakes import (
    BASE,
    MIB,
    FakeProcess,
    PlannedSession,
    layout,
    ranges,
)
from tests.unit.observe.sampling.test_collectors import QUARTER, monitored

WRITTEN = 16 * MIB


class Forked(PlannedSession):
    """All targets have the same pages, but for the first 16 MiB of each."""

    def shared_frames(self, stretches: Stretches) -> NDArray[np.uint32]:
        keys = stretches.keys_at(np.arange(int(stretches.offsets[-1])))
        place = from_order_keys(keys)[1] - BASE
        return np.where(place < WRITTEN, 0, 1 + place // PAGE_SIZE).astype(np.uint32)


class ToldByMapping(PlannedSession):
    """As a probe that knows how much of each mapping counts elsewhere."""

    def counts(self) -> Counts:
        n = len(self._table)
        half, none = np.full(n, 0.5), np.zeros(n)
        told = np.array([np.nan, 0.75])
        return Counts(half, np.ones(n), none, touched=half, resident=2 * half, repeated=told)


def of_one_program(count: int) -> Layout:
    """So many targets with 64 MiB."""
    of = layout(*[(FakeProcess(), ranges((0, 64)))] * count)
    stack = Mapping(BASE - MIB, BASE, "rw-p", "[stack]")
    tables = [MappingTable((stack, *table.mappings)) for table in of.mappings]
    targets = tuple(
        replace(target, mappings=table) for target, table in zip(of.targets, tables, strict=True)
    )
    return replace(of, targets=targets, mappings=tables)


def total_mib(snapshot: Snapshot) -> float:
    return float((snapshot.resident_bytes - snapshot.repeated_bytes).sum() / MIB)


def three_watched() -> SamplingMonitor:
    session = Forked(QUARTER)
    session.plan.layouts = [(0, of_one_program(3))]
    return monitored(session)


def last_of(watching: SamplingMonitor) -> Snapshot:
    *_, snapshot = watching.run("3s")
    return snapshot


def test_what_was_forked_counts_once() -> None:
    snapshot = last_of(three_watched())
    assert total_mib(snapshot) == 48 + 3 * 16
    assert snapshot.resident_bytes.sum() == 3 * 64 * MIB, "each has all of it"


@pytest.mark.parametrize("most_blocks", [8192, 48])
def test_a_sample_tells_where_there_is_too_much_memory(
    monkeypatch: pytest.MonkeyPatch, most_blocks: int
) -> None:
    monkeypatch.setattr(follower, "_BLOCK_NS", 10**9)
    monkeypatch.setattr(follower, "_LEAST_BLOCKS", 24)
    monkeypatch.setattr(repeated, "_MOST_BLOCKS", most_blocks)
    snapshot = last_of(three_watched())
    assert snapshot.page_ages is None or snapshot.page_ages.followed_share < 1
    assert total_mib(snapshot) == pytest.approx(48 + 3 * 16, rel=0.1)


def test_a_probe_may_tell_by_mapping() -> None:
    session = ToldByMapping(QUARTER)
    session.plan.layouts = [(0, of_one_program(2))]
    snapshot = last_of(monitored(session, follows_mappings=True, min_samples=1))
    assert total_mib(snapshot) == 64 + 16
