"""A loop that takes all of one CPU and counts what it loses; it is run as a script.

    spinner.py COUNTS CPU MIB

With MIB of memory the loop reads every page of a quarter of it, over and over. Without any memory
(0) it only counts, and steps aside for every other program (SCHED_IDLE).

COUNTS is a file of three 64-bit integers that are kept up to date: the time (monotonic ns), the
rounds of the loop until then, and the ns in which the loop did not run: a step that takes more than
four times as long as usual was interrupted. One line on standard output says that it runs.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from statistics import median

import numpy as np

__all__ = ["main"]

_STEPS = 1024
_INTERRUPTED = 4
_LEAST_NS = 1000


def main(path: str, cpu: str, mib: str) -> None:
    """Spin for as long as whoever started this lives."""
    os.sched_setaffinity(0, {int(cpu)})
    size = int(mib) << 20
    if not size:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    memory = mmap.mmap(-1, size or mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages = np.frombuffer(memory, np.uint8)
    pages[:: mmap.PAGESIZE] = 1
    places = list(range(0, size // 4, mmap.PAGESIZE)) or [0] * _STEPS
    with open(path, "r+b") as file:  # noqa: PTH123 (no pathlib: this must start fast)
        counts = np.memmap(file, np.int64, "r+", shape=(3,))
    clock = time.monotonic_ns
    limit_ns = max(_LEAST_NS, _INTERRUPTED * _usual_step_ns(memory, places))
    rounds = lost_ns = 0
    last_ns = counts[0] = clock()
    print("spinning", flush=True)
    while True:
        for at in places:
            memory[at]
            now_ns = clock()
            if now_ns - last_ns > limit_ns:
                lost_ns += now_ns - last_ns
            last_ns = now_ns
        rounds += len(places)
        counts[:] = (last_ns, rounds, lost_ns)


def _usual_step_ns(memory: mmap.mmap, places: list[int]) -> int:
    """Return how long a step of the loop takes when nothing interrupts it."""
    steps_ns = []
    clock = time.monotonic_ns
    last_ns = clock()
    for _ in range(4):
        for at in places:
            memory[at]
            now_ns = clock()
            steps_ns.append(now_ns - last_ns)
            last_ns = now_ns
    return int(median(steps_ns))


if __name__ == "__main__":
    main(*sys.argv[1:])
