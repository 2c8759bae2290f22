"""Workloads, which run or are simulated."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydamon._model.errors import TargetError
from pydamon._model.regions import PAGE_SIZE
from pydamon._observe.probes.trace import Access, Trace
from pydamon._observe.probes.trace import Phase as TracePhase
from pydamon._workloads.masim import Config, Phase
from pydamon._workloads.truth import GroundTruth

__all__ = ["Running", "Simulated", "Workload"]

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
