"""How right monitors are on real programs, against an exact judge (`pydamon._bench.judge`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import psutil

from pydamon._bench.judge import ExactTruth, judge
from pydamon._bench.programs import Program
from pydamon._bench.scores import OURS, PLAIN, Score, View, best, fair_budget_percent, score, view
from pydamon._bench.tools import EXACT, MonitorRun, watch
from pydamon._model.snapshot import Snapshot

__all__ = ["QUICK", "Plan", "Real", "measure"]

QUICK = ("sqlite",)
"""Programs that are there wherever pydamon is, and soon ready."""
_STEADY_NS = 5e8


@dataclass(frozen=True, slots=True)
class Plan:
    """In each of *rounds*, a tool has *settle_s* until it should know, and *look_s* of snapshots
    that count; then the judge looks for *judge_s*, in 2 to 5 windows of the same length."""

    settle_s: float = 5.0
    look_s: float = 6.0
    judge_s: float = 6.0
    rounds: int = 2

    @classmethod
    def of(cls, quick: bool) -> Plan:
        """The usual plan, or one that is over soon."""
        return cls(3.0, 2.0, 2.0, 1) if quick else cls()


@dataclass(frozen=True, slots=True)
class Real:
    """One tool on one program: medians over the `snapshots` that were compared, and the worst.

    Sizes are bytes, over all `processes`; `wss_bytes` is what the tool said, `true_wss_bytes` what
    the judge found in windows of the same length. `exact` is the judge against itself: each of its
    windows against the others, which is what one exact look is worth. `drift` is how much the
    working set of half a second changed from before the tool watched until after: where that is
    much, the program was not steady, and no figure means much. `missing` says why a program was
    not run; all figures are NaN then.
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
    """What a tool said in one round, and what the judge found afterwards."""

    watched: MonitorRun
    judged: tuple[Snapshot, ...]
    verdict: ExactTruth
    drift: float


def measure(
    program: Program,
    tools: Sequence[str],
    plan: Plan,
    seed: int,
    say: Callable[[str], None],
) -> Iterator[Real]:
    """Run a program once, and watch it with each tool in turn, followed by the judge."""
    if reason := program.missing():
        yield _absent(program.name, reason)
        return
    say(f"real: {program.name} gets ready")
    looks: dict[str, list[_Look]] = {tool: [] for tool in tools}
    percent = dict.fromkeys(tools, 1.0)
    with program.start(seed) as pid:
        for number in range(plan.rounds):
            for tool in tools:
                say(f"real: {program.name} with {tool}, {number + 1} of {plan.rounds}")
                look = _look(pid, tool, plan, seed + number, percent[tool])
                if tool == PLAIN and number == 0 and OURS in tools:
                    ours, theirs = looks[OURS][0].watched.cpu, look.watched.cpu
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
    watched = watch(pid, tool, duration_s, seed=seed, cpu_budget_percent=percent)
    drift = abs(_working_set(pid) / before - 1)
    late = _late(watched, plan.settle_s)
    window_ns = median(snapshot.window_ns for snapshot in late)
    windows = min(5, max(2, round(plan.judge_s * 1e9 / window_ns)))
    return _Look(watched, late, judge(_with_children(pid), window_ns, windows), drift)


def _with_children(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _working_set(pid: int) -> float:
    """Bytes accessed in half a second, to be compared with those at another time."""
    return judge(_with_children(pid), _STEADY_NS, 2).accessed_bytes


def _late(watched: MonitorRun, settle_s: float) -> tuple[Snapshot, ...]:
    """The snapshots that began when the tool should have known."""
    settled_ns = watched.begin_ns + settle_s * 1e9
    late = tuple(s for s in watched.whole if watched.window(s)[0] >= settled_ns)
    # A tool that takes its time has at least its last word counted.
    return late or watched.whole[-1:]


def _result(program: str, tool: str, looks: Sequence[_Look]) -> Real:
    scored = [(s, _score(s, look, tool)) for look in looks for s in look.judged]
    scores = [one for _, one in scored]
    return _summary(
        program,
        tool,
        [look.verdict for look in looks],
        scores,
        drift=median(look.drift for look in looks),
        window_ms=median(s.window_ns for s, _ in scored) / 1e6,
        wss_bytes=float(median(s.working_set() for s, _ in scored)),
        cpu=median(look.watched.cpu for look in looks),
        regions=median(len(s) for s, _ in scored),
    )


def _exact(program: str, looks: Sequence[_Look]) -> Real:
    verdicts = [look.verdict for look in looks]
    return _summary(
        program,
        EXACT,
        verdicts,
        [one for verdict in verdicts for one in verdict.agreement()],
        drift=median(look.drift for look in looks),
        window_ms=median(verdict.window_ns for verdict in verdicts) / 1e6,
        wss_bytes=median(verdict.accessed_bytes for verdict in verdicts),
        cpu=median(verdict.cpu_share for verdict in verdicts),
        regions=math.nan,
    )


def _score(snapshot: Snapshot, look: _Look, tool: str) -> Score:
    verdict = look.verdict
    index = {target.pid: number for number, target in enumerate(snapshot.targets)}
    views = [view(snapshot, index.get(pid, -1), verdict.pages(pid)) for pid in verdict.pids]
    said = View(
        np.concatenate([one.share for one in views]),
        np.concatenate([one.heat for one in views]),
        np.concatenate([one.unobservable for one in views]),
    )
    pages = verdict.all_pages()
    return score(pages, said) if tool == OURS else best(pages, said)


def _summary(
    program: str,
    tool: str,
    verdicts: Sequence[ExactTruth],
    scores: Sequence[Score],
    *,
    drift: float,
    window_ms: float,
    wss_bytes: float,
    cpu: float,
    regions: float,
) -> Real:
    return Real(
        program,
        tool,
        "",
        len(verdicts[0].pids),
        median(verdict.resident_bytes for verdict in verdicts),
        len(scores),
        window_ms,
        median(s.precision for s in scores),
        median(s.recall for s in scores),
        median(s.f1 for s in scores),
        min(s.f1 for s in scores),
        median(s.block_f1 for s in scores),
        median(verdict.hot_bytes for verdict in verdicts),
        wss_bytes,
        median(verdict.accessed_bytes for verdict in verdicts),
        median(s.wss_error for s in scores),
        max(s.wss_error for s in scores),
        drift,
        cpu,
        regions,
        median(s.unobservable for s in scores),
    )


def _absent(program: str, reason: str) -> Real:
    unknown = math.nan
    return Real(program, "-", reason, 0, unknown, 0, *[unknown] * 15)
