"""The kernel's numbers of targets, as processes come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon import Footprint, Layout, Mapping, MappingTable, Target, TargetError
from pydamon._observe.kernel.kdamond import KernelTargets
from pydamon._observe.targets import Space

PIDS = st.sets(st.integers(1, 8), max_size=6)


class People:
    """A space of processes that the test starts and ends."""

    follows_memory = False

    def __init__(self, *pids: int) -> None:
        self.pids = set(pids)

    @property
    def alive(self) -> bool:
        return bool(self.pids)

    def update(self, max_ranges: int) -> Layout:
        del max_ranges
        pids = sorted(self.pids)
        processes: list[Any] = [
            SimpleNamespace(pid=pid, alive=True, footprint=lambda pid=pid: Footprint(pid, pid))
            for pid in pids
        ]
        ranges = [np.array([[0, 4096 * pid]], np.int64) for pid in pids]
        return Layout(tuple(map(Target, pids)), processes, [MappingTable()] * len(pids), ranges)

    def close(self) -> None:
        """Nothing to close."""


def targets_of(space: People, operations: str = "vaddr") -> KernelTargets:
    return KernelTargets(cast(Space, space), operations)


@given(st.lists(PIDS, min_size=1, max_size=6))
def test_a_number_stays_with_its_process(changes: list[set[int]]) -> None:
    space = People(9)
    targets = targets_of(space)
    numbers = [9]
    for pids in changes:
        space.pids = pids
        new = sorted(pids - set(numbers))
        assert targets.refresh() == bool(new)
        numbers += new
        assert [target.pid for target in targets.numbered] == numbers
        exited = [number for number, pid in enumerate(numbers) if pid not in pids]
        assert targets.exited() == exited
        assert [target.pid for target in targets.settings()] == numbers
        targets.measure()
        sizes = [pid if pid in pids else 0 for pid in numbers]
        assert [footprint.rss_bytes for footprint in targets.footprints] == sizes


@given(PIDS, PIDS)
def test_dropping_who_has_exited_leaves_who_lives(before: set[int], after: set[int]) -> None:
    space = People(9, *before)
    targets = targets_of(space)
    space.pids = after
    targets.refresh()
    targets.drop(targets.exited())
    assert {target.pid for target in targets.numbered} == after
    assert len(targets.footprints) == len(targets) == len(after)
    assert targets.exited() == []


def test_a_restart_numbers_who_lives() -> None:
    space = People(3, 5)
    targets = targets_of(space, "fvaddr")
    space.pids = {5}
    assert targets.renumber()
    assert [(target.pid, target.ranges) for target in targets.settings()] == [(5, ((0, 5 * 4096),))]
    space.pids = set()
    assert not targets.renumber()
    assert not targets.alive
    with pytest.raises(TargetError, match="exited"):
        targets_of(space)


def test_memory_nodes_that_touch_have_a_border() -> None:
    nodes = [
        Mapping(0, 8, "", "node 0"),
        Mapping(8, 12, "", "node 1"),
        Mapping(16, 20, "", "node 0"),
    ]
    layout = Layout(
        (Target(0, "physical memory"),),
        (),
        [MappingTable(tuple(nodes))],
        [np.zeros((0, 2), np.int64)],
    )
    space = SimpleNamespace(update=lambda _: layout, alive=True)
    assert KernelTargets(cast(Space, space), "paddr").node_borders.tolist() == [8]
    assert KernelTargets(cast(Space, space), "vaddr").node_borders.tolist() == []
