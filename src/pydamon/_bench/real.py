"""Accuracy of monitors on real programs, against the judge (`pydamon._bench.judge`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import psutil

from pydamon._bench.judge import ExactTruth, judge
from pydamon._bench.programs import Program
from pydamon._bench.scores import (
    OURS,
    PLAIN,
    Score,
    View,
    best,
    fair_budget_percent,
    medians,
    score,
    view,
)
from pydamon._bench.tools import EXACT, MonitorRun, watch
from pydamon._model.snapshot import Snapshot

__all__ = ["QUICK", "Plan", "ProgramAccuracy", "measure"]

QUICK = ("sqlite",)
"""The programs of `--quick`: they need no other package, and start fast."""
_STEADY_NS = 5e8


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to monitor a program.

    In each round, a tool settles for *settle_s*, and then its snapshots of *look_s* seconds count.
    Afterwards the judge scans for *judge_s*, in 2 to 5 windows of the length of a snapshot.
    """

    settle_s: float = 5.0
    look_s: float = 6.0
    judge_s: float = 6.0
    rounds: int = 2

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """Return the usual plan, or a short one."""
        return cls(3.0, 2.0, 2.0, 1) if quick else cls()


@dataclass(frozen=True, slots=True)
class ProgramAccuracy:
    """The accuracy of a tool on a program: medians over the `snapshots`, and the worst values.

    `wss_bytes` is the working set that the tool reported, and `true_wss_bytes` that of the judge,
    in windows of the same length, over all `processes`. The tool `exact` is the judge against
    itself: each of its windows against the others, the score of a single exact scan. `drift` is the
    relative change of the working set of half a second while the tool ran: if it is large, the
    program was not steady, and the other figures mean little. `missing` says why a program did not
    run; all figures are NaN then.
    """

    name: str
    tool: str
    missing: str
    processes: int
    resident_bytes: float
    snapshots: int
    window_ms: float
    precision: float
    recall: float
    f1: float
    worst_f1: float
    block_f1: float
    hot_bytes: float
    wss_bytes: float
    true_wss_bytes: float
    wss_error: float
    worst_wss_error: float
    drift: float
    cpu: float
    regions: float
    unobservable: float


@dataclass(frozen=True, slots=True)
class _Look:
    """The snapshots of a tool in one round, and the truth that the judge found afterwards."""

    run: MonitorRun
    judged: tuple[Snapshot, ...]
    truth: ExactTruth
    drift: float


def measure(
    program: Program,
    tools: Sequence[str],
    plan: Plan,
    seed: int,
    say: Callable[[str], None],
) -> Iterator[ProgramAccuracy]:
    """Start a program; monitor it with each tool in turn, each followed by the judge."""
    if reason := program.missing():
        yield _absent(program.name, reason)
        return
    say(f"real: {program.name} starts")
    looks: dict[str, list[_Look]] = {tool: [] for tool in tools}
    percent = dict.fromkeys(tools, 1.0)
    with program.start(seed) as pid:
        for number in range(plan.rounds):
            for tool in tools:
                say(f"real: {program.name} with {tool}, {number + 1} of {plan.rounds}")
                look = _look(pid, tool, plan, seed + number, percent[tool])
                if tool == PLAIN and number == 0 and OURS in tools:
                    ours, theirs = looks[OURS][0].run.cpu, look.run.cpu
                    if fair := fair_budget_percent(ours, theirs):
                        say(f"real: {program.name} with {tool} again, at {fair:.1f} % of a CPU")
                        percent[tool] = fair
                        look = _look(pid, tool, plan, seed + number, fair)
                looks[tool].append(look)
    for tool in tools:
        yield _result(program.name, tool, looks[tool])
    yield _exact(program.name, looks[tools[0]])


def _look(pid: int, tool: str, plan: Plan, seed: int, percent: float) -> _Look:
    before = _working_set(pid)
    duration_s = plan.settle_s + plan.look_s
    run = watch(pid, tool, duration_s, seed=seed, cpu_budget_percent=percent)
    drift = abs(_working_set(pid) / before - 1)
    late = _late(run, plan.settle_s)
    window_ns = median(snapshot.window_ns for snapshot in late)
    windows = min(5, max(2, round(plan.judge_s * 1e9 / window_ns)))
    return _Look(run, late, judge(_with_children(pid), window_ns, windows), drift)


def _with_children(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _working_set(pid: int) -> float:
    """Return the bytes accessed in half a second, to compare them with another time."""
    return judge(_with_children(pid), _STEADY_NS, 2).accessed_bytes


def _late(run: MonitorRun, settle_s: float) -> tuple[Snapshot, ...]:
    """Return the snapshots that began after the tool had settled."""
    settled_ns = run.begin_ns + settle_s * 1e9
    late = tuple(s for s in run.whole if run.window(s)[0] >= settled_ns)
    # Of a slow tool, at least the last snapshot counts.
    return late or run.whole[-1:]


def _result(program: str, tool: str, looks: Sequence[_Look]) -> ProgramAccuracy:
    scored = [(s, _score(s, look, tool)) for look in looks for s in look.judged]
    scores = [score for _, score in scored]
    return _summary(
        program,
        tool,
        [look.truth for look in looks],
        scores,
        drift=median(look.drift for look in looks),
        window_ms=median(s.window_ns for s, _ in scored) / 1e6,
        wss_bytes=float(median(s.working_set() for s, _ in scored)),
        cpu=median(look.run.cpu for look in looks),
        regions=median(len(s) for s, _ in scored),
    )


def _exact(program: str, looks: Sequence[_Look]) -> ProgramAccuracy:
    truths = [look.truth for look in looks]
    return _summary(
        program,
        EXACT,
        truths,
        [score for truth in truths for score in truth.agreement()],
        drift=median(look.drift for look in looks),
        window_ms=median(truth.window_ns for truth in truths) / 1e6,
        wss_bytes=median(truth.accessed_bytes for truth in truths),
        cpu=median(truth.cpu_share for truth in truths),
        regions=math.nan,
    )


def _score(snapshot: Snapshot, look: _Look, tool: str) -> Score:
    truth = look.truth
    index = {target.pid: number for number, target in enumerate(snapshot.targets)}
    views = [view(snapshot, index.get(pid, -1), truth.pages(pid)) for pid in truth.pids]
    reported = View(
        np.concatenate([view.share for view in views]),
        np.concatenate([view.heat for view in views]),
        np.concatenate([view.unobservable for view in views]),
    )
    pages = truth.all_pages()
    return score(pages, reported) if tool == OURS else best(pages, reported)


def _summary(
    program: str,
    tool: str,
    truths: Sequence[ExactTruth],
    scores: Sequence[Score],
    **figures: float,
) -> ProgramAccuracy:
    return ProgramAccuracy(
        name=program,
        tool=tool,
        missing="",
        processes=len(truths[0].pids),
        resident_bytes=median(truth.resident_bytes for truth in truths),
        snapshots=len(scores),
        hot_bytes=median(truth.hot_bytes for truth in truths),
        true_wss_bytes=median(truth.accessed_bytes for truth in truths),
        **figures,
        **medians(scores),
    )


def _absent(program: str, reason: str) -> ProgramAccuracy:
    unknown = math.nan
    return ProgramAccuracy(program, "-", reason, 0, unknown, 0, *[unknown] * 15)
