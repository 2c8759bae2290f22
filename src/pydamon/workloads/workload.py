"""A workload: a description of memory use that can be run, or simulated."""

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

from pydamon.core.errors import TargetError
from pydamon.core.regions import PAGE_SIZE
from pydamon.probes.trace import Access, Trace
from pydamon.probes.trace import Phase as TracePhase
from pydamon.workloads.masim import Config
from pydamon.workloads.truth import GroundTruth

__all__ = ["Running", "Simulated", "Workload"]

_RUNNER = Path(__file__).with_name("runner.py")
_BASE = 1 << 40


@dataclass(frozen=True, slots=True)
class Running:
    """A workload that runs."""

    pid: int
    truth: GroundTruth


@dataclass(frozen=True, slots=True)
class Simulated:
    """A workload as a trace, and the ranges (bytes) that it has."""

    trace: Trace
    ranges: tuple[tuple[int, int], ...]
    regions: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Workload:
    """A configuration, and how to run it beyond what masim's format can say.

    Of the regions, `huge` are advised to be huge pages, `shared` are mapped by all *processes*
    (forked before they start), `files` are mappings of a file that is deleted at once, all others
    lie side by side in one private mapping. Sequential accesses are spread over *threads*. With
    *churn_ms* another mapping comes and goes that often. A round of *round_accesses* (0: 65,536)
    starts every *period_ms*, with 0 as fast as the machine can. *repeat* starts over after the
    last phase.
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

    @property
    def size_bytes(self) -> int:
        """Bytes of all regions."""
        return sum(region.size_bytes for region in self.config.regions)

    @contextmanager
    def start(self, seed: int = 0) -> Iterator[Running]:
        """Run it, from here to the end of the `with` block; it is ready when that begins.

        Raises `TargetError` if it does not start.
        """
        with tempfile.TemporaryDirectory() as directory:
            truth = Path(directory) / "truth"
            # Threads of a library for linear algebra would be more memory and nothing else.
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
                told = GroundTruth(self.config, truth, lambda: process.poll() is not None)
                yield Running(process.pid, told)
            finally:
                process.kill()
                # However long that takes: giving back 10 GiB can be seconds.
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def description(self, seed: int = 0) -> dict[str, object]:
        """What the runner is told: everything, as JSON can hold it."""
        marks = {"huge": self.huge, "shared": self.shared, "file": self.files}
        return {
            "regions": [
                asdict(region) | {mark: region.name in names for mark, names in marks.items()}
                for region in self.config.regions
            ],
            "phases": [asdict(phase) for phase in self.config.phases],
            "processes": self.processes,
            "threads": self.threads,
            "churn_ms": self.churn_ms,
            "period_ms": self.period_ms,
            "round_accesses": self.round_accesses,
            "repeat": self.repeat,
            "seed": seed,
        }

    def simulated(self, accesses_hz: float = 32e6) -> Simulated:
        """The same as a trace for `pydamon.simulate`, with so many accesses a second.

        The regions lie side by side. Sequential accesses are simulated as random ones of the same
        rate; the phases come once, and the last one stays.
        """
        regions: dict[str, tuple[int, int]] = {}
        at = _BASE
        for region in self.config.regions:
            regions[region.name] = at, at + region.size_bytes
            at += math.ceil(region.size_bytes / PAGE_SIZE) * PAGE_SIZE
        phases = []
        for phase in self.config.phases:
            weights = sum(pattern.weight for pattern in phase.patterns)
            accesses = []
            for pattern in phase.patterns:
                start, end = regions[pattern.region]
                stride = PAGE_SIZE if pattern.random else max(PAGE_SIZE, pattern.stride)
                share = pattern.weight / weights
                pages = math.ceil((end - start) / stride)
                if share:
                    accesses.append(Access(start, end, accesses_hz * share / pages, stride))
            phases.append(TracePhase(phase.duration_ms * 10**6, tuple(accesses)))
        return Simulated(Trace(tuple(phases)), ((_BASE, at),), regions)
