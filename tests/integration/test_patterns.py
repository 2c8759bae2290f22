"""Patterns of access that a program follows step by step: seen to the page, whatever a page is.

Nothing here depends on how fast the machine is, so an emulated processor runs it, too. Private
names: sessions of probes, to look at single pages.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pydamon._model.ranges import PAGE_SIZE
from pydamon._model.survival import BLOCK_PAGES
from pydamon._observe.linux.arch import HUGE_BYTES
from pydamon._observe.linux.process import Process
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.probes.base import PageBits, Session
from pydamon._observe.probes.ebpf.probe import EbpfProbe
from tests.integration.conftest import MIB, huge_bytes, needs, script

pytestmark = [pytest.mark.live, needs("ebpf")]

SIZE = 16 * MIB
PAGES = SIZE // PAGE_SIZE
LATE = 64
"""Pages that were in no LRU list yet, so that they could not be cleared."""


@pytest.fixture
def session() -> Iterator[Session]:
    with EbpfProbe().open() as session:
        yield session


@dataclass(frozen=True)
class Steps:
    """A program that touches pages when it is told to."""

    process: subprocess.Popen[str]
    start: int

    def touch(self, pages: NDArray[np.intp]) -> None:
        """Let it read a byte of these pages, once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(",".join(map(str, pages.tolist())) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "touched\n"


@contextmanager
def steps(size: int, *, aligned: int = 0, advice: str = "MADV_NOHUGEPAGE") -> Iterator[Steps]:
    """Start the program, with memory of which every page was written to."""
    text = f"""
import ctypes, mmap, sys
room = mmap.mmap(-1, {size + aligned}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
room.madvise(mmap.{advice})
address = ctypes.addressof(ctypes.c_char.from_buffer(room))
skip = -address % {aligned or PAGE_SIZE}
for at in range(skip, skip + {size}, {PAGE_SIZE}):
    room[at] = 1
print("ready"); print(address + skip, flush=True)
for line in sys.stdin:
    for page in map(int, line.split(",")):
        room[skip + page * {PAGE_SIZE}]
    print("touched", flush=True)
"""
    with script(text) as process:
        assert process.stdout is not None
        yield Steps(process, int(process.stdout.readline()))


def watch(session: Session, pid: int) -> None:
    session.set_targets([Process(pid)], [parse_maps(read_maps(pid))])


def after(session: Session, program: Steps, touched: NDArray[np.intp], size: int) -> PageBits:
    """What a scan tells of pages that were cleared before some of them were touched."""
    for _ in range(2):
        session.scan(0, program.start, program.start + size, clear=True)
    program.touch(touched)
    return session.scan(0, program.start, program.start + size, clear=False)


@pytest.mark.parametrize(
    "touched",
    [
        pytest.param(np.arange(PAGES // 4), id="hot quarter"),
        pytest.param(np.arange(PAGES)[np.arange(PAGES) % BLOCK_PAGES < 2], id="comb"),
        pytest.param(np.arange(7, PAGES, 61), id="sparse"),
    ],
)
def test_pages_that_were_touched_are_told_from_the_others(
    session: Session, touched: NDArray[np.intp]
) -> None:
    with steps(SIZE) as program:
        watch(session, program.process.pid)
        bits = after(session, program, touched, SIZE)
    expected = np.zeros(PAGES, np.bool_)
    expected[touched] = True
    assert bits.present.all()
    assert bits.accessed[expected].all()
    assert bits.accessed[~expected].sum() <= LATE


def test_a_huge_page_is_accessed_as_a_whole_and_stays_whole(session: Session) -> None:
    count, pages = 3, HUGE_BYTES // PAGE_SIZE
    size = count * HUGE_BYTES
    with steps(size, aligned=HUGE_BYTES, advice="MADV_HUGEPAGE") as program:
        if huge_bytes(program.process.pid) < size:
            pytest.skip("this machine gives no transparent huge pages, even when asked")
        watch(session, program.process.pid)
        bits = after(session, program, np.array([2 * pages + 5]), size)
        assert bits.huge.all()
        assert huge_bytes(program.process.pid) >= size
    accessed = bits.accessed.reshape(count, pages)
    assert accessed.all(axis=1).tolist() == [False, False, True]
    assert not accessed[:2].any()


def test_memory_that_processes_share_is_never_hot(session: Session) -> None:
    text = f"""
import ctypes, mmap, os, time
memory = mmap.mmap(-1, {MIB}, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
memory.write(b"x" * {MIB})
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
reader, writer = os.pipe()
if os.fork() == 0:
    sum(memory[::{PAGE_SIZE}])
    os.write(writer, b"x")
    os.close(writer)
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)
os.read(reader, 1)
print("ready"); print(address, flush=True)
time.sleep(600)
"""
    with script(text) as process:
        assert process.stdout is not None
        start = int(process.stdout.readline())
        watch(session, process.pid)
        bits = session.scan(0, start, start + MIB, clear=True)
    assert bits.present.all()
    assert not bits.accessed.any()
    assert bits.unobservable.all()
