"""Ages of pages of simulated programs: what samples and surveys clear is not lost."""

from __future__ import annotations

import os
import resource
from contextlib import closing
from unittest.mock import Mock

import numpy as np
import pytest

import pydamon
from pydamon import Access, Phase, Snapshot, Trace
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.page_ages import share_beyond
from pydamon._model.ranges import PAGE_SIZE, keyed
from pydamon._model.regions import RegionTable
from pydamon._observe.linux.process import Process
from pydamon._observe.pages.follower import PageFollower

MIB, GIB, TIB, S = 2**20, 2**30, 2**40, 10**9
BASE = 0x7F00_0000_0000
SIZE = 256 * MIB


def watched(
    *accesses: Access, size: int = SIZE, duration: str = "60s", seed: int = 3
) -> list[Snapshot]:
    trace = Trace((Phase(S, accesses),))
    mon = pydamon.simulate(trace, [(BASE, BASE + size)], cpu_budget_percent=1, seed=seed)
    return list(mon.run(duration))


def idle_bytes(snapshot: Snapshot, idle_ns: int) -> int:
    assert snapshot.page_ages is not None
    return int(snapshot.page_ages.idle_bytes(idle_ns, len(snapshot)).sum())


def returns_hz(snapshots: list[Snapshot], idle_ns: int) -> float:
    """Pages a second that come back after so long a rest."""
    ages = [s.page_ages for s in snapshots if s.page_ages]
    pages = sum((a.returned_bytes * share_beyond(idle_ns)[a.bucket]).sum() for a in ages) / 4096
    return float(pages / ((ages[-1].looked_ns - ages[0].looked_ns) / 1e9))


def last_with_ages(snapshots: list[Snapshot]) -> Snapshot:
    return next(s for s in reversed(snapshots) if s.page_ages)


def test_idle_pages_among_hot_ones_are_told() -> None:
    """One page in 16 is in use: no region is idle, and 15 of 16 pages are."""
    snapshots = watched(Access(BASE, BASE + SIZE, rate_hz=200, stride=16 * 4096))
    last = last_with_ages(snapshots)
    assert idle_bytes(last, 10 * S) == pytest.approx(SIZE * 15 / 16, rel=0.01)
    assert last.page_ages is not None
    assert last.page_ages.known_bytes(len(last)).sum() == SIZE


def test_what_samples_clear_is_not_forgotten() -> None:
    """Every page is in use each second or so: most clears of samples come between two looks."""
    snapshots = watched(Access(BASE, BASE + SIZE, rate_hz=1))
    assert idle_bytes(last_with_ages(snapshots), 15 * S) < 0.01 * SIZE


def test_pages_that_come_back() -> None:
    """At random every 20 s: of a page's rests, the share exp(-10 / 20) lasts longer than 10 s."""
    snapshots = watched(Access(BASE, BASE + SIZE, rate_hz=1 / 20), duration="120s")
    pages = SIZE / 4096
    settled = [s for s in snapshots if s.start_ns > 60 * S]
    wanted_hz = pages / 20 * np.exp(-10 / 20)
    assert returns_hz(settled, 10 * S) == pytest.approx(wanted_hz, rel=0.25)
    assert idle_bytes(last_with_ages(snapshots), 10 * S) == pytest.approx(
        SIZE * np.exp(-10 / 20), rel=0.15
    )


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(16 * GIB, id="16 GiB"),
        pytest.param(5 * TIB, id="5 TiB", marks=pytest.mark.long),
    ],
)
def test_a_part_stands_for_memory_of_any_size(size: int) -> None:
    hot = size // 4
    trace = Trace((Phase(S, (Access(BASE, BASE + hot, rate_hz=10),)),))
    mon = pydamon.simulate(trace, [(BASE, BASE + size)], cpu_budget_percent=1, seed=1)
    snapshots = list(mon.run("90s"))
    last = last_with_ages(snapshots)
    assert last.page_ages is not None
    if size == 5 * TIB:
        assert last.page_ages.followed_share < 1
    assert idle_bytes(last, 10 * S) == pytest.approx(size - hot, rel=0.1)
    cpu_ns = sum(s.cost.cpu_ns for s in snapshots)
    assert cpu_ns < 0.011 * (snapshots[-1].end_ns - snapshots[0].start_ns)


