"""Accuracy of access rates, on sets of pages that are accessed at known rates."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pydamon._bench.rate_scores import Comparison, SetScore
from pydamon._bench.tools import KERNEL, TOOLS, MonitorRun, watch_with
from pydamon._observe.options import MonitorOptions
from pydamon._observe.start import AUTO
from pydamon._workloads.rates import RATE_PATTERNS, RateWorkload, running_rates

__all__ = ["QUICK", "QUICK_TOOLS", "RATE_TOOLS", "Plan", "RateAccuracy", "measure"]

QUICK = ("poisson", "stripes")
"""The patterns of `--quick`."""
QUICK_TOOLS = ("pydamon", "plain")
_DAMON = MonitorOptions(sample="5ms", aggr="100ms")
RATE_TOOLS = {
    "pydamon": TOOLS["pydamon"],
    "pinned": replace(_DAMON, probe="ebpf"),
    "unlimited": replace(_DAMON, probe="ebpf", cpu_budget_percent=None),
    "plain": TOOLS["plain"],
    KERNEL: replace(_DAMON, cpu_budget_percent=None),
}
"""Options of `monitor` for each tool.

`pydamon` and `plain` are those of the other benchmarks. `pinned` has DAMON's intervals of 5 ms and
100 ms at the default budget, and `unlimited` has no budget, as the kernel's DAMON has none.
"""
_SAMPLING_NS = 5 * 10**6
_WINDOWS_S = (1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to monitor a pattern of sets of *mib* MiB, and how long snapshots count."""

    settle_s: float = 5.0
    look_s: float = 10.0
    mib: int = 16

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """Return the usual plan, or a short one."""
        return cls(3.0, 4.0, 4) if quick else cls()


@dataclass(frozen=True, slots=True)
class RateAccuracy:
    """The accuracy of a tool's access rates on a pattern, over some `snapshots`.

    `rank_of_sets` is the rank correlation of the sets' mean shares with the truth, and
    `rank_of_regions` that of regions, weighted by bytes, in the median snapshot. `cold` is the
    share of the idle bytes that are told to be accessed in more than 0.5 % of the intervals.
    `wss_error_1s` and `wss_error_10s` are the relative errors of working sets over such windows, in
    the median. `cpu` is the tool's share of one CPU; `all_in` adds an upper bound of what the
    target lost. `load` is the load average of the machine at the end.
    """

    name: str
    tool: str
    snapshots: int
    rank_of_sets: float
    rank_of_regions: float
    cold: float
    wss_error_1s: float
    wss_error_10s: float
    cpu: float
    all_in: float
    aggregation_ms: float
    regions: float
    load: float
    sets: tuple[SetScore, ...]

    @property
    def not_kept(self) -> list[str]:
        """The sets that the machine was too busy to access at their rates."""
        return [score.name for score in self.sets if not score.kept]


def measure(
    pattern: str,
    tools: Sequence[str],
    plan: Plan,
    seed: int,
    say: Callable[[str], None],
) -> Iterator[RateAccuracy]:
    """Run a pattern, and monitor it with each tool in turn."""
    with running_rates(RATE_PATTERNS[pattern], plan.mib, _SAMPLING_NS / 1e6) as workload:
        for tool in tools:
            say(f"rates: {pattern} with {tool}")
            engine, options = (KERNEL if tool == KERNEL else AUTO), RATE_TOOLS[tool]
            if tool != KERNEL:
                options = replace(options, seed=seed)
            run = watch_with(workload.pid, engine, options, plan.settle_s + plan.look_s)
            yield _judge(pattern, tool, run, workload, plan)


def _judge(
    pattern: str, tool: str, run: MonitorRun, workload: RateWorkload, plan: Plan
) -> RateAccuracy:
    settled_ns = run.begin_ns + plan.settle_s * 1e9
    judged = [s for s in run.whole if run.window(s)[0] >= settled_ns]
    # Of a slow tool, at least the last snapshot counts.
    judged = judged or [run.whole[-1]]
    windows = [(start_ns / 1e9, end_ns / 1e9) for start_ns, end_ns in map(run.window, judged)]
    result = Comparison(
        judged, workload.pid, windows, workload.ranges, workload.wanted, workload.truth()
    )
    wss_errors = [
        result.working_set_error(window_s) if plan.look_s >= window_s else math.nan
        for window_s in _WINDOWS_S
    ]
    return RateAccuracy(
        name=pattern,
        tool=tool,
        snapshots=len(judged),
        rank_of_sets=result.rank_of_sets(),
        rank_of_regions=result.rank_of_regions(),
        cold=result.cold_called_accessed(),
        wss_error_1s=wss_errors[0],
        wss_error_10s=wss_errors[1],
        cpu=run.cpu,
        all_in=run.all_in,
        aggregation_ms=median(s.window_ns for s in judged) / 1e6,
        regions=median(len(s) for s in judged),
        load=os.getloadavg()[0],
        sets=result.sets(),
    )
