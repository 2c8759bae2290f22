"""The ebpf probe against what programs really do."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import pydamon
from pydamon._model.errors import ProbeUnavailable
from pydamon._model.mappings import MappingTable
from pydamon._model.regions import RegionTable
from pydamon._model.spots import SPOT_BYTES
from pydamon._model.stretches import Stretches
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.base import Session
from pydamon._observe.probes.ebpf import machine, readback
from pydamon._observe.probes.ebpf.machine import Machine
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from tests.integration.conftest import MIB, Program, huge_bytes, needs, open_files, script, slowness

pytestmark = [pytest.mark.live, needs("ebpf")]

HUGE_PAGES = 8


@pytest.fixture
def session() -> Iterator[Session]:
    with EbpfProbe().open() as session:
        yield session


def watch_only(session: Session, pid: int) -> MappingTable:
    mappings = parse_maps(read_maps(pid))
    session.set_targets([Process(pid)], [mappings])
    return mappings


def sample(
    session: Session, table: RegionTable, ticks: int = 20, least_s: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Share of samples that hit, and share that could not be watched, by region."""
    # Long enough for a program to run in each, even where others run too.
    interval_s = max(least_s, 0.005 * slowness())
    session.watch(table)
    for number in range(ticks):
        time.sleep(interval_s)
        session.tick(last=number == ticks - 1)
    counts = session.counts()
    tried = np.maximum(counts.checks + counts.unobservable, 1)
    return counts.hits / np.maximum(counts.checks, 1), counts.unobservable / tried


def test_samples_tell_hot_from_cold(session: Session, quarter: Callable[..., Program]) -> None:
    program = quarter(64)
    watch_only(session, program.pid)
    edges = np.linspace(program.start, program.start + program.size, 17).astype(np.int64)
    table = RegionTable.of(0, edges[:-1], edges[1:])
    sample(session, table)  # clears what was touched before we came
    hits, unobservable = sample(session, table)
    assert (hits[:4] > 0.9).all()
    # A huge page may lie on both sides of the border.
    assert (hits[5 if huge_bytes(program.pid) else 4 :] < 0.1).all()
    assert (unobservable < 0.1).all()


@pytest.fixture
def by_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the programs read as on kernels before 6.2."""
    facts = machine._kernel()._replace(reads={})
    monkeypatch.setattr(machine, "_kernel", lambda: facts)


@pytest.mark.usefixtures("by_calls")
def test_samples_tell_hot_from_cold_on_kernels_without_plain_loads(
    session: Session, quarter: Callable[..., Program]
) -> None:
    test_samples_tell_hot_from_cold(session, quarter)


def test_a_scan_is_exact(session: Session, quarter: Callable[..., Program]) -> None:
    program = quarter(64)
    watch_only(session, program.pid)
    end = program.start + program.size
    session.scan(0, program.start, end, clear=True)
    time.sleep(0.3)
    bits = session.scan(0, program.start, end, clear=False)
    hot = np.arange(len(bits.accessed)) < program.hot // mmap.PAGESIZE
    assert bits.present.all()
    assert bits.accessed[hot].all()
    # The few pages that were in no LRU list yet when they should have been cleared, or a huge page
    # on both sides of the border.
    assert bits.accessed[~hot].sum() <= (512 if huge_bytes(program.pid) else 64)


def test_a_scan_may_begin_in_the_middle(session: Session) -> None:
    # Two pages are accessed again before anybody can see them cleared.
    text = f"""
import ctypes, mmap
memory = mmap.mmap(-1, {4 * MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
print("ready"); print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory))), flush=True)
while True:
    memory[0] = memory[{3 * MIB}] = 1
