"""What monitoring costs a program that has less memory than it uses.

python -m tests.vm.run --variant zram --timeout 900 --python -m tests.effects.pressure
python -m tests.vm.run --variant zram --python -m tests.effects.pressure mglru anonymous 4 20

A monitor that clears accessed bits with `MADV_COLD` deactivates those pages as well, and so may
change which pages the kernel reclaims first. Each program here runs in a cgroup of 40 MiB, for
some seconds with and for as long without a monitor in turn.

Arguments: the kernel's LRU lists (`classic`, `mglru` or `both`), the programs (`all`, or names with
commas between them), the number of pairs, the seconds of each half, and the monitor's CPU budget in
percent. By default that buys as much monitoring as 1 % does on an ordinary CPU; but the program
reads less in that time, so that each of its pages is cleared more often per read than elsewhere.
With a budget of 1 that proportion is nearer to what it is on an ordinary machine. It changes
cgroups and `lru_gen`, so it runs in the virtual machine only.

* `unlimited`: as `anonymous`, in a cgroup without a limit: what monitoring costs anyway.
* `anonymous`: reads 64 MiB of its own memory page by page, as Zipf's law has it (a quarter of the
  pages gets 86 % of the reads). What does not fit is in swap.
* `mapped`: the same with a mapped file.
* `scanned`: reads 36 MiB of a mapped file in that way, and 64 MiB of another file from start to
  end, again and again: the kernel has to tell the two apart.

Refaults per 1,000 reads say whether the kernel reclaims other pages than before; how fast the CPU
is makes no difference to them. Speeds are reads a second of the program's CPU time, to which page
faults, reclaim and decompression belong.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydamon._observe.monitor import Monitor
from pydamon._observe.start import monitor
from tests.integration.conftest import MIB, running, slowness

_LIMIT_BYTES = 40 * MIB
_KINDS = ("anonymous", "scanned", "mapped", "unlimited")
_LISTS = {"classic": "n", "mglru": "y"}
_LRU_GEN = Path("/sys/kernel/mm/lru_gen/enabled")
_CGROUP = Path("/sys/fs/cgroup/pressure")
_FILE, _SCANNED_FILE = Path("/tmp/pressure-mapped"), Path("/tmp/pressure-scanned")
_FILE_MIB = 64
_PROGRAM = """
import mmap, os, sys, time
import numpy as np
kind, path, scanned = sys.argv[1:]
os.sched_setaffinity(0, {0})
size = (36 if kind == "scanned" else 64) << 20
pages, rng = size // mmap.PAGESIZE, np.random.default_rng(0)
weights = 1 / np.arange(1, pages + 1)
places = rng.permutation(pages)[rng.choice(pages, 1 << 19, p=weights / weights.sum())]
out, buffer = np.empty((128, 512), np.int64), bytearray(1 << 16)
scan = os.open(scanned, os.O_RDONLY) if kind == "scanned" else -1
print("started", flush=True)
sys.stdin.readline()  # Meanwhile the program has been put into its cgroup.
if kind in ("anonymous", "unlimited"):
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page = os.urandom(1024) + bytes(3072)
    for _ in range(pages):
        room.write(page)
else:
    with open(path, "rb") as file:
        room = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
memory = np.frombuffer(room, np.int64).reshape(pages, 512)
print("ready", flush=True)
at = scan_at = 0
for line in sys.stdin:
    end, cpu, reads = time.monotonic() + float(line), time.process_time(), 0
    while time.monotonic() < end:
        memory.take(places[at : at + 128], axis=0, out=out, mode="clip")
        reads, at = reads + 128, (at + 128) % len(places)
        if scan >= 0:
            scan_at = scan_at + len(buffer) if os.preadv(scan, [buffer], scan_at) else 0
    print(reads, time.process_time() - cpu, flush=True)
"""


@dataclass(frozen=True)
class _Half:
    """What a program did in some seconds."""

    speed: float
    counts: dict[str, float]
    """How much the kernel's counters grew, per 1,000 reads."""


