"""Programs whose accesses are known exactly, for demonstrations, tests and benchmarks.

A workload runs as a process of its own, or as a simulation. A running workload records its
accesses, which are the ground truth for every monitor:

    from pydamon.workloads import pattern

    with pattern("hotspot").start() as running:
        ...                                     # monitor running.pid
        running.truth.pages(start_ns, end_ns)   # the true accesses of that time
"""

from pathlib import Path

from pydamon._workloads.masim import Config, Mode, Pattern, Phase, Region, parse, render
from pydamon._workloads.patterns import PATTERNS, pattern
from pydamon._workloads.recorded import from_recording
from pydamon._workloads.truth import GroundTruth, PageTruth, PhaseRun
from pydamon._workloads.workload import Running, Simulated, Workload

__all__ = [
    "DEMO",
    "PATTERNS",
    "QUARTER",
    "Config",
    "GroundTruth",
    "Mode",
    "PageTruth",
    "Pattern",
    "Phase",
    "PhaseRun",
    "Region",
    "Running",
    "Simulated",
    "Workload",
    "from_recording",
    "parse",
    "pattern",
    "render",
]

DEMO = Path(__file__).with_name("demo.py")
"""The script of `pydamon demo`: 256 MiB, a hot quarter, and a window that moves."""
QUARTER = Path(__file__).with_name("quarter.py")
"""A script with a hot quarter of any size."""