"""
    with script(text) as process:
        assert process.stdout is not None
        start = int(process.stdout.readline(), 16)
        time.sleep(0.1 * slowness())
        watch_only(session, process.pid)
        middle, end = start + 2 * MIB, start + 4 * MIB
        for _ in range(20):
            session.scan_many(Stretches.of([(0, middle, end), (0, start, middle)]), clear=True)
        time.sleep(0.1 * slowness())
        bits = session.scan_many(Stretches.of([(0, middle, end), (0, start, middle)]), clear=False)
        pages = MIB // mmap.PAGESIZE
        assert np.flatnonzero(bits.accessed).tolist() == [pages, 2 * pages]
        assert not bits.unobservable.any()


@pytest.mark.long
def test_reading_back_changes_nothing_where_nothing_was_taken(
    quarter: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "other_monitor", lambda: "another monitor")
    program = quarter(64)
    end = program.start + program.size
    with EbpfProbe().open() as session:
        watch_only(session, program.pid)
        if "this kernel has no PG_young" in session.caveat:
            pytest.skip(session.caveat)
        assert session.read_back.note == (
            "another monitor clears accessed bits, too; what it takes is read back"
        )
        assert not session.caveat
        session.scan(0, program.start, end, clear=True)
        time.sleep(0.3)
        accessed = session.scan(0, program.start, end, clear=False).accessed
        spots = np.arange(program.start, end, SPOT_BYTES)
        looked = session.look(np.zeros(len(spots), np.int32), spots, clear=False)
        table = RegionTable.of(0, [program.start, end - 8 * MIB], [program.start + 8 * MIB, end])
        hits, unobservable = sample(session, table, ticks=5, least_s=0.3)
    hot = np.arange(len(accessed)) < program.hot // mmap.PAGESIZE
    assert accessed[hot].all()
    assert accessed[~hot].sum() <= (512 if huge_bytes(program.pid) else 64)
    assert looked[: program.hot // SPOT_BYTES].all()
    assert hits == pytest.approx([1, 0], abs=0.1)
    assert unobservable == pytest.approx([0, 0], abs=0.1)


@pytest.mark.long
def test_what_cannot_be_read_back_is_said(
    quarter: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ProbeUnavailable("this kernel has no PG_young")

    monkeypatch.setattr(readback, "other_monitor", lambda: "another monitor")
    monkeypatch.setattr(machine, "find_struct_page", refused)
    monkeypatch.setattr(Machine, "_struct_page", None)
    with pydamon.monitor(quarter(16).pid, probe="ebpf") as mon:
        assert "another monitor clears accessed bits, too" in mon.caveat
        assert "this kernel has no PG_young" in mon.caveat
        assert next(iter(mon)).working_set() > 0


def test_a_look_at_spots_of_which_none_is_accessed(
    session: Session, quarter: Callable[..., Program]
) -> None:
    watch_only(session, quarter(16).pid)
    nothing_is_there = (1 << 40) + np.arange(4) * SPOT_BYTES
    for spots in (nothing_is_there, nothing_is_there[:0]):
        targets = np.zeros(len(spots), np.int32)
        assert session.look(targets, spots, clear=True).tolist() == [0.0] * len(spots)


def test_a_scan_leaves_what_it_only_reads(
    session: Session, quarter: Callable[..., Program]
) -> None:
    program = quarter(16)
    watch_only(session, program.pid)
    cold = program.start + program.hot
    for _ in range(2):
        bits = session.scan(0, cold, program.start + program.size, clear=False)
        assert bits.accessed.all()


def test_pages_of_several_processes_are_unobservable_and_never_hot(session: Session) -> None:
    text = f"""
import ctypes, mmap, os
memory = mmap.mmap(-1, {4 * MIB})
memory.write(b"x" * {4 * MIB})
reader, writer = os.pipe()
parent = os.getpid()
if os.fork() == 0:
    sum(memory[::mmap.PAGESIZE])
    os.write(writer, b"x")
    while os.getppid() == parent:
        sum(memory[::mmap.PAGESIZE])
    os._exit(0)
os.read(reader, 1)
print("ready")
print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory))), flush=True)
while True:
    sum(memory[::mmap.PAGESIZE])
"""
    # The parent and its child touch the same pages all the time.
    with script(text) as process:
        assert process.stdout is not None
        start = int(process.stdout.readline(), 16)
        watch_only(session, process.pid)
        edges = start + np.arange(5) * MIB
        hits, unobservable = sample(session, RegionTable.of(0, edges[:-1], edges[1:]))
        assert (hits == 0).all()
        assert (unobservable == 1).all()
        bits = session.scan(0, start, start + 4 * MIB, clear=True)
        assert bits.unobservable.all()
        assert not bits.accessed.any()


def test_locked_memory_is_unobservable(session: Session) -> None:
    text = f"""
