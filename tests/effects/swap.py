"""Reclaim with swap: a program that is 90 % cold, its speed, and what it asks for again.

python -m tests.vm.run --variant zram --python -m tests.effects.swap long
python -m tests.vm.run --variant zram --python -m tests.effects.swap pairs
python -m tests.vm.run --variant zram --python -m tests.effects.swap scattered

"long" takes 200 MiB with the default age of 2 minutes, as fast as it can, and then watches for
2 minutes what comes back. "pairs" takes 60 MiB after 5 s within the time quota, and then compares
10 times 5 s with and without it. "scattered" does that with a hot page in each 64 KiB, first by the
ages of pages, and then by regions.

It takes turns of 20 ms on one CPU with a program that nobody reclaims, by which its speed is
measured: the machine's ups and downs are the same for both. Means count whatever happens; medians
of the turns leave out where the machine itself was busy with something else. Age and bytes of the
policy are the defaults; the budget and the time quota are multiplied with how slow an emulated CPU
is, and the watermarks are open.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pydamon
from pydamon._act.policies import Reclaim
from pydamon._observe.start import monitor
from tests.integration.conftest import MIB, running, slowness

_STEP_S = 10
Speed = tuple[float, float]
"""Of a second: by the mean of its turns, and by the median."""
_TURNS = """
import mmap, os, statistics, sys, time
size, hot = int(sys.argv[1]) << 20, int(sys.argv[2]) << 20
scattered = sys.argv[3] == "scattered"
os.sched_setaffinity(0, {0})

