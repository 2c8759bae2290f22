"""Accuracy of monitors on workloads whose accesses are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from pydamon._bench.scores import (
    OURS,
    PLAIN,
    best,
    by_block,
    correlation,
    fair_budget_percent,
    medians,
    score,
    truth_heat,
    view,
)
from pydamon._bench.tools import EXACT, PACING_NS, MonitorRun, scan_exactly, watch
from pydamon._model.snapshot import Snapshot
from pydamon._workloads import PhaseRun, Running, Workload

__all__ = ["QUICK", "QUICK_TOOLS", "Accuracy", "Plan", "measure"]

QUICK = ("hotspot", "stairs")
"""The workloads of `--quick`: the most informative in the least time."""
QUICK_TOOLS = ("pydamon", "plain", EXACT)
_NOTICED = 0.5
_STEADY_NS = (100 * 10**6, 600 * 10**6)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to monitor a workload.

    Only snapshots of the last *look_s* seconds count; during *settle_s* the monitor settles. A
    workload of several phases is monitored for *phases* phases. With *fair*, plain DAMON runs again
    with a larger budget if it used less CPU time than pydamon.
    """

    settle_s: float = 5.0
    look_s: float = 6.0
    phases: float = 4
    fair: bool = True

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """Return the usual plan, or a short one."""
        return cls(3.0, 1.5, 1.5, fair=False) if quick else cls()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The accuracy of a tool on a workload: medians over the `snapshots`, and the worst values.

    `cpu` is the tool's share of one CPU. `noticed_ms` and `noticed_aggregations` are the delay
    after a change of phase until the tool calls half of the newly hot pages hot. They are NaN
    without a change of phase, and infinite if the next change came first.
    """

    name: str
    tool: str
    snapshots: int
    precision: float
    recall: float
    f1: float
    worst_f1: float
    block_f1: float
    wss_error: float
    worst_wss_error: float
    correlation: float
    noticed_aggregations: float
    noticed_ms: float
    cpu: float
    aggregation_ms: float
    regions: float
    unobservable: float


def measure(
    workload: Workload,
    tools: Sequence[str],
    plan: Plan,
    seed: int,
    say: Callable[[str], None],
) -> Iterator[Accuracy]:
    """Start a workload, and monitor it with each tool in turn."""
    ours = math.nan
    with workload.start(seed) as running:
        for tool in tools:
            say(f"accuracy: {workload.name} with {tool}")
            if tool == EXACT:
                yield _exact(workload, running)
                continue
            duration_s = plan.settle_s + plan.look_s
            phases = workload.config.phases
            if len(phases) > 1:
                duration_s = max(phase.duration_ms for phase in phases) / 1000 * plan.phases
            run = watch(running.pid, tool, duration_s, seed=seed)
            if plan.fair and tool == PLAIN and (percent := fair_budget_percent(ours, run.cpu)):
                say(f"accuracy: {workload.name} with {tool} again, at {percent:.1f} % of a CPU")
                run = watch(running.pid, tool, duration_s, seed=seed, cpu_budget_percent=percent)
            ours = run.cpu if tool == OURS else ours
            yield _judge(workload, running, tool, run, plan)


def _exact(workload: Workload, running: Running) -> Accuracy:
    pages, scan, cpu_s = scan_exactly(running)
    result = score(pages, scan)
    heat = by_block(pages, scan.heat), by_block(pages, truth_heat(pages, 100 * 10**6))
    return Accuracy(
        name=workload.name,
        tool=EXACT,
        snapshots=1,
        correlation=correlation(*heat),
        noticed_aggregations=math.nan,
        noticed_ms=math.nan,
        cpu=cpu_s / 0.1,
        aggregation_ms=100.0,
        regions=math.nan,
        **medians([result]),
    )


def _judge(
    workload: Workload, running: Running, tool: str, run: MonitorRun, plan: Plan
) -> Accuracy:
    judged = [s for s in run.whole if _settled(running, run, s, plan.settle_s)]
    # Of a slow tool, at least the last snapshot counts.
    judged = judged or [run.whole[-1]]
    scores, reported_heat, true_heat = [], [], []
    for snapshot in judged:
        pages = running.truth.pages(*run.window(snapshot))
        reported = view(snapshot, _target(snapshot, running.pid), pages)
        scores.append(best(pages, reported) if tool != OURS else score(pages, reported))
        reported_heat.append(by_block(pages, reported.heat))
        true_heat.append(by_block(pages, truth_heat(pages, snapshot.sampling_ns)))
    noticed = _notices(running, run)
    return Accuracy(
        name=workload.name,
        tool=tool,
        snapshots=len(judged),
        correlation=correlation(np.concatenate(reported_heat), np.concatenate(true_heat)),
        noticed_aggregations=median(count for count, _ in noticed) if noticed else math.nan,
        noticed_ms=median(ms for _, ms in noticed) if noticed else math.nan,
        cpu=run.cpu,
        aggregation_ms=median(s.window_ns for s in judged) / 1e6,
        regions=median(len(s) for s in judged),
        **medians(scores),
    )


def _settled(running: Running, run: MonitorRun, snapshot: Snapshot, settle_s: float) -> bool:
    """Return whether a window lies *settle_s* after the last change, and before the next one."""
    start_ns, end_ns = run.window(snapshot)
    phase = running.truth.phase_at(start_ns)
    if phase is None or (phase.end_ns is not None and phase.end_ns < end_ns):
        return False
    return start_ns >= max(phase.start_ns, run.begin_ns) + settle_s * 1e9


def _notices(running: Running, run: MonitorRun) -> list[tuple[float, float]]:
    """Return the delay in aggregations and in ms for each change of phase."""
    phases = running.truth.phases
    last_ns = run.window(run.snapshots[-1])[1]
    delays = []
    for new in phases[1:]:
        long_enough = new.start_ns + _STEADY_NS[1] < (new.end_ns or last_ns)
        settled = new.start_ns > run.begin_ns + PACING_NS
        if settled and long_enough and new.start_ns + 3 * 10**9 < last_ns:
            delays.append(_notice(running, run, new))
    return delays


def _notice(running: Running, run: MonitorRun, new: PhaseRun) -> tuple[float, float]:
    begin, end = _STEADY_NS
    before = running.truth.pages(new.start_ns - end, new.start_ns - begin)
    after = running.truth.pages(new.start_ns + begin, new.start_ns + end)
    fresh = np.concatenate([a.chance - b.chance for a, b in zip(after, before, strict=True)]) >= 0.5
    count = 0
    for snapshot in run.snapshots:
        _, ended_ns = run.window(snapshot)
        if ended_ns <= new.start_ns or (new.end_ns and ended_ns > new.end_ns):
            continue
        count += 1
        reported = view(snapshot, _target(snapshot, running.pid), after)
        if reported.hot[fresh].mean() >= _NOTICED:
            return float(count), (ended_ns - new.start_ns) / 1e6
    return math.inf, math.inf


def _target(snapshot: Snapshot, pid: int) -> int:
    return next((i for i, target in enumerate(snapshot.targets) if target.pid == pid), -1)
