"""Sampling and scanning beside a kdamond of somebody else's, in the virtual machine."""

from __future__ import annotations

import mmap
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

import pydamon
from pydamon import Attrs
from pydamon._model.regions import RegionTable
from pydamon._observe.kernel import KdamondSettings, KernelTarget
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN, Kdamond
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.ebpf import readback
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from pydamon._observe.probes.ebpf.session import EbpfSession
from tests.integration.conftest import MIB, Program, huge_bytes, needs, running
from tests.unit.observe.kernel.conftest import needs_damon

pytestmark = [pytest.mark.live, needs_damon, needs("ebpf")]

HUGE = 2 * MIB
SIZE, HOT = 32 * MIB, 24 * MIB
MEMORY = f"""
import ctypes, mmap, sys, time
memory = mmap.mmap(-1, {SIZE + HUGE}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE if sys.argv[1] == "small" else mmap.MADV_HUGEPAGE)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
skipped = -address % {HUGE}
memory[skipped : skipped + {SIZE}] = bytes({SIZE})
"""
SHARED = """
import ctypes, mmap, sys, time
memory, skipped = mmap.mmap(open(sys.argv[1], "r+b").fileno(), 0), 0
sum(memory[:: mmap.PAGESIZE])
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
"""
"""Maps all of a file, and has touched each page once."""
READY = """
print(address + skipped, flush=True)
"""
NOW_AND_THEN = f"""
while True:
    sum(memory[skipped : skipped + {HOT} : mmap.PAGESIZE])
    time.sleep(0.3)
"""
"""Touches three quarters of its memory every 300 ms, and the rest never again."""
NEVER = f"""
for part in range(address + skipped, address + skipped + {SIZE}, {HUGE}):
    page = ctypes.c_size_t(mmap.PAGESIZE)
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(part + mmap.PAGESIZE), page, mmap.PROT_READ)
"""
"""Has its huge pages mapped one small page at a time, and touches nothing again."""


@pytest.fixture
def _busy() -> Iterator[None]:
    """Somebody else on each CPU, so that its TLB is flushed now and then.

    The kernel's DAMON does not flush it, and an emulated CPU's holds all of a program.
    """
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(running(sys.executable, "-c", "while True: pass"))
        yield


@contextmanager
def program_of(text: str, pages: str) -> Iterator[Program]:
    with running(sys.executable, "-c", text, pages) as process:
        assert process.stdout is not None
        yield Program(process.pid, int(process.stdout.readline()), HOT, SIZE)


@pytest.fixture(params=["huge", "small"])
def program(request: pytest.FixtureRequest, _busy: None) -> Iterator[Program]:
    with program_of(MEMORY + READY + NOW_AND_THEN, request.param) as program:
        assert (huge_bytes(program.pid) >= SIZE) == (request.param == "huge")
        yield program


@contextmanager
def kdamond_of(pid: int | None) -> Iterator[None]:
    """A kdamond that checks accesses every 5 ms, as somebody else would start it.

    It watches one process, or all physical memory.
    """
    files = Files(ADMIN)
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    attrs = Attrs(min_regions=100)
    settings = KdamondSettings("paddr", (), attrs)
    if pid is not None:
        settings = KdamondSettings("vaddr", (KernelTarget(pid),), attrs)
    try:
        kdamond.configure(settings)
        kdamond.start()
        yield
        kdamond.stop()
    finally:
        files.write("nr_kdamonds", 0)


@pytest.fixture
def sleeper() -> Iterator[int]:
    with running("/bin/sleep", "600") as process:
        yield process.pid


@contextmanager
def session_on(program: Program) -> Iterator[EbpfSession]:
    process = Process(program.pid)
    with EbpfProbe().open() as session:
        session.set_targets([process], [parse_maps(read_maps(program.pid))])
        yield session
    process.close()


def scanned(program: Program) -> tuple[float, float]:
    """Which share of the hot part a scan of two seconds tells, and which share of the rest."""
    end = program.start + program.size
    with session_on(program) as session:
        session.scan(0, program.start, end, clear=True)
        time.sleep(2)
        accessed = session.scan(0, program.start, end, clear=False).accessed
    hot = program.hot // mmap.PAGESIZE
    return float(accessed[:hot].mean()), float(accessed[hot:].mean())


