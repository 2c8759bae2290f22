"""How right monitors are, against the truth of workloads whose accesses are known."""

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
    score,
    truth_heat,
    view,
)
from pydamon._bench.tools import EXACT, PACING_NS, MonitorRun, scan_exactly, watch
from pydamon._model.snapshot import Snapshot
from pydamon._workloads import PhaseRun, Running, Workload

__all__ = ["QUICK", "QUICK_TOOLS", "Accuracy", "Plan", "measure"]

QUICK = ("hotspot", "stairs")
"""Workloads that tell the most in the least time."""
QUICK_TOOLS = ("pydamon", "plain", EXACT)
_NOTICED = 0.5
_STEADY_NS = (100 * 10**6, 600 * 10**6)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to look: *settle_s* until a monitor should know, then *look_s* of snapshots.

    A workload of several phases is watched for *phases* of them. With *fair*, plain DAMON watches
    once more where it used less CPU time than pydamon, with a larger budget.
    """

    settle_s: float = 5.0
    look_s: float = 6.0
    phases: float = 4
    fair: bool = True

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """The usual plan, or one that is over soon."""
        return cls(3.0, 1.5, 1.5, fair=False) if quick else cls()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One tool on one workload: medians over the `snapshots` that were compared, and the worst.

    Sizes are bytes; `cpu` is the tool's share of one CPU; `noticed_ms` and `noticed_aggregations`
    say how long after a change of phase half of what had become hot was called hot (NaN: there
    was no change, infinite: it was not noticed before the next one).
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
    """Run a workload once, and watch it with one tool after the other."""
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
            watched = watch(running.pid, tool, duration_s, seed=seed)
            if plan.fair and tool == PLAIN and (percent := fair_budget_percent(ours, watched.cpu)):
                say(f"accuracy: {workload.name} with {tool} again, at {percent:.1f} % of a CPU")
                watched = watch(
                    running.pid, tool, duration_s, seed=seed, cpu_budget_percent=percent
                )
            ours = watched.cpu if tool == OURS else ours
            yield _judge(workload, running, tool, watched, plan)


def _exact(workload: Workload, running: Running) -> Accuracy:
    pages, said, cpu_s = scan_exactly(running)
    result = score(pages, said)
    heat = by_block(pages, said.heat), by_block(pages, truth_heat(pages, 100 * 10**6))
    return Accuracy(
        workload.name,
        EXACT,
        1,
        result.precision,
        result.recall,
        result.f1,
        result.f1,
        result.block_f1,
        result.wss_error,
        result.wss_error,
        correlation(*heat),
        math.nan,
        math.nan,
        cpu_s / 0.1,
        100.0,
        math.nan,
        result.unobservable,
    )


def _judge(
    workload: Workload, running: Running, tool: str, watched: MonitorRun, plan: Plan
) -> Accuracy:
    judged = [s for s in watched.whole if _settled(running, watched, s, plan.settle_s)]
    # A tool that takes its time has at least its last word counted.
    judged = judged or [watched.whole[-1]]
    scores, said_heat, true_heat = [], [], []
    for snapshot in judged:
        pages = running.truth.pages(*watched.window(snapshot))
        said = view(snapshot, _target(snapshot, running.pid), pages)
        scores.append(best(pages, said) if tool != OURS else score(pages, said))
        said_heat.append(by_block(pages, said.heat))
        true_heat.append(by_block(pages, truth_heat(pages, snapshot.sampling_ns)))
    noticed = _notices(running, watched)
    return Accuracy(
        workload.name,
        tool,
        len(judged),
        median(s.precision for s in scores),
        median(s.recall for s in scores),
        median(s.f1 for s in scores),
        min(s.f1 for s in scores),
        median(s.block_f1 for s in scores),
        median(s.wss_error for s in scores),
        max(s.wss_error for s in scores),
        correlation(np.concatenate(said_heat), np.concatenate(true_heat)),
        median(count for count, _ in noticed) if noticed else math.nan,
        median(ms for _, ms in noticed) if noticed else math.nan,
        watched.cpu,
        median(s.window_ns for s in judged) / 1e6,
        median(len(s) for s in judged),
        median(s.unobservable for s in scores),
    )


def _settled(running: Running, watched: MonitorRun, snapshot: Snapshot, settle_s: float) -> bool:
    """Whether nothing had changed for so long before a snapshot's window, nor did in it."""
    start_ns, end_ns = watched.window(snapshot)
    phase = running.truth.phase_at(start_ns)
    if phase is None or (phase.end_ns is not None and phase.end_ns < end_ns):
        return False
    return start_ns >= max(phase.start_ns, watched.begin_ns) + settle_s * 1e9


def _notices(running: Running, watched: MonitorRun) -> list[tuple[float, float]]:
    """For each change of phase, after how many aggregations and ms it was noticed."""
    phases = running.truth.phases
    last_ns = watched.window(watched.snapshots[-1])[1]
    found = []
    for new in phases[1:]:
        long_enough = new.start_ns + _STEADY_NS[1] < (new.end_ns or last_ns)
        settled = new.start_ns > watched.begin_ns + PACING_NS
        if settled and long_enough and new.start_ns + 3 * 10**9 < last_ns:
            found.append(_notice(running, watched, new))
    return found


def _notice(running: Running, watched: MonitorRun, new: PhaseRun) -> tuple[float, float]:
    begin, end = _STEADY_NS
    before = running.truth.pages(new.start_ns - end, new.start_ns - begin)
    after = running.truth.pages(new.start_ns + begin, new.start_ns + end)
    fresh = np.concatenate([a.chance - b.chance for a, b in zip(after, before, strict=True)]) >= 0.5
    count = 0
    for snapshot in watched.snapshots:
        _, ended_ns = watched.window(snapshot)
        if ended_ns <= new.start_ns or (new.end_ns and ended_ns > new.end_ns):
            continue
        count += 1
        said = view(snapshot, _target(snapshot, running.pid), after)
        if said.hot[fresh].mean() >= _NOTICED:
            return float(count), (ended_ns - new.start_ns) / 1e6
    return math.inf, math.inf


def _target(snapshot: Snapshot, pid: int) -> int:
    return next((i for i, target in enumerate(snapshot.targets) if target.pid == pid), -1)
