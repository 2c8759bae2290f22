"""Whether `needs` predicts which memory limit a program can live with.

python -m tests.vm.run --variant zram --timeout 900 --python -m tests.effects.limits
python -m tests.vm.run --variant zram --python -m tests.effects.limits comb 60 24

Each program has 64 MiB, and is watched for some time without a limit. Then its cgroup is limited
to less and less memory, and refaults are counted while nobody watches. Arguments: the program (or
`all`), the seconds of watching, and the seconds of each limit; a third of them is for settling.

* `comb`: accesses one page in 16 every 0.1 s, one in 16 every 8 s, and the others never again.
* `zipf`: accesses 2,000 pages a second, as Zipf's law has it.

It changes cgroups, so it runs in the virtual machine only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pydamon._observe.start import monitor
from pydamon.analysis import NeedsOfSnapshots
from tests.integration.conftest import MIB, running, slowness

_LIMITS_MIB = {"comb": (12, 9, 8, 7, 6, 4), "zipf": (48, 40, 32, 24, 16)}
_CGROUP = Path("/sys/fs/cgroup/limits")
_PROGRAM = """
import mmap, os, sys, time
import numpy as np
kind = sys.argv[1]
os.sched_setaffinity(0, {0})
pages, rng = 16384, np.random.default_rng(0)
weights = 1 / np.arange(1, pages + 1)
weights /= weights.sum()
order, often, seldom = rng.permutation(pages), np.arange(0, pages, 16), np.arange(8, pages, 16)
print("started", flush=True)
sys.stdin.readline()  # Meanwhile the program has been put into its cgroup.
room = mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page = os.urandom(1024) + bytes(3072)
for _ in range(pages):
    room.write(page)
memory = np.frombuffer(room, np.uint8)
print(memory.ctypes.data, flush=True)
rounds, due = 0, time.monotonic()
while True:
    if kind == "comb":
        memory[often * mmap.PAGESIZE].sum()
        if rounds % 80 == 0:
            memory[seldom * mmap.PAGESIZE].sum()
    else:
        memory[order[rng.choice(pages, 200, p=weights)] * mmap.PAGESIZE].sum()
    rounds, due = rounds + 1, due + 0.1
    time.sleep(max(0, due - time.monotonic()))
"""


@contextmanager
def _program(kind: str) -> Iterator[tuple[int, int]]:
    """A program in its cgroup: its pid, and the address of its memory."""
    _CGROUP.mkdir()
    try:
        with running(sys.executable, "-c", _PROGRAM, kind) as process:
            yield process.pid, _started(process)
    finally:
        while (_CGROUP / "cgroup.procs").read_text():
            time.sleep(0.1)
        _CGROUP.rmdir()


def _started(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    (_CGROUP / "cgroup.procs").write_text(str(process.pid))
    process.stdin.write("go\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def _refaults() -> int:
    lines = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    return next(int(value) for name, value in lines if name == "workingset_refault_anon")


def _measure(limit_bytes: int, seconds: float) -> float:
    """Refaults a second within a limit."""
    (_CGROUP / "memory.max").write_text(str(limit_bytes))
    time.sleep(seconds / 3)
    before, begin_s = _refaults(), time.monotonic()
    time.sleep(seconds * 2 / 3)
    return (_refaults() - before) / (time.monotonic() - begin_s)


def _compare(kind: str, watch_s: float, limit_s: float, budget: float) -> None:
    so_far = NeedsOfSnapshots()
    with _program(kind) as (pid, address):
        with monitor(
            pid,
            engine="sampling",
            children=False,
            ranges=[(address, address + 64 * MIB)],
            cpu_budget_percent=budget,
        ) as watching:
            for snapshot in watching.run(f"{watch_s}s"):
                so_far.add(snapshot)
        curve = so_far.result().total
        points = "; ".join(
            f"{p.idle_ns / 1e9:.1f} s: {p.kept_bytes / MIB:.1f} MiB, {p.refaults_per_s:.0f}/s"
            for p in curve.points
        )
        print(f"{kind}: predicted {points}", flush=True)
        # Page tables, and whatever else the cgroup is charged beside the program's pages.
        other = int((_CGROUP / "memory.current").read_text()) - 64 * MIB
        print(f"{other / MIB:.1f} MiB of other memory, which each limit gets on top", flush=True)
        for limit_mib in _LIMITS_MIB[kind]:
            predicted = np.interp(
                limit_mib * MIB, curve.kept_bytes, curve.refaults_per_s, left=np.nan
            )
            measured = _measure(limit_mib * MIB + other, limit_s)
            print(
                f"{limit_mib:3} MiB: {predicted:.0f} refaults a second predicted, "
                f"{measured:.0f} measured",
                flush=True,
            )


def main() -> None:
    if not Path("/run/vm").exists():
        sys.exit("this changes cgroups: for the virtual machine only")
    kind, watch_s, limit_s = (*sys.argv[1:], *("all", "60", "24")[len(sys.argv) - 1 :])
    os.sched_setaffinity(0, {1})
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    budget = min(50.0, slowness())
    for each in _LIMITS_MIB if kind == "all" else (kind,):
        _compare(each, float(watch_s), float(limit_s), budget)


if __name__ == "__main__":
    main()
