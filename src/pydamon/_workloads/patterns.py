"""Workloads, which run or are simulated, and the patterns that come with pydamon."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydamon._model.errors import TargetError, UsageError
from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.probes.trace import Access, Trace
from pydamon._observe.probes.trace import Phase as TracePhase
from pydamon._workloads.masim import Config, Mode, Pattern, Phase, Region
from pydamon._workloads.truth import GroundTruth

__all__ = ["PATTERNS", "Running", "Simulated", "Workload", "pattern"]

_RUNNER = Path(__file__).with_name("runner.py")
_BASE = 1 << 40


@dataclass(frozen=True, slots=True)
class Running:
    """A workload that runs.

    Attributes
    ----------
    pid
        The pid of the process to monitor.
    truth
        The accesses that the process really made.
    """

    pid: int
    truth: GroundTruth


@dataclass(frozen=True, slots=True)
class Simulated:
    """A workload as a trace for `pydamon.simulate`.

    Attributes
    ----------
    trace
        The accesses.
    ranges
        Start and end addresses of the memory, the second argument of `pydamon.simulate`.
    regions
        Start and end address of each region, by its name.
    """

    trace: Trace
    ranges: tuple[tuple[int, int], ...]
    regions: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: a configuration of masim, and options that masim's format lacks.

    Attributes
    ----------
    name, about
        Its name, and a description in a line.
    config
        Regions and phases.
    huge
        Names of the regions that ask for huge pages (`MADV_HUGEPAGE`).
    shared
        Names of the regions that all processes map.
    files
        Names of the regions that map a deleted file. All regions that are in none of these three
        sets lie side by side in one private mapping.
    processes
        The number of processes, which are forked before the first phase.
    threads
        The number of threads that share the sequential accesses.
    churn_ms
        If above 0, map, use and unmap other memory at this interval.
    period_ms
        The interval of rounds of accesses; 0 runs as fast as the machine can.
    round_accesses
        The number of accesses in a round; 0 means 65,536.
    repeat
        Whether to start over after the last phase; otherwise the program exits.
    report_ms
        How often the program writes down its accesses, which are the ground truth.

    Examples
    --------
    Simulate a shipped workload, and compare the working set with the truth:

    >>> import pydamon
    >>> from pydamon.workloads import pattern
    >>> workload = pattern("uniform").simulated()
    >>> *_, snapshot = pydamon.simulate(workload.trace, workload.ranges).run("3s")
    >>> start, end = workload.regions["hot"]
    >>> abs(snapshot.working_set() / (end - start) - 1) < 0.05
    True
    """

    name: str
    about: str
    config: Config
    huge: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    processes: int = 1
    threads: int = 1
    churn_ms: int = 0
    period_ms: float = 2.0
    round_accesses: int = 0
    repeat: bool = True
    report_ms: int = 20

    @property
    def size_bytes(self) -> int:
        """The size of all regions."""
        return sum(region.size_bytes for region in self.config.regions)

    @contextmanager
    def start(self, seed: int = 0) -> Iterator[Running]:
        """Run the workload until the end of the `with` block, which begins when it is ready.

        Parameters
        ----------
        seed
            The seed of random accesses.

        Yields
        ------
        Running
            The pid, and the ground truth.

        Raises
        ------
        TargetError
            If the workload does not start.
        """
        with tempfile.TemporaryDirectory() as directory:
            truth = Path(directory) / "truth"
            # A thread pool for linear algebra would only add memory.
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(
                [sys.executable, str(_RUNNER), str(truth)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(self.description(seed)).encode())
                process.stdin.close()
                if not process.stdout.readline():
                    raise TargetError(f"the workload {self.name!r} did not start")
                ground_truth = GroundTruth(self.config, truth, lambda: process.poll() is not None)
                yield Running(process.pid, ground_truth)
            finally:
                process.kill()
                # Without a timeout: freeing 10 GiB can take seconds.
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def description(self, seed: int = 0) -> dict[str, object]:
        """Return the description for the runner, which JSON can hold."""
        marks = {"huge": self.huge, "shared": self.shared, "file": self.files}
        return {
            "regions": [
                asdict(region) | {mark: region.name in names for mark, names in marks.items()}
                for region in self.config.regions
            ],
            "phases": [_described(phase) for phase in self.config.phases],
            "processes": self.processes,
            "threads": self.threads,
            "churn_ms": self.churn_ms,
            "period_ms": self.period_ms,
            "round_accesses": self.round_accesses,
            "repeat": self.repeat,
            "report_ms": self.report_ms,
            "seed": seed,
        }

    def simulated(self, accesses_hz: float = 32e6) -> Simulated:
        """Return the workload as a trace for `pydamon.simulate`.

        Parameters
        ----------
        accesses_hz
            All accesses a second of patterns without a rate.

        Notes
        -----
        The regions lie side by side. Sequential accesses become random accesses of the same rate.
        The phases run once, and the last phase stays.
        """
        regions: dict[str, tuple[int, int]] = {}
        at = _BASE
        for region in self.config.regions:
            regions[region.name] = at, at + region.size_bytes
            at += math.ceil(region.size_bytes / PAGE_SIZE) * PAGE_SIZE
        phases = []
        for phase in self.config.phases:
            weights = sum(p.weight for p in phase.patterns if p.rate_hz is None)
            accesses = []
            for pattern in phase.patterns:
                start, end = regions[pattern.region]
                stride = max(PAGE_SIZE, pattern.step_bytes)
                rate_hz = pattern.rate_hz
                if rate_hz is None:
                    pages = math.ceil((end - start) / stride)
                    rate_hz = accesses_hz * pattern.weight / max(1, weights) / pages
                if rate_hz:
                    accesses.append(Access(start, end, rate_hz, stride))
            phases.append(TracePhase(phase.duration_ms * 10**6, tuple(accesses)))
        return Simulated(Trace(tuple(phases)), ((_BASE, at),), regions)


def _described(phase: Phase) -> dict[str, object]:
    """Return a phase as JSON can hold it, with the distance of the places of each pattern."""
    patterns = [asdict(p) | {"step_bytes": p.step_bytes} for p in phase.patterns]
    return asdict(phase) | {"patterns": patterns}


_KIB, _MIB = 1 << 10, 1 << 20
_FOREVER_MS = 24 * 3600 * 1000
_PHASE_MS = 8000
"""Longer than the 5 s that a monitor may take to settle."""


def _walk(region: str, weight: int = 1, stride: int = 4 * _KIB, mode: Mode = "rw") -> Pattern:
    return Pattern(region, random=False, stride=stride, weight=weight, mode=mode)


def _random(region: str, weight: int = 1, mode: Mode = "rw") -> Pattern:
    return Pattern(region, random=True, stride=0, weight=weight, mode=mode)


def _regions(sizes: Iterable[tuple[str, int]]) -> tuple[Region, ...]:
    return tuple(Region(name, size) for name, size in sizes)


def _steady(sizes: Iterable[tuple[str, int]], *patterns: Pattern) -> Config:
    return Config(_regions(sizes), (Phase("steady", _FOREVER_MS, patterns),))


def _one_by_one(count: int, size_bytes: int, order: Iterable[int]) -> Config:
    """Access the regions one after the other, in this order."""
    return Config(
        _regions((f"r{number}", size_bytes) for number in range(count)),
        tuple(Phase(f"only r{at}", _PHASE_MS, (_walk(f"r{at}"),)) for at in order),
    )


def _stairs() -> Workload:
    config = _one_by_one(10, 10 * _MIB, range(10))
    return Workload("stairs", "10 regions of 10 MiB, accessed one after the other", config)


def _zigzag() -> Workload:
    order = [*range(10), *range(8, 0, -1)]
    config = _one_by_one(10, 10 * _MIB, order)
    return Workload("zigzag", "10 regions of 10 MiB, accessed upwards and downwards", config)


def _moving() -> Workload:
    config = _one_by_one(64, 4 * _MIB, [(at * 23) % 64 for at in range(64)])
    return Workload("moving", "a hot spot of 4 MiB that jumps around in 256 MiB", config)


def _hotspot() -> Workload:
    sizes = [("before", 613 * _MIB), ("hot", _MIB), ("after", 386 * _MIB)]
    return Workload("hotspot", "1 MiB hot in 1,000 MiB", _steady(sizes, _walk("hot")))


def _hotspots() -> Workload:
    sizes = [
        size
        for n in range(8)
        for size in ((f"cold{n}", (40 + 7 * n) * _MIB), (f"hot{n}", (1 + n % 3) * _MIB))
    ]
    config = _steady(sizes, *(_walk(f"hot{n}", 1 + n % 3) for n in range(8)))
    return Workload("hotspots", "8 hot spots of 1 to 3 MiB in 530 MiB", config)


def _gradient() -> Workload:
    sizes = [*((f"step{n}", 4 * _MIB) for n in range(8)), ("cold", 96 * _MIB)]
    config = _steady(sizes, *(_random(f"step{n}", 1 << n) for n in range(8)))
    about = "8 regions of 4 MiB at random, each accessed twice as often as the previous one"
    return Workload("gradient", about, config, round_accesses=2048)


def _sparse() -> Workload:
    sizes = [("idle", 64 * _MIB), ("sparse", 128 * _MIB), ("cold", 64 * _MIB)]
    config = _steady(sizes, _walk("sparse", stride=64 * _KIB))
    return Workload("sparse", "1 page in 16 of 128 MiB hot, 128 MiB cold", config)


def _uniform() -> Workload:
    sizes = [("hot", 64 * _MIB), ("cold", 64 * _MIB)]
    return Workload(
        "uniform", "64 MiB accessed at random, 64 MiB cold", _steady(sizes, _random("hot"))
    )


def _phases() -> Workload:
    sizes = [("a", 16 * _MIB), ("b", 48 * _MIB), ("c", 32 * _MIB), ("cold", 96 * _MIB)]
    phases = (
        Phase("a and b", _PHASE_MS, (_walk("a", 1, mode="ro"), _walk("b", 3, mode="wo"))),
        Phase("c", _PHASE_MS, (_random("c", mode="ro"),)),
        Phase("a and c", _PHASE_MS, (_walk("a", 1), _walk("c", 2, 64, "ro"))),
    )
    about = "3 phases of reads and writes, in order and at random"
    return Workload("phases", about, Config(_regions(sizes), phases))


def _huge() -> Workload:
    sizes = [("hot", 64 * _MIB), ("cold", 192 * _MIB)]
    config = _steady(sizes, _walk("hot"))
    both = frozenset({"hot", "cold"})
    return Workload("huge", "64 MiB hot of 256 MiB in huge pages", config, huge=both)


def _shared() -> Workload:
    sizes = [("hot", 32 * _MIB), ("cold", 96 * _MIB)]
    both = frozenset({"hot", "cold"})
    return Workload(
        "shared",
        "32 MiB hot of 128 MiB that 2 processes share",
        _steady(sizes, _walk("hot")),
        shared=both,
        processes=2,
    )


def _files() -> Workload:
    sizes = [("hot", 32 * _MIB), ("cold", 96 * _MIB)]
    both = frozenset({"hot", "cold"})
    config = _steady(sizes, _walk("hot"))
    return Workload("files", "32 MiB hot of 128 MiB in mapped files", config, files=both)


def _churn() -> Workload:
    sizes = [("cold", 96 * _MIB), ("hot", 32 * _MIB)]
    config = _steady(sizes, _walk("hot"))
    return Workload(
        "churn", "32 MiB hot of 128 MiB, beside mappings that come and go", config, churn_ms=50
    )


def _threads() -> Workload:
    sizes = [("hot", 32 * _MIB), ("cold", 96 * _MIB)]
    config = _steady(sizes, _walk("hot"))
    return Workload("threads", "32 MiB hot of 128 MiB, accessed by 16 threads", config, threads=16)


def _tlb() -> Workload:
    sizes = [("cold", 63 * _MIB), ("hot", 256 * _KIB), ("after", 768 * _KIB)]
    config = _steady(sizes, _walk("hot"))
    return Workload("tlb", "256 KiB hot of 64 MiB: small enough for the TLB", config)


_MAKERS: tuple[Callable[[], Workload], ...] = (
    _stairs,
    _zigzag,
    _moving,
    _hotspot,
    _hotspots,
    _gradient,
    _sparse,
    _uniform,
    _phases,
    _huge,
    _shared,
    _files,
    _churn,
    _threads,
    _tlb,
)

PATTERNS: dict[str, Workload] = {workload.name: workload for workload in (m() for m in _MAKERS)}
"""The shipped workloads, by name."""


def pattern(name: str) -> Workload:
    """Return a shipped workload by its name.

    Raises
    ------
    UsageError
        If there is no workload of that name.

    Examples
    --------
    >>> from pydamon.workloads import pattern
    >>> pattern("hotspot").about
    '1 MiB hot in 1,000 MiB'
    """
    if name not in PATTERNS:
        names = ", ".join(PATTERNS)
        raise UsageError(f"there is no workload {name!r}", hint=f"choose from {names}")
    return PATTERNS[name]