import ctypes, mmap
memory = mmap.mmap(-1, {MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b"x" * {MIB})
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mlock(ctypes.c_void_p(address), {MIB}) == 0
print("ready"); print(hex(address), flush=True)
while True:
    sum(memory[::mmap.PAGESIZE])
"""
    with script(text) as process:
        assert process.stdout is not None
        start = int(process.stdout.readline(), 16)
        watch_only(session, process.pid)
        hits, unobservable = sample(session, RegionTable.of(0, [start], [start + MIB]))
        assert hits[0] == 0
        assert unobservable[0] == 1


def test_pages_that_fault_on_access_are_mapped_all_the_same(session: Session) -> None:
    # As automatic NUMA balancing leaves them.
    text = f"""
import ctypes, mmap, sys
memory = mmap.mmap(-1, {MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b"x" * {MIB})
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print("ready"); print(hex(address), flush=True)
sys.stdin.readline()
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), {MIB}, 0) == 0
print("protected", flush=True)
sys.stdin.readline()
"""
    with script(text) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        start = int(process.stdout.readline(), 16)
        # Before: what the program itself protects from access is not watched at all.
        watch_only(session, process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "protected\n"
        bits = session.scan(0, start, start + MIB, clear=True)
        assert bits.present.all()
        assert bits.accessed.all()
        bits = session.scan(0, start, start + MIB, clear=False)
        assert bits.accessed.sum() <= 64  # in no LRU list yet
        hits, _ = sample(session, RegionTable.of(0, [start], [start + MIB]))
        assert hits[0] < 0.1


@pytest.mark.skipif(HUGE_BYTES > 64 * MIB, reason="huge pages here are too large for a test")
def test_huge_pages_are_watched_and_stay_whole(session: Session) -> None:
    text = f"""
import ctypes, mmap
memory = mmap.mmap(-1, {HUGE_PAGES * HUGE_BYTES}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for at in range(0, len(memory), mmap.PAGESIZE):
    memory[at] = 1
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
start = -(-address // {HUGE_BYTES}) * {HUGE_BYTES} - address
print("ready"); print(hex(address + start), flush=True)
while True:
    sum(memory[start:start + {2 * HUGE_BYTES}:mmap.PAGESIZE])
"""
    with script(text) as process:
        assert process.stdout is not None
        start = int(process.stdout.readline(), 16)
        if huge_bytes(process.pid) < (HUGE_PAGES - 1) * HUGE_BYTES:
            pytest.skip("this machine gives no transparent huge pages, even when asked")
        watch_only(session, process.pid)
        edges = start + np.arange(0, HUGE_PAGES) * HUGE_BYTES
        end = int(edges[-1])
        before = session.scan(0, start, end, clear=False).huge.sum()
        table = RegionTable.of(0, edges[:-1], edges[1:])
        sample(session, table)
        hits, _ = sample(session, table)
        assert (hits[:2] > 0.9).all()
        assert (hits[2:] < 0.1).all()
        session.scan(0, start, end, clear=True)
        # Not from smaps, where Linux 6.1 misses those that NUMA balancing makes fault.
        assert session.scan(0, start, end, clear=False).huge.sum() == before


def test_exec_is_noticed(session: Session) -> None:
    text = """
import os, sys
print("ready", flush=True)
sys.stdin.readline()
os.execv("/bin/sleep", ["sleep", "60"])
"""
    with script(text) as process:
        assert process.stdin is not None
        runs = watch_only(session, process.pid).runs
        table = RegionTable.of(0, runs[:, 0], runs[:, 1])
        session.watch(table)
        session.tick()
        assert not session.counts().lost
        process.stdin.write("\n")
        process.stdin.flush()
        deadline_s = time.monotonic() + 10
        while not session.counts().lost:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
            session.tick()
        # The next `watch` finds the new address space.
        fresh = parse_maps(read_maps(process.pid)).runs
        session.watch(RegionTable.of(0, fresh[:, 0], fresh[:, 1]))
        for _ in range(20):
            session.tick()
        counts = session.counts()
        assert not counts.lost
        assert counts.checks.sum() > 0


def test_nothing_is_left_open(quarter: Callable[..., Program]) -> None:
    program = quarter(8)
    before = open_files()
    for _ in range(2):
        with pydamon.monitor(program.pid, probe="ebpf") as mon:
            next(iter(mon))
    assert open_files() == before
