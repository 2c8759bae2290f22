"""Start monitoring: processes, or a simulation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._observe.linux.maps import Rule
from pydamon._observe.pace import Pacer
from pydamon._observe.probes import open_session
from pydamon._observe.probes.base import Probe, Session
from pydamon._observe.probes.trace import Costs, Trace, TraceProbe
from pydamon._observe.sampling.monitor import SamplingMonitor
from pydamon._observe.targets import FixedSpace, Members, Space, VaddrSpace

__all__ = ["check_budget", "monitor", "simulate"]

_FOR_SURVEYS = 0.35
"""The share of the CPU budget that exact surveys may use."""
_DEFAULT_BUDGET = 0.01
_SHORTEST_NS = 100_000


def monitor(
    pids: int | Iterable[int] | Members,
    *,
    sample: str | timedelta | None = None,
    aggr: str | timedelta | None = None,
    update: str | timedelta | None = None,
    min_regions: int | None = None,
    max_regions: int | None = None,
    probe: str = "auto",
    cpu_budget_percent: float | None = 100 * _DEFAULT_BUDGET,
    children: bool = True,
    ranges: Sequence[tuple[int, int]] | None = None,
    regions_from: str = "gaps",
    goal: IntervalGoal | None = None,
    plain: bool = False,
    seed: int | None = None,
) -> SamplingMonitor:
    """Monitor processes (and with *children* those that they start), as in

        with pydamon.monitor(pid, sample="5ms", aggr="100ms") as mon:
            for snapshot in mon:
                print(snapshot.working_set(), snapshot.hottest(5))

    If *pids* is a function, it is asked now and then which processes are meant.

    Intervals that are not named start at DAMON's defaults and are stretched as far as
    *cpu_budget_percent* of one CPU asks for (`None`: no bound). *ranges* limits monitoring to
    those bytes of a single process. *regions_from* says what the first regions are made of:
    `"gaps"` follows the mappings, `"three"` is DAMON's three-regions rule. With a *goal* the
    intervals are tuned as DAMON does. *plain* is the kernel's algorithm: random samples and random
    splits alone, without exact surveys.

    Raises `UsageError`, `TargetError` (no such process, not allowed, a kernel thread) and
    `ProbeUnavailable`.
    """
    attrs = Attrs.of(sample, aggr, update, min_regions, max_regions)
    check_budget(cpu_budget_percent)
    if attrs.sampling_ns < _SHORTEST_NS:
        raise UsageError("pages cannot be sampled more often than every 100 us")
    try:
        rule = Rule(regions_from)
    except ValueError:
        raise UsageError(f"regions cannot be made from {regions_from!r}") from None
    space = VaddrSpace(
        [pids] if isinstance(pids, int) else pids, rule=rule, children=children, ranges=ranges
    )
    try:
        used, session, passed_over = open_session(probe)
    except BaseException:
        space.close()
        raise
    try:
        if plain and used.traits.exact:
            raise UsageError("the exact probe does not sample: plain makes no sense with it")
        if used.traits.follows_mappings:
            space.rule = Rule.MAPPINGS
        return _monitor(
            space,
            session,
            used,
            attrs,
            cpu_budget_percent,
            named=(sample is not None, aggr is not None),
            passed_over=passed_over,
            goal=goal,
            plain=plain,
            seed=seed,
        )
    except BaseException:
        session.close()
        space.close()
        raise


def simulate(
    trace: Trace,
    *ranges: Sequence[tuple[int, int]],
    attrs: Attrs | None = None,
    cpu_budget_percent: float | None = None,
    goal: IntervalGoal | None = None,
    plain: bool = False,
    seed: int = 0,
) -> SamplingMonitor:
    """Monitor the made-up accesses of a trace over *ranges*, one sequence for each target.

    With a *cpu_budget_percent*, every read and clear is charged its measured cost, and the
    intervals of *attrs* are stretched as `monitor` does.
    """
    check_budget(cpu_budget_percent)
    in_time = cpu_budget_percent is None
    probe = TraceProbe(trace, seed, None if in_time else Costs())
    return _monitor(
        FixedSpace(*ranges),
        probe.open(),
        probe,
        attrs or Attrs(),
        cpu_budget_percent,
        named=(in_time, in_time),
        goal=goal,
        plain=plain,
        seed=seed,
    )


def _monitor(
    space: Space,
    session: Session,
    probe: Probe,
    attrs: Attrs,
    cpu_budget_percent: float | None,
    *,
    named: tuple[bool, bool],
    passed_over: Mapping[str, ProbeUnavailable] | None = None,
    goal: IntervalGoal | None,
    plain: bool,
    seed: int | None,
) -> SamplingMonitor:
    """Share the budget out; *named* says which of sampling and aggregation interval is fixed."""
    traits = probe.traits
    budget = None if cpu_budget_percent is None else cpu_budget_percent / 100
    for_pacer = budget
    if budget and traits.scans and not traits.exact and not plain:
        for_pacer = budget * (1 - _FOR_SURVEYS)
    pacer = Pacer(
        attrs,
        for_pacer,
        sampling_is_named=named[0],
        aggregation_is_named=named[1],
        min_samples=traits.min_samples,
    )
    return SamplingMonitor(
        space,
        session,
        traits,
        pacer,
        survey_share=_FOR_SURVEYS * (budget or _DEFAULT_BUDGET),
        probe_name=probe.name,
        passed_over=passed_over,
        goal=goal,
        seed=seed,
        plain=plain,
    )


def check_budget(percent: float | None) -> None:
    """Raise `UsageError` for a share of one CPU that makes no sense."""
    if percent is not None and not 0 < percent <= 100 * (os.cpu_count() or 1):
        raise UsageError(f"not a CPU budget in percent of one CPU: {percent:g}")
