"""Whether `needs` predicts which memory limit a program can live with, and what `reclaim` does.

python -m tests.vm.run --variant zram --timeout 900 --python -m tests.effects.limits
python -m tests.vm.run --variant zram --python -m tests.effects.limits comb 60 24

Each program has 64 MiB beside Python's own memory, and is watched for some time without a limit:
that tells its need, the least memory at which no more than 10 pages a second come back. Then
`reclaim` takes, page by page, what `tune reclaim` would have it take. At last its cgroup is limited
to parts of what it needs, and refaults are counted while nobody watches. Arguments: the program (or
`all`), the seconds of watching, and the seconds of each limit; a third of them is for settling.

* `comb`: accesses one page in 16 every 0.1 s, one in 16 every 8 s, and the others never again.
* `zipf`: accesses 4,000 of 5,120 pages a second, as Zipf's law has it, and the others never.
* `scattered`: as redis with keys all over its memory: accesses 600 of 49,152 values a second, 99 in
  100 of them among the same 1,638, which lie anywhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

import pydamon
from pydamon._act.policies import Reclaim
from pydamon._observe.linux.procfs import parse_maps, read_maps
from pydamon._observe.start import monitor
from pydamon.analysis import NeedsOfSnapshots
from tests.integration.conftest import MIB, running, slowness

KINDS = ("comb", "zipf", "scattered")
TOLERATED_PER_S = 10.0
_PARTS = (1.5, 1.15, 1.0, 0.85, 0.7)
"""The limits, as parts of what is needed."""
_CGROUP = Path("/sys/fs/cgroup/limits")
_PROGRAM = """
import mmap, os, sys, time
import numpy as np
kind = sys.argv[1]
os.sched_setaffinity(0, {0})
pages, rng = 16384, np.random.default_rng(0)
read = 5120
weights = 1 / np.arange(1, read + 1)
weights /= weights.sum()
order, often, seldom = rng.permutation(pages), np.arange(0, pages, 16), np.arange(8, pages, 16)
values = rng.permutation(3 * pages)
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
    elif kind == "zipf":
        memory[order[rng.choice(read, 400, p=weights)] * mmap.PAGESIZE].sum()
    else:
        among = np.where(rng.random(60) < 0.99, 1638, len(values))
        memory[values[(rng.random(60) * among).astype(int)] // 3 * mmap.PAGESIZE].sum()
    rounds, due = rounds + 1, due + 0.1
    time.sleep(max(0, due - time.monotonic()))
"""


@dataclass(frozen=True)
class Outcome:
    """What was predicted of a program, and what then happened."""

    needed_bytes: int
    promised_bytes: int
    """What `reclaim` would save."""
    saved_bytes: int
    refaults_per_s: float
    """With `reclaim` at work."""
    by_limit: dict[float, tuple[float, float]]
    """Refaults a second by the limit as a part of the need: predicted, and measured."""


@contextmanager
def _program(kind: str) -> Iterator[int]:
    """The pid of a program in its cgroup."""
    _CGROUP.mkdir()
    try:
        with running(sys.executable, "-c", _PROGRAM, kind) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            (_CGROUP / "cgroup.procs").write_text(str(process.pid))
            process.stdin.write("go\n")
            process.stdin.flush()
            process.stdout.readline()
            yield process.pid
    finally:
        while (_CGROUP / "cgroup.procs").read_text():
            time.sleep(0.1)
        _CGROUP.rmdir()


def _anonymous(pid: int) -> list[tuple[int, int]]:
    """The mappings that are of no file."""
    mappings = parse_maps(read_maps(pid)).mappings
    return [(m.start, m.end) for m in mappings if m.is_memory and not m.name.startswith("/")]


def _stat(name: str) -> int:
    lines = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    return next(int(value) for key, value in lines if key == name)


def _refaults_per_s(wait: Callable[[float], None], seconds: float) -> float:
    before, begin_s = _stat("workingset_refault_anon"), time.monotonic()
    wait(seconds)
    return (_stat("workingset_refault_anon") - before) / (time.monotonic() - begin_s)


def measure(kind: str, watch_s: float, limit_s: float, parts: Sequence[float] = _PARTS) -> Outcome:
    """Start a program, and compare what is predicted of it with what happens."""
    (_CGROUP.parent / "cgroup.subtree_control").write_text("+memory")
    so_far, by_limit = NeedsOfSnapshots(), {}
    with _program(kind) as pid:
        with monitor(
            pid,
            engine="sampling",
            children=False,
            ranges=_anonymous(pid),
            cpu_budget_percent=min(50.0, slowness()),
        ) as watching:
            for snapshot in watching.run(f"{watch_s}s"):
                so_far.add(snapshot)
            curve = so_far.result().total
            point = curve.point(TOLERATED_PER_S)
            if point is None:
                raise SystemExit(f"{kind}: too many pages come back: {curve.points}")
            before = _stat("anon")
            policy = Reclaim(
                min_age=timedelta(seconds=point.idle_ns / 1e9),
                quota_time="900ms",
                high=1000,
                mid=1000,
                low=0,
            )
            with pydamon.apply(watching, *policy.schemes()) as applied:

                def act(seconds: float) -> None:
                    for _ in applied.run(f"{seconds}s"):
                        pass

                act(limit_s)
                refaults_per_s = _refaults_per_s(act, limit_s)
            saved = before - _stat("anon")
        # Page tables, and whatever else the cgroup is charged beside what was watched.
        other = int((_CGROUP / "memory.current").read_text()) - _stat("anon")
        for part in parts:
            limit = round(part * point.kept_bytes)
            predicted = np.interp(limit, curve.kept_bytes, curve.refaults_per_s)
            (_CGROUP / "memory.max").write_text(str(limit + other))
            time.sleep(limit_s / 3)
            by_limit[part] = float(predicted), _refaults_per_s(time.sleep, limit_s * 2 / 3)
    promised = curve.resident_bytes - point.kept_bytes
    return Outcome(point.kept_bytes, promised, saved, refaults_per_s, by_limit)


def main() -> None:
    if not Path("/run/vm").exists():
        sys.exit("this changes cgroups: for the virtual machine only")
    kind, watch_s, limit_s = (*sys.argv[1:], *("all", "80", "24")[len(sys.argv) - 1 :])
    os.sched_setaffinity(0, {1})
    for each in KINDS if kind == "all" else (kind,):
        outcome = measure(each, float(watch_s), float(limit_s))
        print(
            f"{each}: needs {outcome.needed_bytes / MIB:.1f} MiB; reclaim saves "
            f"{outcome.saved_bytes / MIB:.1f} MiB ({outcome.promised_bytes / MIB:.1f} promised), "
            f"{outcome.refaults_per_s:.1f} pages a second come back"
        )
        for part, (predicted, measured) in outcome.by_limit.items():
            limit = part * outcome.needed_bytes / MIB
            print(
                f"{limit:5.1f} MiB: {predicted:.0f} predicted, {measured:.1f} measured", flush=True
            )


if __name__ == "__main__":
    main()
