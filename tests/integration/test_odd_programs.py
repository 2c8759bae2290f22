"""Programs that use memory in odd ways, at the defaults: each says itself what it did when."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pydamon
from pydamon import analysis
from pydamon._observe.probes.ebpf import session
from tests.integration.conftest import MIB, needs, running, script
from tests.integration.programs import built

pytestmark = [pytest.mark.live, needs("ebpf")]

monitor = partial(pydamon.monitor, probe="ebpf", engine="sampling")


@contextmanager
def started(name: str, *argv: object) -> Iterator[subprocess.Popen[str]]:
    """A program, once its memory is there."""
    with running(built(name), *map(str, argv)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def said(process: subprocess.Popen[str]) -> np.ndarray:
    """What it has said so far, as pairs of numbers; it ends."""
    process.kill()
    assert process.stdout is not None
    lines = [line.split() for line in process.stdout if line.endswith("\n")]
    return np.array(lines, np.int64).reshape(-1, 2)


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("period_ms", [20, 120, 300])
def test_memory_that_is_used_now_and_then_is_the_working_set(period_ms: int) -> None:
    with started("period", 1000 * period_ms) as program:
        time.sleep(0.1)
        with monitor(program.pid) as mon:
            snapshots = list(mon.run("7s"))[1:]
        began_ns, ended_ns = said(program).T
    # Of a window in which it got around, that is: it may have had to wait for a CPU.
    sizes = [
        one.working_set()
        for one in snapshots
        if ((began_ns >= one.start_ns) & (ended_ns <= one.end_ns)).any()
    ]
    assert len(sizes) >= 3
    right = [size == pytest.approx(32 * MIB, rel=0.05) for size in sizes]
    assert sum(right) >= len(right) - 1, [size / MIB for size in sizes]


def test_a_command_that_lives_for_a_second_is_seen(tmp_path: Path) -> None:
    out = tmp_path / "r.damon"
    command = [sys.executable, "-m", "pydamon", "record", "--engine", "sampling", "-o", str(out)]
    subprocess.run([*command, "--", str(built("brief")), "1300"], check=True, timeout=60)
    found = analysis.working_set(pydamon.read_recording(out)).total
    assert found.median == pytest.approx(96 * MIB, rel=0.15)


def test_what_is_reserved_is_neither_looked_at_nor_counted() -> None:
    with started("sparse") as program:
        time.sleep(0.3)
        with monitor(program.pid) as mon:
            snapshots = list(mon.run("4s"))[1:]
        there = resident(program.pid)
    assert len(snapshots) >= 2
    for one in snapshots:
        assert one.working_set() == pytest.approx(16 * MIB, rel=0.05)
        assert one.classes.total.sum() <= 1.05 * there
        assert one.classes.cold.sum() <= 1.05 * there - one.working_set()


def test_memory_that_moves_is_found_again_within_two_aggregations() -> None:
    with started("mover", 5000) as program, monitor(program.pid) as mon:
        snapshots = list(mon.run("18s"))
        moved_ns = said(program)[:, 0]
    begins = np.array([one.start_ns for one in snapshots])
    sizes = np.array([one.working_set() for one in snapshots])
    # The two snapshots that begin after a move, if both are over before the next one.
    last_ns = np.array([one.end_ns for one in snapshots])
    first = begins.searchsorted(moved_ns)
    best = [
        sizes[at : at + 2].max()
        for at, next_ns in zip(first, [*moved_ns[1:], last_ns[-1] + 1], strict=True)
        if at + 1 < len(begins) and last_ns[at + 1] < next_ns
    ]
    if not best:
        pytest.skip("this machine is too busy: fewer than two aggregations between moves")
    assert min(best) == pytest.approx(32 * MIB, rel=0.1)


@pytest.mark.parametrize("parent", [(), ("touches",)])
def test_shared_memory_counts_where_it_is_used(parent: tuple[str, ...]) -> None:
    """The first process maps all of it, and has it in its page table or not, but uses nothing."""
    with started("shares", 4, *parent) as program, monitor(program.pid) as mon:
        *_, last = mon.run("9s")
    classes = last.classes.over(len(last.targets))
    assert classes.accessed.sum() == pytest.approx(32 * MIB, rel=0.1)
    assert classes.total.sum() < 40 * MIB
    # Each of them has what it uses.
    assert last.of_target(1).working_set() == pytest.approx(8 * MIB, rel=0.15)


def test_memory_shared_with_others_is_known_however_it_is_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every clear is tried page by page first, which leaves what others map as it is."""
    monkeypatch.setattr(session, "TRY_AGAIN", 1.0)
    text = f"""
import mmap, os, sys
memory = mmap.mmap(-1, {64 * MIB})
memory[:] = bytes({64 * MIB})
into, out = os.pipe()
if not os.fork():
    sum(memory[:: mmap.PAGESIZE])
    os.write(out, b"!")
    sys.stdin.read()
    os._exit(0)
os.read(into, 1)
print(flush=True)
while True:
    sum(memory[: {16 * MIB} : mmap.PAGESIZE])
"""
    with script(text) as program, monitor(program.pid, children=False) as mon:
        snapshots = list(mon.run("7s"))
    # The first survey finds out that others map it, and the second knows.
    known = [one for one in snapshots if one.start_ns > snapshots[0].start_ns + 2.5e9]
    assert known
    for one in known:
        assert one.working_set() == pytest.approx(16 * MIB, rel=0.1)
        assert one.classes.unobservable.sum() < MIB


def test_many_children_count_with_what_is_their_own() -> None:
    count = 400
    with started("kids", count) as program, monitor(program.pid) as mon:
        *_, last = mon.run("20s")
        libraries = [
            last.repeated_bytes[k]
            for k in range(len(last))
            if (mapping := last[k].mapping) is not None and "/libc" in mapping.name
        ]
        assert len(last.targets) == count + 1
    private = count * MIB // 4
    # Each has a stack and the data of its libraries, too.
    assert last.working_set() == pytest.approx(1.1 * private, rel=0.15)
    assert len(libraries) > 0.9 * count
    assert np.median(libraries) > 0.5 * MIB
