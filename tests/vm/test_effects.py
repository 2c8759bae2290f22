"""What policies achieve, in the virtual machine: with swap, memory nodes, huge pages.

make test-vm VARIANT=zram TESTS="tests/vm/test_effects.py -s -k reclaim"
make test-vm VARIANT=numa TESTS="tests/vm/test_effects.py -s -k tier"
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path

import pytest

import pydamon
from pydamon import Scheme
from pydamon._act.policies import Reclaim, Tier
from pydamon._observe.start import monitor
from tests.effects import limits
from tests.integration.conftest import MIB, needs, running, slowness

pytestmark = [
    pytest.mark.live,
    needs("ebpf"),
    pytest.mark.skipif(
        not Path("/run/vm").exists(), reason="changes a machine: for the virtual machine only"
    ),
]

_PARTLY_HOT = """
import mmap, sys, time
size, hot = int(sys.argv[1]) << 20, int(sys.argv[2]) << 20
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page = bytes(range(256)) * 2 + bytes(3584)
for _ in range(size // mmap.PAGESIZE):
    memory.write(page)
print(0, flush=True)
sweeps, said = 0, time.monotonic()
while True:
    memory[:hot:512]
    sweeps += 1
    time.sleep(0.05)
    if time.monotonic() - said >= 1:
        print(sweeps, time.process_time_ns(), flush=True)
        said = time.monotonic()
"""


class _Program:
    """Sweeps over its hot part; `lines` are the sweeps and the CPU time so far, once a second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        process.stdout.readline()
        self.lines: list[tuple[int, int]] = []
        self._stdout = process.stdout
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._stdout:
            sweeps, cpu_ns = map(int, line.split())
            self.lines.append((sweeps, cpu_ns))

    def speed(self, since: int) -> float:
        """Sweeps a second of its CPU time, since line number *since*."""
        (first, first_ns), (last, last_ns) = self.lines[since], self.lines[-1]
        return (last - first) / ((last_ns - first_ns) / 1e9)

    def status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(x.split()[1]) for x in text.splitlines() if x.startswith(name))

    @property
    def major_faults(self) -> int:
        return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[9])


@contextmanager
def _program(mib: int, hot_mib: int) -> Iterator[_Program]:
    with running(sys.executable, "-c", _PARTLY_HOT, str(mib), str(hot_mib)) as process:
        yield _Program(process)


def _apply(pid: int, schemes: tuple[Scheme, ...], duration: str) -> list[pydamon.AppliedScheme]:
    budget = min(100.0, 3.0 * slowness())
    with (
        monitor(
            pid, engine="sampling", sample="100ms", aggr="1s", cpu_budget_percent=budget
        ) as mon,
        pydamon.apply(mon, *schemes) as applied,
    ):
        for _ in applied.run(duration):
            pass
        return list(applied.schemes)


needs_zram = pytest.mark.skipif(
    "zram" not in Path("/proc/swaps").read_text(),
    reason="no swap in compressed memory: the variant zram has it",
)


@needs_zram
@pytest.mark.parametrize("kind", ["comb", "scattered"])
def test_needs_tells_a_limit_that_a_program_can_live_with(kind: str) -> None:
    outcome = limits.measure(kind, watch_s=60, limit_s=18, parts=(1.15, 0.85))
    print(outcome)
    assert outcome.by_limit[1.15][1] < limits.TOLERATED_PER_S <= outcome.by_limit[0.85][1]
    assert outcome.saved_bytes == pytest.approx(outcome.promised_bytes, rel=0.2)


@needs_zram
def test_reclaim_takes_what_is_cold_and_costs_next_to_nothing() -> None:
    # Between watermarks whatever is free; the age is shorter than by default to save time, and
    # emulated CPUs need more of it.
    policy = Reclaim(min_age="5s", quota_time="900ms", high=1000, mid=1000, low=0)
    with _program(200, 20) as program:
        time.sleep(14)
        speed_before, rss = program.speed(2), program.status("VmRSS")
        # First what is cold goes.
        scheme, *_ = _apply(program.pid, policy.schemes(), "60s")
        after, faults = len(program.lines), program.major_faults
        left, swapped = program.status("VmRSS"), program.status("VmSwap")
        # Then nothing is to come back, and the program to run as fast as before.
        again, *_ = _apply(program.pid, policy.schemes(), "25s")
        later = program.major_faults - faults
        speed_during = program.speed(after)
        time.sleep(12)
        speed_after = program.speed(len(program.lines) - 12)
    gone = (rss - left) / rss
    print(
        f"\nresident {rss / MIB:.0f} MiB, {100 * gone:.1f} % gone ({swapped / MIB:.0f} MiB in "
        f"swap); sweeps a second of CPU time: {speed_before:.1f} before, {speed_during:.1f} with "
        f"it, {speed_after:.1f} after; major faults in the last 25 s: {later}"
    )
    print(scheme.stats, again.stats, scheme.state, again.state, sep="\n")
    assert gone >= 0.85
    assert scheme.stats.rests == again.stats.rests == 0
    assert later <= 100
    # How much of its speed it keeps, and what comes back in minutes: tests/effects/swap.py.


def test_tier_moves_what_is_cold_to_the_slow_node_and_what_is_hot_back() -> None:
    if not Path("/sys/devices/system/node/node1").exists():
        pytest.skip("one memory node: the variant numa has two")
    with _program(100, 20) as program:
        first = _nodes(program.pid)
        home = max(first, key=lambda node: first[node])
        away = 1 - home
        # Goals that cannot be met: everything cold shall go, and everything hot come.
        demote = Tier(fast_node=home, slow_node=away, cold_min_age="5s", free_bp=10_000)
        applied = _apply(program.pid, demote.schemes(), "45s")
        then = _nodes(program.pid)
        print(f"\nMiB by node: {first} at first, {then} after tier")
        assert then[away] >= 0.75 * 80
        assert then[home] >= 0.75 * 20
        # Now the other node is the fast one: only what is hot shall go there.
        promote = Tier(fast_node=away, slow_node=home, used_bp=10_000)
        hot = (promote.schemes()[0],)
        applied = _apply(program.pid, hot, "45s")
        print(f"MiB by node: {_nodes(program.pid)} after promotion; {applied[0].stats}")
        assert applied[0].stats.sz_applied >= 15 * MIB
        assert applied[0].stats.sz_applied <= 40 * MIB


def _nodes(pid: int) -> dict[int, int]:
    """MiB of a process in each memory node."""
    total = {0: 0, 1: 0}
    for line in Path(f"/proc/{pid}/numa_maps").read_text().splitlines():
        if "anon=" in line:
            for word in line.split():
                if word.startswith("N"):
                    node, _, pages = word[1:].partition("=")
                    total[int(node)] += int(pages)
    return {node: pages * PAGESIZE // MIB for node, pages in total.items()}