def work(ask, answer):
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page = os.urandom(1024) + bytes(3072)
    for _ in range(size // mmap.PAGESIZE):
        memory.write(page)
    at, part = 0, 1 << 18
    os.write(answer, b"ready")
    while os.read(ask, 1):
        begin, done = time.perf_counter_ns(), 0
        while time.perf_counter_ns() - begin < 20_000_000:
            if scattered:
                memory[at :: 1 << 16]
                at = (at + 64) % mmap.PAGESIZE
            else:
                memory[at : at + part : 64]
                at = (at + part) % hot
            done += 1
        os.write(answer, b"%d %d" % (done, time.perf_counter_ns() - begin))
    os._exit(0)

pipes, pids = [], []
for name in ("reclaimed", "other"):
    ask, answer = os.pipe(), os.pipe()
    pids.append(os.fork())
    if pids[-1] == 0:
        os.close(ask[1])
        work(ask[0], answer[1])
    os.read(answer[0], 9)
    pipes.append((ask[1], answer[0]))
print(*pids, flush=True)
speeds, said = ([], []), time.monotonic()
while True:
    for speed, (ask, answer) in zip(speeds, pipes):
        os.write(ask, b".")
        rounds, took_ns = map(int, os.read(answer, 99).split())
        speed.append(rounds / took_ns)
    if time.monotonic() - said >= 1:
        for average in (statistics.mean, statistics.median):
            print(average(speeds[0]) / average(speeds[1]), end=" ")
        print(flush=True)
        speeds, said = ([], []), time.monotonic()
"""


@dataclass(frozen=True)
class _Course:
    mib: int
    age: str
    quota_ms: int
    before_s: int
    taking_s: int
    after_s: int
    pairs: int
    pair_s: int
    grain: str = "page"


def _course(name: str, slow: int) -> _Course:
    if name == "long":
        return _Course(200, "2min", 900, 30, 240, 120, 0, 0)
    return _Course(60, "5s", min(900, 10 * slow), 20, 40, 0, 10, 5)


def main() -> None:
    if not any("zram" in line for line in Path("/proc/swaps").read_text().splitlines()):
        sys.exit("there is no swap in compressed memory: see the first lines of this file")
    slow = slowness()
    course = _course(sys.argv[1], slow)
    os.sched_setaffinity(0, {1})
    _reclaim(course, slow, sys.argv[1])
    if sys.argv[1] == "scattered":
        _reclaim(replace(course, grain="region"), slow, sys.argv[1])


def _reclaim(course: _Course, slow: int, name: str) -> None:
    policy = Reclaim(
        min_age=course.age,
        quota_time=f"{course.quota_ms}ms",
        high=1000,
        mid=1000,
        low=0,
        grain=course.grain,
    )
    sizes = (str(course.mib), str(course.mib // 10))
    with running(sys.executable, "-c", _TURNS, *sizes, name) as turns:
        assert turns.stdout is not None
        program = _Program(int(turns.stdout.readline().split()[0]))
        threading.Thread(target=program.listen, args=(turns.stdout,), daemon=True).start()
        time.sleep(5)
        print(f"a CPU {slow} times slower than others; {policy}")
        before = program.watch("before", time.sleep, course.before_s)
        resident = program.status("VmRSS")
        with (
            monitor(
                program.pid,
                engine="sampling",
                sample="100ms",
                aggr="1s",
                children=False,
                cpu_budget_percent=min(50.0, slow),
            ) as mon,
            pydamon.apply(mon, *policy.schemes()) as applied,
        ):

            def act(seconds: float) -> None:
                for _ in applied.run(f"{seconds}s"):
                    pass

            cpu_s, begin_s = time.process_time(), time.monotonic()
            taking = program.watch("taking", act, course.taking_s)
            left, swapped, faults = (program.status(x) for x in ("VmRSS", "VmSwap", "faults"))
            after = program.watch("after", act, course.after_s) if course.after_s else []
            faults = program.status("faults") - faults
            cpu = 100 * (time.process_time() - cpu_s) / (time.monotonic() - begin_s)
            lost = []
            for _ in range(course.pairs):
                off = program.watch("", time.sleep, course.pair_s)
                on = program.watch("", act, course.pair_s)
                lost.append(1 - _of(on, 1) / _of(off, 1))
        print(applied[0].stats, applied[0].state)
    print(
        f"resident {resident / MIB:.0f} MiB, {100 * (1 - left / resident):.1f} % gone "
        f"({swapped / MIB:.0f} MiB in swap); {cpu:.1f} % of its CPU used by the monitor\n"
        f"speed lost while it is taken (means, medians): {_lost(before, taking)}"
    )
    if after:
        print(f"after that: speed lost {_lost(before, after)}; {faults} major faults")
    if lost:
        print(
            f"by {course.pairs} pairs of {course.pair_s} s: {100 * statistics.median(lost):.1f} % ("
            f"{', '.join(f'{100 * x:.1f}' for x in sorted(lost))})"
        )


def _lost(before: list[Speed], then: list[Speed]) -> str:
    return " or ".join(f"{100 * (1 - _of(then, i) / _of(before, i)):.1f} %" for i in (0, 1))


def _of(speeds: list[Speed], index: int) -> float:
    return statistics.mean(speed[index] for speed in speeds)


class _Program:
    """The program that is reclaimed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.speeds: list[Speed] = []
        """How fast it was in each second, compared with the other."""

    def listen(self, lines: object) -> None:
        for line in lines:  # type: ignore[attr-defined]
            mean, median = map(float, line.split())
            self.speeds.append((mean, median))

    def watch(self, name: str, act: object, seconds: float) -> list[Speed]:
        """Let *act* go on for so long: the speeds meanwhile, and a line each step."""
        first = len(self.speeds)
        step_s = min(_STEP_S, seconds)
        for _ in range(int(seconds / _STEP_S) or 1):
            at, faults = len(self.speeds), self.status("faults")
            act(step_s)  # type: ignore[operator]
            if name:
                print(
                    f"{name:>6}: speed {_of(self.speeds[at:], 0):.3f} by means, "
                    f"{_of(self.speeds[at:], 1):.3f} by medians, "
                    f"{self.status('VmRSS') / MIB:4.0f} MiB resident, "
                    f"{self.status('VmSwap') / MIB:4.0f} in swap, "
                    f"{self.status('faults') - faults} major faults",
                    flush=True,
                )
        return self.speeds[first:]

    def status(self, name: str) -> int:
        """Bytes, or how often it had to wait for memory to be read back."""
        if name == "faults":
            stat = Path(f"/proc/{self.pid}/stat").read_text()
            return int(stat.rpartition(")")[2].split()[9])
        text = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(x.split()[1]) for x in text.splitlines() if x.startswith(name))


if __name__ == "__main__":
    main()