def test_ages_are_known_by_page_for_actions() -> None:
    trace = Trace((Phase(S, (Access(BASE, BASE + SIZE, rate_hz=500, stride=4 * 4096),)),))
    with pydamon.simulate(trace, [(BASE, BASE + SIZE)], seed=1) as mon:
        assert any(snapshot.page_ages for snapshot in mon.run("10s"))
    plain = pydamon.simulate(trace, [(BASE, BASE + SIZE)], seed=1, plain=True)
    assert not any(snapshot.page_ages for snapshot in plain.run("3s"))


@pytest.mark.parametrize("is_short", [False, True])
def test_looks_are_rare_while_memory_is_short(
    monkeypatch: pytest.MonkeyPatch, is_short: bool
) -> None:
    """A look at a program that refaults deactivates pages that the kernel should keep."""
    monkeypatch.setattr(PageFollower, "_memory_is_short", lambda *_: is_short)
    snapshots = watched(Access(BASE, BASE + SIZE, rate_hz=1), duration="120s")
    looks = sum(s.page_ages.looks for s in snapshots if s.page_ages)
    # A survey clears all pages as well, and is a look.
    assert looks < 32 if is_short else looks > 45


def test_looks_say_how_much_of_regions_is_in_memory() -> None:
    """Regions were cut since a survey saw that half of all was in memory."""
    clock = Mock(cpu_ns=lambda: 0, now_ns=lambda: 5 * S, unix_ns=lambda ns: ns)
    follower = PageFollower(Mock(clock=clock), 0.01)
    follower._pages.fit([np.array([[0, 4 * MIB]])])
    follower._pages.flat[:] = np.repeat([1, 0], 512)
    follower._times.add(4 * S)
    start = np.arange(0, 6 * MIB, 2 * MIB)
    table = RegionTable.of([0, 0, 0], start, start + 2 * MIB)
    table.resident[:] = 0.5
    assert follower.ages_of(table) is not None
    assert table.resident.tolist() == [1, 0, 0.5], "the last is not followed yet"


def test_what_another_target_used_meanwhile_does_not_come_back() -> None:
    """Two targets map two pages; the first uses both again after 4 s, the other has used one."""
    table = MappingTable((Mapping(0, 2 * PAGE_SIZE, "rw-s", "/x", "8:1 7"),))
    layout = Mock(processes=[Mock(), Mock()], mappings=[table, table])
    follower = PageFollower(Mock(clock=Mock(now_ns=lambda: 5 * S)), 0.01)
    follower.fit(layout, [table.runs, table.runs])
    for second in range(1, 5):
        follower._times.add(second * S)
    places = [follower._pages.places_of(keyed([table.runs] * 2)[row, 0] + [0, 1]) for row in (0, 1)]
    follower._pages.flat[places[0]], follower._pages.flat[places[1]] = [1, 1], [1, 4]
    layout.mappings = [table, table]  # read anew
    follower.fit(layout, [table.runs, table.runs])
    follower._touch(places[0])
    keys, _ = follower._returns.take()
    assert keys.tolist() == [0], "the page that nobody used"


def test_memory_is_short_where_many_major_faults_are(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = iter([1000, 1005, 1100, 1101])
    monkeypatch.setattr(Process, "major_faults", lambda _: next(faults))
    follower = PageFollower(Mock(), 0.01)
    with closing(Process(os.getpid())) as process:
        follower._processes = (process,)
        answers = [follower._memory_is_short(second * S) for second in range(1, 5)]
    assert answers == [False, False, True, False]


def test_major_faults_of_a_process() -> None:
    with closing(Process(os.getpid())) as process:
        faults = process.major_faults()
    assert 0 <= faults <= resource.getrusage(resource.RUSAGE_SELF).ru_majflt
