"""Programs whose use of memory is known, for demonstrations, tests and benchmarks.

    from pydamon.workloads import pattern

    with pattern("hotspot").start() as running:
        ...                                     # watch running.pid
        running.truth.pages(start_ns, end_ns)   # what was really accessed meanwhile

They run as scripts of their own, so that they have no more than their own memory.
"""

from pathlib import Path

from pydamon._workloads.masim import Config, Pattern, Phase, Region, parse, render
from pydamon._workloads.patterns import PATTERNS, Running, Simulated, Workload, pattern
from pydamon._workloads.truth import GroundTruth, PageTruth, PhaseRun

__all__ = [
    "DEMO",
    "PATTERNS",
    "QUARTER",
    "Config",
    "GroundTruth",
    "PageTruth",
    "Pattern",
    "Phase",
    "PhaseRun",
    "Region",
    "Running",
    "Simulated",
    "Workload",
    "parse",
    "pattern",
    "render",
]

DEMO = Path(__file__).with_name("demo.py")
QUARTER = Path(__file__).with_name("quarter.py")
