"""Where targets have memory, and when a monitor looks again."""

from __future__ import annotations

import numpy as np
import pytest

from pydamon._model.errors import TargetError
from pydamon._model.regions import RegionTable
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.targets import Layout
from tests.unit.observe.sampling.fakes import (
    MIB,
    SECOND,
    FakeProcess,
    PlannedSession,
    PlannedSpace,
    layout,
    pacer,
    ranges,
)

MS = 10**6


def started(
    session: PlannedSession, *, follows_memory: bool = True
) -> tuple[MonitoredMemory, PlannedSpace]:
    space = PlannedSpace(session.plan, follows_memory=follows_memory)
    memory = MonitoredMemory(space, session, pacer())
    memory.start()
    return memory, space


def test_without_targets_there_is_nothing_to_watch() -> None:
    session = PlannedSession()
    session.plan.layouts = [(0, Layout((), (), (), ()))]
    with pytest.raises(TargetError, match="nothing to watch"):
        started(session)


def test_only_ranges_with_memory_are_monitored() -> None:
    session = PlannedSession()
    session.plan.layouts = [(0, layout((FakeProcess(), ranges((0, 100)))))]
    session.plan.populated = [(0, [ranges((0, 10), (90, 120))])]
    memory, _ = started(session)
    assert [each.tolist() for each in memory.ranges] == [ranges((0, 10), (90, 100)).tolist()]
    memory, _ = started(session, follows_memory=False)
    assert [each.tolist() for each in memory.ranges] == [ranges((0, 100)).tolist()]


def test_moved_memory_ends_a_window_and_makes_an_update_due() -> None:
    session = PlannedSession()
    session.plan.layouts = [(0, layout((FakeProcess(), ranges((0, 100)))))]
    session.plan.populated = [(0, [ranges((0, 10))]), (20 * SECOND, [ranges((0, 30))])]
    memory, _ = started(session)
    table = RegionTable.of(0, memory.ranges[0][:, 0], memory.ranges[0][:, 1])
    table.age_ns[:] = 7
    clock = session.clock
    clock.wait_until(19 * SECOND)
    table = memory.update(table, clock.now_ns())
    assert not memory.ends_window(clock.now_ns())
    assert not memory.update_is_due(clock.now_ns() + 10 * MS)
    clock.wait_until(20 * SECOND)
    assert memory.ends_window(clock.now_ns())
    assert memory.update_is_due(clock.now_ns())
    table = memory.update(table, clock.now_ns())
    assert table.ranges.tolist() == ranges((0, 10), (10, 30)).tolist()
    assert table.age_ns.tolist() == [7, 0]
    # Not again at once: a program whose memory moves all the time has long windows, too.
    session.plan.populated.append((20 * SECOND + MS, [ranges((0, 40))]))
    assert not memory.ends_window(clock.now_ns() + 2 * MS)


def test_updates_come_once_an_interval() -> None:
    session = PlannedSession()
    session.plan.layouts = [(0, layout((FakeProcess(), ranges((0, 100)))))]
    memory, _ = started(session)
    table = RegionTable.of(0, memory.ranges[0][:, 0], memory.ranges[0][:, 1])
    assert memory.update_is_due(100 * MS), "soon after the start, as often as it is cheap"
    memory.update(table, 6 * SECOND)
    assert not memory.update_is_due(6 * SECOND + 900 * MS)
    assert memory.update_is_due(7 * SECOND)


def test_regions_follow_their_process_to_its_new_number() -> None:
    first, second, third = FakeProcess(1), FakeProcess(2 * MIB), FakeProcess(3 * MIB)
    session = PlannedSession()
    session.plan.layouts = [
        (0, layout((first, ranges((0, 10))), (second, ranges((0, 20))))),
        (SECOND, layout((second, ranges((0, 20))), (third, ranges((5, 6))))),
    ]
    memory, _ = started(session)
    assert memory.resident_bytes == 1 + 2 * MIB
    bounds = np.concatenate(memory.ranges)
    table = RegionTable.of([0, 1], bounds[:, 0], bounds[:, 1])
    table.nr_accesses[:] = 3, 8
    session.clock.wait_until(SECOND)
    table = memory.update(table, SECOND)
    assert table.target.tolist() == [0, 1]
    assert table.nr_accesses.tolist() == [8, 0]
    assert table.ranges.tolist() == ranges((0, 20), (5, 6)).tolist()
    assert session.set_targets_calls == 2
    assert memory.resident_bytes == 5 * MIB


def test_the_state_before_an_update_stays_as_it_was() -> None:
    process = FakeProcess(MIB)
    session = PlannedSession()
    session.plan.layouts = [(0, layout((process, ranges((0, 10)))))]
    memory, _ = started(session)
    before = memory.state
    process.rss_bytes = 2 * MIB
    memory.update(RegionTable.of(0, *ranges((0, 10))[0]), SECOND)
    assert before.footprints[0].rss_bytes == MIB
    assert memory.state.footprints[0].rss_bytes == 2 * MIB
    assert memory.state.layout is before.layout
    assert session.set_targets_calls == 1


def test_monitoring_ends_when_all_targets_have_exited() -> None:
    session = PlannedSession()
    session.plan.layouts = [(0, layout((FakeProcess(), ranges((0, 100)))))]
    memory, space = started(session)
    assert memory.alive
    assert not memory.ends_window(SECOND)
    space.alive = False
    assert not memory.alive
    assert memory.ends_window(2 * SECOND)
    assert memory.stopped
