"""Start pydamon's own sampling: of processes, or of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._observe.epoch_pace import EpochPacer
from pydamon._observe.linux.procfs import Rule
from pydamon._observe.monitor import Monitor, PhysicalMemory, Selection
from pydamon._observe.options import MonitorOptions
from pydamon._observe.pace import Pacer
from pydamon._observe.pages.passed import looks_at_pages
from pydamon._observe.probes.base import Probe, Session
from pydamon._observe.probes.registry import open_session
from pydamon._observe.sampling.monitor import MakeSampler, SamplingMonitor, Shares
from pydamon._observe.sampling.samplers import TickSampler
from pydamon._observe.sampling.survival import SurvivalSampling
from pydamon._observe.targets import FixedSpace, Space

if TYPE_CHECKING:
    from pydamon._observe.probes.trace import Trace

__all__ = ["SamplingEngine", "simulate"]

_FOR_SURVEYS, _FOR_PAGES = 0.2, 0.22
"""The shares of the CPU budget for exact surveys, and for the ages of pages."""
_DEFAULT_BUDGET = 0.01
_SHORTEST_NS = 100_000


class SamplingEngine:
    """Samples pages of processes with one of pydamon's probes."""

    name: ClassVar[str] = "sampling"

    def open(self, selection: Selection, options: MonitorOptions) -> SamplingMonitor:
        """Start to monitor; raises as `Engine.open` says."""
        if isinstance(selection, PhysicalMemory):
            raise UsageError("only the kernel's DAMON can monitor physical memory")
        _refuse_kernel_options(options)
        attrs = options.attrs
        if attrs.sampling_ns < _SHORTEST_NS:
            raise UsageError("pages cannot be sampled more often than every 100 us")
        with ExitStack() as stack:
            space = selection.open(Rule(options.regions_from))
            stack.callback(space.close)
            probe, session, fallback_reasons = open_session(options.probe, plain=options.plain)
            stack.callback(session.close)
            if options.plain and probe.traits.exact:
                raise UsageError("the exact probe does not sample: plain makes no sense with it")
            if options.plain and probe.traits.by_epochs_only:
                hint = "leave out plain, or run as root"
                raise UsageError(f"the {probe.name} probe has no plain sampling", hint=hint)
            if probe.traits.follows_mappings:
                space.rule = Rule.MAPPINGS
            pacer, make_sampler = _sampling(
                options,
                attrs,
                probe,
                session,
                sampling_is_named=options.sample is not None,
                aggregation_is_named=options.aggr is not None,
            )
            mon = _monitor(space, probe, session, (pacer, make_sampler), options)
            mon.fallback_reasons = fallback_reasons
            if options.kinds:
                mon.passed_looks = looks_at_pages(mon, options)
            stack.pop_all()
        return mon


def _refuse_kernel_options(options: MonitorOptions) -> None:
    """Raise `UsageError` for options that only the kernel's DAMON has."""
    if options.kernel_only:
        raise UsageError(
            f"{options.kernel_only[0]} is for the kernel's DAMON, not for sampling",
            hint='leave it out, or use the engine "kernel"',
        )
    if options.join is not False:
        raise UsageError(
            "only the kernel's DAMON can be joined",
            hint='use the engine "kernel", or leave it out',
        )


def simulate(
    trace: Trace,
    *ranges: Sequence[tuple[int, int]],
    attrs: Attrs | None = None,
    cpu_budget_percent: float | None = None,
    goal: IntervalGoal | None = None,
    plain: bool = False,
    seed: int = 0,
    page_map: str | timedelta | None = None,
) -> Monitor:
    """Monitor the made-up accesses of a trace, on a virtual clock.

    Parameters
    ----------
    trace
        The accesses.
    *ranges
        The address ranges to monitor, one sequence of (start, end) for each target.
    attrs
        The monitoring attributes (default: DAMON's).
    cpu_budget_percent
        Charge every read and clear its measured cost, and stretch the intervals as `monitor`
        does. With `None`, monitoring costs nothing and the intervals stay.
    goal, plain, page_map
        As in `MonitorOptions`.
    seed
        One seed always gives the same snapshots.

    Returns
    -------
    Monitor
        A monitor whose engine is ``"sampling"`` and whose probe is ``"trace"``.

    Raises
    ------
    UsageError
        For a budget that makes no sense.

    Examples
    --------
    A target of 256 MiB, of which the first 64 MiB are in use:

    >>> import pydamon
    >>> from pydamon import Access, Phase, Trace
    >>> MIB = 1 << 20
    >>> trace = Trace((Phase(10**9, (Access(0, 64 * MIB, rate_hz=1000),)),))
    >>> *_, snapshot = pydamon.simulate(trace, [(0, 256 * MIB)]).run("5s")
    >>> pydamon.format_size(snapshot.working_set())
    '64 MiB'
    """
    # Real processes need no traces.
    from pydamon._observe.probes.simulation import Costs, TraceProbe  # noqa: PLC0415

    options = MonitorOptions(
        cpu_budget_percent=cpu_budget_percent,
        goal=goal,
        plain=plain,
        seed=seed,
        page_map=page_map,
    )
    is_free = options.budget is None
    probe = TraceProbe(trace, seed, None if is_free else Costs())
    session = probe.open()
    sampling = _sampling(
        options,
        attrs or Attrs(),
        probe,
        session,
        sampling_is_named=is_free,
        aggregation_is_named=is_free,
    )
    return _monitor(FixedSpace(*ranges), probe, session, sampling, options)


def _sampling(
    options: MonitorOptions,
    attrs: Attrs,
    probe: Probe,
    session: Session,
    *,
    sampling_is_named: bool,
    aggregation_is_named: bool,
) -> tuple[Pacer, MakeSampler]:
    """The way to sample that suits a session, and its pace, with the budget that surveys leave."""
    traits, budget = probe.traits, options.budget
    if budget and _has_surveys(probe, options) and not traits.exact:
        budget *= 1 - _FOR_SURVEYS - _FOR_PAGES
    epochs = None if options.plain or traits.exact else session.epochs()
    if epochs is not None:
        by_epochs = EpochPacer(attrs, budget, aggregation_is_named=aggregation_is_named)
        return by_epochs, partial(
            SurvivalSampling, pacer=by_epochs, epochs=epochs, seed=options.seed
        )
    pacer = Pacer(
        attrs,
        budget,
        sampling_is_named=sampling_is_named,
        aggregation_is_named=aggregation_is_named,
        min_samples=traits.min_samples,
    )
    careful = traits.min_samples > 1 and not traits.follows_mappings
    return pacer, partial(TickSampler, pacer=pacer, plain=options.plain, careful=careful)


def _monitor(
    space: Space,
    probe: Probe,
    session: Session,
    sampling: tuple[Pacer, MakeSampler],
    options: MonitorOptions,
) -> SamplingMonitor:
    pacer, make_sampler = sampling
    budget = options.budget or _DEFAULT_BUDGET
    return SamplingMonitor(
        space,
        session,
        probe.traits,
        pacer,
        make_sampler,
        shares=Shares(_FOR_SURVEYS * budget, _FOR_PAGES * budget),
        probe_name=probe.name,
        goal=options.goal,
        seed=options.seed,
        plain=options.plain,
        page_map_ns=options.page_map_ns,
    )


def _has_surveys(probe: Probe, options: MonitorOptions) -> bool:
    return probe.traits.scans and not options.plain
