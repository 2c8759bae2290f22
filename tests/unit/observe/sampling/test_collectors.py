"""The collectors: one for samples, one for full scans, one for whole mappings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydamon._model.attrs import Attrs
from pydamon._model.errors import TargetGoneError
from pydamon._model.ranges import PAGE_SIZE, Ranges
from pydamon._observe.probes.base import Counts, PageBits, Traits
from pydamon._observe.probes.trace import Access, Phase, Trace
from pydamon._observe.sampling.exact_looks import chunks_of
from pydamon._observe.sampling.memory import MonitoredMemory
from pydamon._observe.sampling.monitor import SamplingMonitor, Shares
from pydamon._observe.sampling.samplers import TickSampler
from pydamon._observe.sampling.windows import CpuMeter, WindowTimer
from tests.unit.observe.sampling.fakes import (
    BASE,
    IDLE,
    MIB,
    SECOND,
    FakeProcess,
    PlannedSession,
    PlannedSpace,
    layout,
    pacer,
    ranges,
)

TRAITS = Traits("reads and writes", "any", "nothing", "none", scans=True)
QUARTER = Trace((Phase(SECOND, (Access(BASE, BASE + 16 * MIB),)),))


class CountingSession(PlannedSession):
    """Counts the calls of the two ways to look."""

    watched: int = 0
    scanned: int = 0

    def watch(self, *args: object, **kwargs: object) -> None:
        self.watched += 1
        super().watch(*args, **kwargs)  # type: ignore[arg-type]

    def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
        self.scanned += 1
        return super().scan(target, start, end, clear=clear)


class HalfTouched(CountingSession):
    """As a probe that only tells how much of a mapping is touched."""

    def counts(self) -> Counts:
        n = len(self._table)
        half = np.full(n, 0.5)
        return Counts(half.copy(), np.ones(n), np.zeros(n), touched=half, resident=2 * half)


def monitored(
    session: PlannedSession, *bounds: Ranges, plain: bool = False, **traits: bool | int
) -> SamplingMonitor:
    targets = [(FakeProcess(), each) for each in bounds or (ranges((0, 64)),)]
    session.plan.layouts = session.plan.layouts or [(0, layout(*targets))]
    space = PlannedSpace(session.plan)
    pace = pacer()
    return SamplingMonitor(
        space,
        session,
        replace(TRAITS, **traits),  # type: ignore[arg-type]
        pace,
        partial(TickSampler, pacer=pace, plain=plain, careful="follows_mappings" not in traits),
        shares=Shares(0.0035, 0.001),
        seed=1,
        plain=plain,
    )


def test_samples_with_surveys() -> None:
    session = CountingSession(QUARTER)
    *_, snapshot = monitored(session).run("1s")
    assert session.watched > 5
    assert session.scanned > 0
    assert snapshot.working_set() == 16 * MIB


def test_plain_samples_have_no_surveys() -> None:
    session = CountingSession(QUARTER)
    *_, snapshot = monitored(session, plain=True).run("1s")
    assert session.watched == 10
    assert session.scanned == 0
    assert (snapshot.touched_bytes[snapshot.nr_accesses > 0] > 0).all()


def test_full_scans_take_no_samples() -> None:
    session = CountingSession(QUARTER)
    snapshots = list(monitored(session, exact=True, min_samples=1).run("1s"))
    assert session.watched == 0
    assert [s.working_set() for s in snapshots] == [16 * MIB] * len(snapshots)
    assert BASE + 16 * MIB in snapshots[-1].start
    ages = snapshots[-1].page_ages
    assert ages is not None
    assert ages.idle_bytes(SECOND // 2, len(snapshots[-1])).sum() == 48 * MIB


def test_whole_mappings_are_never_split() -> None:
    session = HalfTouched(IDLE)
    bounds = ranges((0, 10), (20, 64))
    snapshots = list(
        monitored(session, bounds, follows_mappings=True, scans=False, min_samples=1).run("1s")
    )
    assert session.scanned == 0
    for snapshot in snapshots:
        assert snapshot.start.tolist() == bounds[:, 0].tolist()
        assert snapshot.touched_bytes.tolist() == [5 * MIB, 22 * MIB]
        assert snapshot.nr_accesses.tolist() == [10, 10]


def test_a_full_scan_says_nothing_of_a_target_that_is_gone() -> None:
    class HalfGone(CountingSession):
        def scan(self, target: int, start: int, end: int, *, clear: bool) -> PageBits:
            if target == 1:
                raise TargetGoneError("it has exited")
            return super().scan(target, start, end, clear=clear)

    session = HalfGone(QUARTER)
    mon = monitored(session, ranges((0, 64)), ranges((0, 8)), exact=True, min_samples=1)
    snapshot = next(iter(mon))
    assert snapshot.of_target(0).working_set() == 16 * MIB
    assert snapshot.of_target(1).working_set() == 0


def test_new_memory_is_looked_at_exactly_in_its_first_window() -> None:
    trace = Trace((Phase(SECOND, (Access(BASE + 100 * MIB, BASE + 104 * MIB),)),))
    session = CountingSession(trace)
    process = FakeProcess()
    session.plan.layouts = [
        (0, layout((process, ranges((0, 64))))),
        (2 * SECOND, layout((process, ranges((0, 64), (100, 110))))),
    ]
    mon = monitored(session)
    sizes = [(s.size.sum(), s.working_set(), s.unseen_bytes.sum()) for s in mon.run("4s")]
    assert sizes[0] == (64 * MIB, 0, 0)
    assert (74 * MIB, 4 * MIB, 0) in sizes
    assert all(unseen == 0 for _, _, unseen in sizes)


@pytest.mark.parametrize(("length_ms", "ticks"), [(100, 20), (97, 19), (5, 1), (1, 1)])
def test_a_window_has_whole_intervals_that_fill_it(length_ms: int, ticks: int) -> None:
    session = CountingSession(IDLE)
    mon = monitored(session)
    memory = mon._memory
    timer = WindowTimer(session, memory, pacer(Attrs()))
    start_ns = session.clock.now_ns()
    quarters: list[int] = []
    counted = timer.tick_until(
        start_ns, length_ms * 10**6, lambda: quarters.append(session.clock.now_ns())
    )
    assert (counted.total, counted.late) == (ticks, 0)
    assert session.clock.now_ns() - start_ns == pytest.approx(length_ms * 10**6, abs=20)
    assert len(quarters) == 1
    assert quarters[0] >= start_ns + length_ms * 10**6 // 4


def test_waiting_ends_early_when_everything_stops() -> None:
    session = CountingSession(IDLE)
    session.plan.layouts = [(0, layout((FakeProcess(), ranges((0, 64)))))]
    space = PlannedSpace(session.plan)
    memory = MonitoredMemory(space, session, pacer())
    memory.start()
    timer = WindowTimer(session, memory, pacer())
    timer.wait_until(SECOND)
    assert session.clock.now_ns() == SECOND
    space.alive = False
    timer.wait_until(60 * SECOND)
    assert session.clock.now_ns() < 2 * SECOND


def test_a_meter_sums_up_its_blocks() -> None:
    session = CountingSession(IDLE)
    meter = CpuMeter(session.clock)
    for _ in range(3):
        with meter:
            session.clock.spend(7)
        session.clock.spend(100)
    assert meter.cpu_ns == 21


_pages = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 600)), max_size=4)


@given(st.lists(_pages, max_size=3), st.sampled_from([64, 256, 4096]), st.data())
def test_chunks_hold_every_byte_once_from_the_cursor_on(
    targets: list[list[tuple[int, int]]], chunk_pages: int, data: st.DataObject
) -> None:
    bounds = []
    for steps in targets:
        at, rows = 0, []
        for gap, pages in steps:
            rows.append((at + gap, at + gap + pages))
            at += gap + pages
        bounds.append(np.array(rows, np.int64).reshape(-1, 2) * PAGE_SIZE)
    chunk_bytes = chunk_pages * PAGE_SIZE
    every = list(chunks_of(bounds, chunk_bytes))
    assert every == sorted(every)
    for _, start, end in every:
        assert start < end <= start + chunk_bytes
        assert start // chunk_bytes == (end - 1) // chunk_bytes
    for target, expected in enumerate(bounds):
        chunks = [(start, end) for number, start, end in every if number == target]
        assert all(before[1] <= after[0] for before, after in pairwise(chunks))
        for low, high in expected.tolist():
            inside = [(max(s, low), min(e, high)) for s, e in chunks]
            assert sum(max(0, e - s) for s, e in inside) == high - low
    if every:
        target, start, _ = data.draw(st.sampled_from(every))
        turned = list(chunks_of(bounds, chunk_bytes, (target, start)))
        at = every.index(turned[0])
        assert turned[0][:2] == (target, start)
        assert turned == every[at:] + every[:at]
