"""The program that runs a workload. It runs as a script, and imports nothing but NumPy.

    runner.py TRUTH < DESCRIPTION

DESCRIPTION is JSON, as `Workload` writes it. The program records its accesses in the file TRUTH, a
JSON object a line: the addresses of the regions, the start of each phase, and the number of
accesses of each pattern at a time (monotonic ns). A line on standard output with the number of
phases says that the regions are there and that the first phase starts.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import mmap
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["main", "scattered"]

_ROUND = 65536
_AT_ONCE_S = 0.005
"""After a pause, no more at once: it would look as if pages were accessed far more often."""
_FEW = 1000
"""Patterns with at most so many accesses in a round share the work of it."""
_SCATTER_TRIES = 32
_LATE_NS = 200 * 10**6
"""After a longer pause of the machine, accesses and phases are not made up for."""
_PAGE = mmap.PAGESIZE
_CHURN_BYTES = 4 << 20

Bytes = NDArray[np.uint8]

_GOLDEN = (math.sqrt(5) - 1) / 2


def scattered(pages: int, places: int) -> NDArray[np.int64]:
    """The first of the pages of a region in an order that spreads each number of them evenly."""
    return np.arange(places) * scatter_step(pages) % pages


@cache
def scatter_step(pages: int) -> int:
    """A step that reaches each of so many pages once, near the golden ratio of them.

    Steps of the golden ratio leave gaps of at most three lengths, wherever they end. Ratios whose
    continued fractions have small terms do nearly as well.
    """
    middle = round(pages * _GOLDEN)
    near = range(max(1, middle - _SCATTER_TRIES), min(pages, middle + _SCATTER_TRIES) + 1)
    coprime = [step for step in near if math.gcd(step, pages) == 1]
    return min(coprime, key=lambda step: (_largest_term(step, pages), abs(step - middle)))


def _largest_term(step: int, pages: int) -> int:
    """The largest term of the continued fraction of *step* / *pages*."""
    largest = 0
    while step:
        term, rest = divmod(pages, step)
        # The last term, of 1 / n, is one more than it could be.
        largest = max(largest, term if rest else term - 1)
        pages, step = step, rest
    return largest


class _Walk:
    """A running pattern, which continues where its last accesses ended."""

    def __init__(self, memory: Bytes, pattern: dict[str, Any], rng: np.random.Generator) -> None:
        self.rate_hz: float | None = pattern["rate_hz"]
        self.weight: int = pattern["weight"] if self.rate_hz is None else 0
        self.mode: str = pattern["mode"]
        self.random: bool = pattern["random"]
        self.touched = 0
        self._rng = rng
        # Somewhere between two accesses: short phases must not lose half an access each.
        self._remainder = 0.0 if self.rate_hz is None else rng.random()
        # Of random accesses, each place is equally likely.
        self.step_bytes: int = pattern["step_bytes"]
        self.memory = memory
        self._places = memory[:: self.step_bytes]
        self.count = self.period = len(self._places)
        self.scatter_step = 1
        if pattern["places"] is not None:
            self.step_bytes = _PAGE
            self._places = memory[::_PAGE]
            self.count, self.period = pattern["places"], len(self._places)
            self.scatter_step = scatter_step(self.period)

    @property
    def mapping(self) -> Bytes:
        """The mapping that the region is a part of."""
        assert isinstance(self.memory.base, np.ndarray)
        return self.memory.base

    def go(self, count: float, pool: ThreadPoolExecutor | None, threads: int) -> None:
        """Make *count* more accesses; a fraction of an access is kept for the next call."""
        self._remainder += count
        left = int(self._remainder)
        self._remainder -= left
        while left:
            at = self.touched % self.count
            step = min(left, self.count - at)
            if self.random:
                self._touch(self._rng.integers(0, self.count, step))
            elif pool is None:
                self._touch(slice(at, at + step))
            else:
                edges = np.linspace(at, at + step, threads + 1).astype(int).tolist()
                parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
                list(pool.map(self._touch, parts))
            self.touched += step
            left -= step

    def _touch(self, index: slice | NDArray[Any]) -> None:
        if self.scatter_step > 1:
            number = np.arange(index.start, index.stop) if isinstance(index, slice) else index
            index = number * self.scatter_step % self.period
        _access(self._places, index, self.mode)


class _Together:
    """Patterns with a rate and few accesses in a round: these are made in a step for all.

    So accesses are spread over time as evenly as rounds are, whatever the number of patterns. All
    patterns are in one mapping, and have the same mode.
    """

    def __init__(self, walks: list[_Walk], rng: np.random.Generator) -> None:
        self._walks = walks
        self._memory = walks[0].mapping
        self._mode = walks[0].mode
        self._rng = rng
        begin = self._memory.ctypes.data

        def column(values: Iterable[float]) -> NDArray[np.int64]:
            return np.array(list(values), np.int64)

        self._rate_hz = np.array([walk.rate_hz for walk in walks])
        self._random = np.array([walk.random for walk in walks])
        self._start = column(walk.memory.ctypes.data - begin for walk in walks)
        self._count = column(walk.count for walk in walks)
        self._period = column(walk.period for walk in walks)
        self._scatter_step = column(walk.scatter_step for walk in walks)
        self._step_bytes = column(walk.step_bytes for walk in walks)
        self._touched = np.zeros(len(walks), np.int64)
        self._remainder = self._rng.random(len(walks))

    def go(self, passed_s: float) -> None:
        """Make the accesses of so much time."""
        # A second access in the same moment would make no difference.
        due = np.minimum(self._rate_hz * passed_s, 1) * self._count + self._remainder
        number = due.astype(np.int64)
        self._remainder = due - number
        walk = np.repeat(np.arange(len(number)), number)
        if not len(walk):
            return
        before = np.cumsum(number) - number
        in_turn = (self._touched - before)[walk] + np.arange(len(walk))
        at_random = (self._rng.random(len(walk)) * self._count[walk]).astype(np.int64)
        place = np.where(self._random[walk], at_random, in_turn % self._count[walk])
        self._touched += number
        place = place * self._scatter_step[walk] % self._period[walk]
        _access(self._memory, self._start[walk] + place * self._step_bytes[walk], self._mode)

    def tell(self) -> None:
        """Tell each pattern how many accesses it made."""
        for walk, touched in zip(self._walks, self._touched.tolist(), strict=True):
            walk.touched = touched


class _Rounds:
    """The patterns of a phase: each call of `go` makes the accesses that are due."""

    def __init__(
        self, walks: list[_Walk], period_s: float, accesses: int, rng: np.random.Generator
    ) -> None:
        self._walks = walks
        self._period_s = period_s
        self._owed_s = 0.0
        self._accesses = accesses
        self._went_ns = time.monotonic_ns()
        groups: dict[tuple[int, str], list[_Walk]] = {}
        self._alone = []
        for walk in walks:
            if walk.rate_hz is None or walk.rate_hz * walk.count * period_s > _FEW:
                self._alone.append(walk)
            else:
                groups.setdefault((id(walk.mapping), walk.mode), []).append(walk)
        self._together = [_Together(group, rng) for group in groups.values()]
        self._weights = max(1, sum(walk.weight for walk in walks))

    def go(self, now_ns: int, pool: ThreadPoolExecutor | None, threads: int) -> None:
        """Make the accesses since the last call; those of a pause are made up for bit by bit."""
        passed_s = (now_ns - self._went_ns) / 1e9
        self._went_ns = now_ns
        self._owed_s = min(self._owed_s + passed_s, _LATE_NS / 1e9)
        step_s = min(self._owed_s, max(2 * self._period_s, min(passed_s, _AT_ONCE_S)))
        self._owed_s -= step_s
        for walk in self._alone:
            if walk.rate_hz is None:
                walk.go(self._accesses * walk.weight / self._weights, pool, threads)
            else:
                walk.go(walk.count * min(walk.rate_hz * step_s, 1), pool, threads)
        for group in self._together:
            group.go(step_s)

    @property
    def is_idle(self) -> bool:
        """Whether there are no patterns."""
        return not self._walks

    def touched(self) -> list[int]:
        """The number of accesses of each pattern."""
        for group in self._together:
            group.tell()
        return [walk.touched for walk in self._walks]


def _access(memory: Bytes, index: slice | NDArray[Any], mode: str) -> None:
    if mode == "ro":
        memory[index].max(initial=0)
    elif mode == "wo":
        memory[index] = 1
    else:
        memory[index] += 1


def main(description: dict[str, Any], truth_path: str) -> None:
    """Run a workload until its end, or until the parent process exits."""
    parent = os.getppid()
    # Python's collector would access the description over and over.
    gc.disable()
    with open(truth_path, "w", buffering=1) as truth:  # noqa: PTH123  (pathlib costs start-up)
        memory = _allocate(description["regions"])
        _write(
            truth,
            regions={
                name: [part.ctypes.data, part.ctypes.data + len(part)]
                for name, part in memory.items()
            },
        )
        for _ in range(description["processes"] - 1):
            first = os.getpid()
            if os.fork() == 0:
                for part in memory.values():
                    part[::_PAGE].max()  # map it in this process, too
                with open(os.devnull, "w") as nowhere:  # noqa: PTH123
                    _run(description, memory, nowhere, first)
                return
        if description["churn_ms"]:
            threading.Thread(target=_churn, args=(description["churn_ms"],), daemon=True).start()
        _run(description, memory, truth, parent)


def _run(
    description: dict[str, Any], memory: dict[str, Bytes], truth: IO[str], parent: int
) -> None:
    """Run the phases in order, until *parent* exits."""
    threads = description["threads"]
    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    print(len(description["phases"]), flush=True)
    begin_ns = time.monotonic_ns()
    while True:
        for number, phase in enumerate(description["phases"]):
            rng = np.random.default_rng(description["seed"] + number)
            walks = [
                _Walk(memory[pattern["region"]], pattern, rng) for pattern in phase["patterns"]
            ]
            accesses = description["round_accesses"] or _ROUND
            rounds = _Rounds(walks, description["period_ms"] / 1e3, accesses, rng)
            begin_ns = _phase(description, number, rounds, truth, pool, parent, begin_ns)
            if os.getppid() != parent:
                return
        if not description["repeat"]:
            return


def _phase(
    description: dict[str, Any],
    number: int,
    rounds: _Rounds,
    truth: IO[str],
    pool: ThreadPoolExecutor | None,
    parent: int,
    begin_ns: int,
) -> int:
    """Run a phase that was to begin at *begin_ns*; return when the next phase is to begin."""
    threads = description["threads"]
    duration_ns: int = description["phases"][number]["duration_ms"] * 10**6
    period_ns = int(description["period_ms"] * 1e6)
    report_ns = description["report_ms"] * 10**6
    now_ns = due_ns = reported_ns = time.monotonic_ns()
    # Many short phases must not add up their delays.
    end_ns = duration_ns + (begin_ns if now_ns - begin_ns < _LATE_NS else now_ns)
    _write(truth, phase=number, now_ns=now_ns)
    _write(truth, now_ns=now_ns, touched=rounds.touched())
    while now_ns < end_ns:
        rounds.go(now_ns, pool, threads)
        now_ns = time.monotonic_ns()
        if period_ns:
            # Skip late rounds: the target never catches up at full speed.
            due_ns = max(due_ns + period_ns, now_ns)
            time.sleep((due_ns - now_ns) / 1e9)
        elif rounds.is_idle:
            time.sleep(0.001)
        if now_ns - reported_ns >= report_ns:
            reported_ns = now_ns = time.monotonic_ns()
            _write(truth, now_ns=now_ns, touched=rounds.touched())
            if os.getppid() != parent:
                break  # the parent was killed
    _write(truth, now_ns=time.monotonic_ns(), touched=rounds.touched())
    return end_ns


def _allocate(regions: list[dict[str, Any]]) -> dict[str, Bytes]:
    """Allocate the regions; private regions lie side by side in one mapping."""
    memory: dict[str, Bytes] = {}
    private = [r for r in regions if not (r["huge"] or r["shared"] or r["file"])]
    total = sum(_whole(r["size_bytes"]) for r in private)
    if total:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        together = np.frombuffer(mmap.mmap(-1, total, flags=flags), np.uint8)
        at = 0
        for region in private:
            memory[region["name"]] = together[at : at + region["size_bytes"]]
            at += _whole(region["size_bytes"])
    for region in regions:
        if region["name"] not in memory:
            memory[region["name"]] = _alone(region)
        part = memory[region["name"]]
        # Only written memory is resident.
        part[::_PAGE] = 1
        if region["initial"]:
            with open(region["initial"], "rb") as file:  # noqa: PTH123
                data = np.frombuffer(file.read(len(part)), np.uint8)
            part[: len(data)] = data
    return memory


def _alone(region: dict[str, Any]) -> Bytes:
    """Map a region of its own: of a file, shared, or with huge pages."""
    size = _whole(region["size_bytes"])
    if region["file"]:
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size, flags=mmap.MAP_SHARED)
        return np.frombuffer(mapped, np.uint8)[: region["size_bytes"]]
    kind = mmap.MAP_SHARED if region["shared"] else mmap.MAP_PRIVATE
    alignment = max(_PAGE, _huge_bytes())
    room = mmap.mmap(-1, size + alignment, flags=kind | mmap.MAP_ANONYMOUS)
    whole = np.frombuffer(room, np.uint8)
    skip = -whole.ctypes.data % alignment if region["huge"] else 0
    if region["huge"]:
        room.madvise(mmap.MADV_HUGEPAGE)
    return whole[skip : skip + region["size_bytes"]]


def _huge_bytes() -> int:
    """Bytes of a transparent huge page; 0 of a kernel without them."""
    try:
        with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") as file:  # noqa: PTH123
            return int(file.read())
    except OSError:
        return 0


def _churn(period_ms: int) -> None:
    """Map, use and unmap memory, over and over."""
    while True:
        with mmap.mmap(-1, _CHURN_BYTES) as mapped:
            mapped.write(bytes(_CHURN_BYTES))
            time.sleep(period_ms / 1000)


def _whole(size_bytes: int) -> int:
    return -(-size_bytes // _PAGE) * _PAGE


def _write(truth: IO[str], **facts: object) -> None:
    truth.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    # Ctrl-C in a terminal reaches this process, too: its parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(json.load(sys.stdin), sys.argv[1])
