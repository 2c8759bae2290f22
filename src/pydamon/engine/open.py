"""Start monitoring: processes, or a simulation."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta

from pydamon.core.attrs import Attrs
from pydamon.core.errors import UsageError
from pydamon.core.tuner import IntervalGoal
from pydamon.engine.loop import SamplingMonitor
from pydamon.engine.pace import Pacer
from pydamon.engine.survey import Survey
from pydamon.probes import open_session
from pydamon.probes.trace import Trace, TraceProbe
from pydamon.spaces import FixedSpace, VaddrSpace
from pydamon.spaces.maps import Rule

__all__ = ["monitor", "simulate"]

_FOR_SURVEYS = 0.35
"""The share of the CPU budget that exact surveys may use."""
_DEFAULT_BUDGET = 0.01
_SHORTEST_NS = 100_000


def monitor(
    pids: int | Iterable[int],
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
    if cpu_budget_percent is not None and not 0 < cpu_budget_percent <= 100 * (os.cpu_count() or 1):
        raise UsageError(f"not a CPU budget in percent of one CPU: {cpu_budget_percent:g}")
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
        budget = None if cpu_budget_percent is None else cpu_budget_percent / 100
        exact, survey, for_pacer = used.traits.exact, None, budget
        if used.traits.scans and not plain:
            survey = Survey(session, _FOR_SURVEYS * (budget or _DEFAULT_BUDGET), exact=exact)
            if budget and not exact:
                for_pacer = budget * (1 - _FOR_SURVEYS)
        pacer = Pacer(
            attrs,
            for_pacer,
            sampling_is_named=sample is not None,
            aggregation_is_named=aggr is not None,
            min_samples=used.traits.min_samples,
        )
        return SamplingMonitor(
            space,
            session,
            used.traits,
            pacer,
            probe_name=used.name,
            passed_over=passed_over,
            goal=goal,
            seed=seed,
            survey=survey,
            plain=plain,
        )
    except BaseException:
        session.close()
        space.close()
        raise


def simulate(
    trace: Trace,
    *ranges: Sequence[tuple[int, int]],
    attrs: Attrs | None = None,
    goal: IntervalGoal | None = None,
    plain: bool = False,
    seed: int = 0,
) -> SamplingMonitor:
    """Monitor the made-up accesses of a trace over *ranges*, one sequence for each target."""
    probe = TraceProbe(trace, seed)
    pacer = Pacer(
        attrs or Attrs(),
        None,
        sampling_is_named=True,
        aggregation_is_named=True,
        min_samples=probe.traits.min_samples,
    )
    session = probe.open()
    return SamplingMonitor(
        FixedSpace(*ranges),
        session,
        probe.traits,
        pacer,
        probe_name=probe.name,
        goal=goal,
        seed=seed,
        survey=None if plain else Survey(session, _FOR_SURVEYS * _DEFAULT_BUDGET),
        plain=plain,
    )