def sampled(program: Program) -> tuple[float, float]:
    """Which share of samples hits in the hot part, and which in the rest."""
    edges = np.arange(program.start, program.start + program.size + 1, MIB)
    ticks = 5
    with session_on(program) as session:
        session.watch(RegionTable.of(0, edges[:-1], edges[1:]))
        for number in range(ticks):
            time.sleep(1)
            session.tick(last=number == ticks - 1)
        counts = session.counts()
    hits = counts.hits / np.maximum(counts.checks, 1)
    hot = program.hot // MIB
    return float(hits[:hot].mean()), float(hits[hot:].mean())


def in_working_set(snapshot: pydamon.Snapshot, program: Program) -> float:
    """Bytes of a program's memory that a snapshot tells as touched, in parts of the hot ones."""
    mine = (snapshot.start < program.start + program.size) & (snapshot.end > program.start)
    return float(snapshot.touched_bytes[mine].sum() / program.hot)


def monitored(program: Program) -> float:
    """The working set that a monitor tells, in parts of what it is."""
    with pydamon.monitor(
        program.pid, engine="sampling", sample="50ms", aggr="1s", cpu_budget_percent=50
    ) as mon:
        assert not mon.caveat
        snapshots = list(mon.run("15s"))
    return float(np.median([in_working_set(snapshot, program) for snapshot in snapshots[1:]]))


@pytest.mark.parametrize("way", [scanned, sampled])
def test_what_another_monitor_took_is_told(
    way: Callable[[Program], tuple[float, float]],
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = way(program)
    assert alone == pytest.approx((1, 0), abs=0.05)
    with kdamond_of(program.pid):
        time.sleep(1)
        assert way(program) == pytest.approx(alone, abs=0.05)
        monkeypatch.setattr(readback, "other_monitor", lambda: "")
        without = way(program)
        print(f"without reading back: {without}")
        if huge_bytes(program.pid) >= SIZE:
            assert without[0] < 0.9  # else there is nothing to be read back
    # What was left behind by a kdamond that is gone is not taken for an access.
    monkeypatch.undo()
    assert way(program) == pytest.approx(alone, abs=0.05)


def test_the_working_set_is_what_it_is_without_another_monitor(program: Program) -> None:
    alone = monitored(program)
    assert alone == pytest.approx(1, abs=0.1)
    with kdamond_of(program.pid):
        beside = monitored(program)
    print(f"alone {alone:.3f}, beside another monitor {beside:.3f}")
    assert beside == pytest.approx(alone, abs=0.1)


def test_all_of_a_huge_page_is_told_if_small_entries_map_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with program_of(MEMORY + NEVER + READY + "time.sleep(600)", "huge") as program:
        assert huge_bytes(program.pid) < SIZE
        end = program.start + program.size
        with kdamond_of(program.pid):
            time.sleep(3)
            with session_on(program) as session:
                assert session.scan(0, program.start, end, clear=False).accessed.all()
            monkeypatch.setattr(readback, "other_monitor", lambda: "")
            with session_on(program) as session:
                assert session.scan(0, program.start, end, clear=False).accessed.mean() < 0.9


def test_what_others_access_of_shared_pages_is_not_told_of_a_sleeper() -> None:
    """The kernel's flag says that a page was accessed, not by whom."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.truncate(SIZE)
        with (
            program_of(SHARED + READY + "time.sleep(600)", file.name) as sleeper,
            program_of(SHARED + READY + NOW_AND_THEN, file.name) as user,
            kdamond_of(None),
        ):
            time.sleep(1)
            assert scanned(sleeper) == (0, 0)
            assert scanned(user) == pytest.approx((1, 0), abs=0.05)


def test_doctor_says_that_another_monitor_is_at_work(sleeper: int) -> None:
    with kdamond_of(sleeper):
        note = EbpfProbe().availability().note
        assert note == "the kernel's DAMON clears accessed bits, too; what it takes is read back"
    assert EbpfProbe().availability().note == ""