class _Program:
    """A program in its cgroup."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._stdin, self._stdout = process.stdin, process.stdout
        self._stdout.readline()
        (_CGROUP / "cgroup.procs").write_text(str(process.pid))
        self._tell("go")
        self._stdout.readline()

    def _tell(self, line: str) -> None:
        self._stdin.write(f"{line}\n")
        self._stdin.flush()

    def work(self, seconds: float, watching: Monitor | None) -> _Half:
        """Let it work for so long, with or without a monitor."""
        before = _counters()
        self._tell(str(seconds))
        if watching is not None:
            for _ in watching.run(f"{seconds}s"):
                pass
        reads, cpu_s = map(float, self._stdout.readline().split())
        after = _counters()
        return _Half(reads / cpu_s, {k: 1000 * (after[k] - before[k]) / reads for k in after})


def _counters() -> dict[str, int]:
    """The counters of the cgroup that tell of reclaim."""
    lines = (line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    stat = {name: int(value) for name, value in lines}
    return {
        "refaults": stat["workingset_refault_anon"] + stat["workingset_refault_file"],
        "major faults": stat["pgmajfault"],
        "scanned": stat["pgscan"],
        "reclaimed": stat["pgsteal"],
    }


@contextmanager
def _program(kind: str) -> Iterator[_Program]:
    _CGROUP.mkdir()
    limit = "max" if kind == "unlimited" else str(_LIMIT_BYTES)
    (_CGROUP / "memory.max").write_text(limit)
    try:
        argv = [sys.executable, "-c", _PROGRAM, kind, str(_FILE), str(_SCANNED_FILE)]
        with running(*argv) as process:
            yield _Program(process)
    finally:
        while (_CGROUP / "cgroup.procs").read_text():
            time.sleep(0.1)
        _CGROUP.rmdir()


def _drop_page_cache() -> None:
    """Pages of the files are charged to the cgroup that reads them first."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")


def _compare(kind: str, pairs: int, half_s: float, budget: float) -> None:
    with (
        _program(kind) as program,
        monitor(program.pid, engine="sampling", cpu_budget_percent=budget) as watching,
    ):
        program.work(half_s, None)
        # The start has to clear the accessed bits of a life-time.
        starting = program.work(half_s, watching)
        without: list[_Half] = []
        during: list[_Half] = []
        cpu_s = 0.0
        for number in range(pairs):
            for watched in (False, True) if number % 2 == 0 else (True, False):
                begin_s = time.process_time()
                half = program.work(half_s, watching if watched else None)
                cpu_s += time.process_time() - begin_s
                (during if watched else without).append(half)
    lost = [1 - on.speed / off.speed for on, off in zip(during, without, strict=True)]
    pairs_of = zip(during, without, strict=True)
    more = [on.counts["refaults"] - off.counts["refaults"] for on, off in pairs_of]
    print(
        f"  speed lost {_median_of([100 * x for x in lost])} %; "
        f"{_median_of(more)} more refaults per 1,000 reads; "
        f"monitor {100 * cpu_s / (pairs * half_s):.0f} % of its CPU"
    )
    rows = {"without": without, "with": during, "at the start": [starting]}
    for name, halves in rows.items():
        means = {k: statistics.mean(h.counts[k] for h in halves) for k in halves[0].counts}
        speed = statistics.mean(h.speed for h in halves)
        figures = ", ".join(f"{value:.1f} {key}" for key, value in means.items())
        print(f"  {name:>12}: {speed:,.0f} reads a second; per 1,000: {figures}", flush=True)


def _median_of(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({', '.join(f'{x:.1f}' for x in sorted(values))})"


def main() -> None:
    if not Path("/run/vm").exists():
        sys.exit("this changes cgroups and lru_gen: for the virtual machine only")
    slow = slowness()
    defaults = ("both", "all", "4", "20", f"{min(50, slow)}")
    lists, kinds, pairs, half_s, budget = (*sys.argv[1:], *defaults[len(sys.argv) - 1 :])
    os.sched_setaffinity(0, {1})
    for path in (_FILE, _SCANNED_FILE):
        path.write_bytes(os.urandom(MIB) * _FILE_MIB)
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    print(f"a CPU {slow} times slower than others, budget {budget} %", flush=True)
    for each in _KINDS if kinds == "all" else kinds.split(","):
        for name in _LISTS if lists == "both" else (lists,):
            _LRU_GEN.write_text(_LISTS[name])
            print(f"{each}, {name} LRU, {pairs} pairs of {half_s} s", flush=True)
            _drop_page_cache()
            _compare(each, int(pairs), float(half_s), float(budget))


if __name__ == "__main__":
    main()
