"""The probes that look at every page: `writes`, `softdirty` and `idle`."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import pydamon
from pydamon._observe.linux.arch import HUGE_BYTES, PAGE_SIZE
from pydamon._observe.linux.pagemap import Pagemap
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.base import Session
from pydamon._observe.probes.idle import IdleProbe
from pydamon._observe.probes.registry import PROBES, open_session
from tests.integration.conftest import MIB, Program, huge_bytes, needs, open_files, running, script

pytestmark = pytest.mark.live

PAGE = mmap.PAGESIZE
WRITERS = [pytest.param(name, marks=needs(name)) for name in ("writes", "softdirty")]
STEPS = f"""
import ctypes, mmap, sys
memory = mmap.mmap(-1, {1024 * PAGE}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(15)  # no huge pages
memory.write(b"x" * {1024 * PAGE})
print("ready"); print(hex(ctypes.addressof(ctypes.c_char.from_buffer(memory))), flush=True)
for line in sys.stdin:
    what, first, count = line.split()
    for page in range(int(first), int(first) + int(count)):
        if what == "write":
            memory[page * {PAGE}] = 1
        else:
            memory[page * {PAGE}]
    print("done", flush=True)
"""
"""Writes to or reads the pages that it is told to."""


class Stepper:
    """A program that touches what it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self._process = process
        self.start = int(process.stdout.readline(), 16)
        self.end = self.start + 1024 * PAGE

    def do(self, what: str, first: int, count: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what} {first} {count}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


@pytest.fixture
def stepper() -> Iterator[Stepper]:
    with script(STEPS) as process:
        yield Stepper(process)


def session_on(name: str, *pids: int) -> Session:
    session = next(probe for probe in PROBES if probe.name == name).open()
    session.set_targets([Process(p) for p in pids], [parse_maps(read_maps(p)) for p in pids])
    return session


@pytest.mark.parametrize("name", WRITERS)
def test_writes_are_seen_to_the_page_and_reads_are_not(name: str, stepper: Stepper) -> None:
    with session_on(name, stepper.pid) as session:
        session.scan(0, stepper.start, stepper.end, clear=True)
        stepper.do("read", 0, 1024)
        assert session.scan(0, stepper.start, stepper.end, clear=False).accessed.sum() == 0
        stepper.do("write", 100, 50)
        stepper.do("write", 1023, 1)
        for clear in (False, True):  # looking alone changes nothing
            bits = session.scan(0, stepper.start, stepper.end, clear=clear)
            wanted = [*range(100, 150), 1023]
            assert np.flatnonzero(bits.accessed).tolist() == wanted
            assert bits.present.all()
            assert not bits.unobservable.any()
        assert session.scan(0, stepper.start, stepper.end, clear=False).accessed.sum() == 0
        part = session.scan(0, stepper.start + 7 * PAGE, stepper.start + 9 * PAGE, clear=False)
        assert (part.start, len(part.accessed)) == (stepper.start + 7 * PAGE, 2)


@pytest.mark.parametrize("name", WRITERS)
def test_the_written_quarter_is_found(name: str, quarter: Callable[..., Program]) -> None:
    program = quarter(64)
    with pydamon.monitor(program.pid, probe=name, cpu_budget_percent=None) as mon:
        snapshots = [s for s, _ in zip(mon, range(8), strict=False)]
    slack = 4 * MIB if huge_bytes(program.pid) else MIB
    working_set = np.median([s.working_set() for s in snapshots[2:]])
    assert program.hot <= working_set < program.hot + slack


@pytest.mark.parametrize("name", [pytest.param("exact", marks=needs("exact")), *WRITERS])
def test_full_scans_tell_ages(name: str, quarter: Callable[..., Program]) -> None:
    program = quarter(64)
    with pydamon.monitor(program.pid, probe=name, cpu_budget_percent=None) as mon:
        last = [snapshot for snapshot in mon.run("3s") if snapshot.page_ages][-1]
    assert last.page_ages is not None
    idle = last.page_ages.idle_bytes(10**9, len(last))
    inside = (last.end > program.start) & (last.start < program.start + 64 * MIB)
    assert idle[inside].sum() == pytest.approx(48 * MIB, rel=0.1)


@needs("writes")
def test_a_process_that_is_tracked_is_left_as_it_was(quarter: Callable[..., Program]) -> None:
    program = quarter(8)
    fds = sorted(os.listdir(f"/proc/{program.pid}/fd"))  # noqa: PTH208
    mine = open_files()
    for _ in range(5):
        with pydamon.monitor(program.pid, probe="writes") as mon:
            next(iter(mon))
            assert sorted(os.listdir(f"/proc/{program.pid}/fd")) == fds  # noqa: PTH208
    assert open_files() == mine
    status = Path(f"/proc/{program.pid}/status").read_text()
    assert "TracerPid:\t0" in status
    # Another one can be next: nothing is registered any more.
    assert " uw" not in Path(f"/proc/{program.pid}/smaps").read_text()


WAITS = (
    "time.sleep(1.5)",
    "sys.stdin.readline()",
    "select.select([], [], [], 1.5)",
    "time.monotonic()",
)


@needs("writes")
def test_what_was_interrupted_goes_on() -> None:
    text = """
import select, sys, time
print("ready", flush=True)
begin = time.monotonic()
while time.monotonic() - begin < 1:
    {}
print(time.monotonic() - begin, flush=True)
"""
    with ExitStack() as stack:
        waiting = {wait: stack.enter_context(script(text.format(wait))) for wait in WAITS}
        time.sleep(0.2)
        session_on("writes", *(process.pid for process in waiting.values())).close()
        time.sleep(1)
        for wait, process in waiting.items():
            output, _ = process.communicate("\n", timeout=60)
            assert 1 <= float(output) < 60, wait
            assert process.returncode == 0, wait


@needs("writes")
def test_exec_and_exit_are_noticed() -> None:
    argv = (sys.executable, "-c", "import os; input(); os.execv('/bin/sleep', ['sleep', '1'])")
    with (
        running(*argv) as process,
        pydamon.monitor(
            process.pid, probe="writes", aggr="100ms", update="100ms", cpu_budget_percent=None
        ) as mon,
    ):
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        names = [snapshot.targets[0].name for snapshot in mon]
    assert names[-1] == "sleep"


@needs("writes")
def test_signals_are_neither_lost_nor_in_the_way() -> None:
    count = 300
    text = f"""
import signal, socket, sys
mine, kernels = socket.socketpair()
kernels.setblocking(False)
signal.signal(signal.SIGRTMIN, lambda *_: None)
signal.set_wakeup_fd(kernels.fileno())
print("ready", flush=True)
got = 0
while got < {count}:
    got += mine.recv(100).count(signal.SIGRTMIN)
sys.stdin.read()
"""
    with script(text) as process:

        def send() -> None:
            for _ in range(count):
                # Not by the Popen, which would look for an end, and find what the tracer waits for.
                os.kill(process.pid, signal.SIGRTMIN)
                time.sleep(0.0005)

        sender = threading.Thread(target=send)
        sender.start()
        while sender.is_alive():
            session_on("writes", process.pid).close()
        sender.join()
        # Till now it must not end, though it may have all signals.
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 0


@needs("writes")
def test_children_that_exit_at_once_are_no_error() -> None:
    text = """
import subprocess
print("ready", flush=True)
while True:
    subprocess.run(["/bin/true"])
"""
    with (
        script(text) as process,
        pydamon.monitor(
            process.pid, probe="writes", aggr="20ms", update="20ms", cpu_budget_percent=None
        ) as mon,
    ):
        assert len(list(islice(mon, 40))) == 40


@needs("writes")
def test_what_is_traced_already_is_refused() -> None:
    text = """
import ctypes, os, signal
child = os.fork()
if child == 0:
    ctypes.CDLL(None).ptrace(0, 0, None, None)  # PTRACE_TRACEME
    signal.pause()
print("ready", flush=True)
print(child, flush=True)
signal.pause()
"""
    with script(text) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        time.sleep(0.3)
        with pytest.raises(pydamon.TargetError, match="cannot trace"):
            session_on("writes", child)


# No kernel at hand has CONFIG_IDLE_PAGE_TRACKING. The frames and their flags are real here; the
# bitmap is a file, and the test does to it what the kernel would.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may know the frames of pages")
def test_idle_pages_are_those_whose_bit_is_left(stepper: Stepper, tmp_path: Path) -> None:
    bitmap = tmp_path / "bitmap"
    bitmap.touch()
    os.truncate(bitmap, 1 << 26)
    process = Process(stepper.pid)
    pagemap = Pagemap(process)
    frames = pagemap.entries(stepper.start, stepper.end) & np.uint64((1 << 55) - 1)
    pagemap.close()
    with IdleProbe(bitmap=bitmap).open() as session:
        session.set_targets([process], [parse_maps(read_maps(stepper.pid))])
        first = session.scan(0, stepper.start, stepper.end, clear=True)
        marked = ~first.unobservable  # the others were in no list of reclaim's yet
        assert marked.sum() >= 1024 - 64
        assert first.accessed[marked].all()
        bits = session.scan(0, stepper.start, stepper.end, clear=False)
        assert not bits.accessed[marked].any()
        bitmap_now = np.fromfile(bitmap, np.uint8)
        touched = np.flatnonzero(marked)[10:20]
        for frame in frames[touched].tolist():
            bitmap_now[frame // 8] &= 0xFF ^ (1 << frame % 8)
        bitmap_now.tofile(bitmap)
        bits = session.scan(0, stepper.start, stepper.end, clear=False)
        assert np.flatnonzero(bits.accessed & marked).tolist() == touched.tolist()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may know the frames of pages")
@pytest.mark.parametrize("folio", [16, HUGE_BYTES // PAGE_SIZE])
def test_a_folio_is_idle_as_a_whole(tmp_path: Path, folio: int) -> None:
    flags, bitmap = tmp_path / "flags", tmp_path / "bitmap"
    with running(sys.executable, "-c", f"b = bytearray({MIB}); print(); input()") as process:
        assert process.stdout is not None
        process.stdout.readline()
        mappings = parse_maps(read_maps(process.pid))
        heap = next(m for m in mappings.mappings if m.end - m.start >= MIB and m.name == "[anon]")
        target = Process(process.pid)
        pagemap = Pagemap(target)
        frames = pagemap.entries(heap.start, heap.end) & np.uint64((1 << 55) - 1)
        pagemap.close()
        frames = frames[frames > 0].astype(np.int64)
        # As if so many frames were one folio, of which the first is in a list of reclaim's.
        count = int(frames.max()) // folio * folio + folio
        fake = np.where(np.arange(count) % folio, 1 << 16, 1 << 5).astype(np.uint64)
        fake.tofile(flags)
        np.zeros(-(-count // 64), np.uint64).tofile(bitmap)
        with IdleProbe(bitmap=bitmap, flags=flags).open() as session:
            session.set_targets([target], [mappings])
            session.scan(0, heap.start, heap.end, clear=True)
            marks = np.unpackbits(np.fromfile(bitmap, np.uint8), bitorder="little")
            assert set(np.flatnonzero(marks)) == set(frames // folio * folio)
            bits = session.scan(0, heap.start, heap.end, clear=False)
            assert not bits.accessed.any()
            assert not bits.unobservable.any()
            assert bits.huge.sum() == (frames % folio != 0).sum()


def test_what_a_kernel_lacks_is_said(tmp_path: Path) -> None:
    here = IdleProbe(bitmap=tmp_path / "none").availability()
    assert not here.works
    assert "CONFIG_IDLE_PAGE_TRACKING" in here.hint


def test_what_sees_something_else_is_never_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    others = tuple(probe for probe in PROBES if probe.name in ("writes", "softdirty", "idle"))
    assert len(others) == 3
    monkeypatch.setattr("pydamon._observe.probes.registry.PROBES", others)
    with pytest.raises(pydamon.ProbeUnavailable, match="no probe works here"):
        open_session("auto")
