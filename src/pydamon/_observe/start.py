"""Start monitoring: by sampling pages, or with the kernel's DAMON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from pydamon._model.attrs import IntervalGoal
from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._observe.monitor import Monitor
from pydamon._observe.probes import PROBES
from pydamon._observe.sampling import monitor as sampling_monitor
from pydamon._observe.targets import Members

__all__ = ["ENGINES", "monitor", "monitor_physical", "throttled_restarts"]

ENGINES = ("auto", "kernel", "sampling")


def monitor(
    pids: int | Iterable[int] | Members,
    *,
    engine: str = "auto",
    sample: str | timedelta | None = None,
    aggr: str | timedelta | None = None,
    update: str | timedelta | None = None,
    min_regions: int | None = None,
    max_regions: int | None = None,
    probe: str = "auto",
    cpu_budget_percent: float | None = 1.0,
    children: bool = True,
    ranges: Sequence[tuple[int, int]] | None = None,
    regions_from: str = "gaps",
    goal: IntervalGoal | None = None,
    plain: bool = False,
    seed: int | None = None,
) -> Monitor:
    """Monitor processes (and with *children* those that they start), as in

        with pydamon.monitor(pid, sample="5ms", aggr="100ms") as mon:
            for snapshot in mon:
                print(snapshot.working_set(), snapshot.hottest(5))

    If *pids* is a function, it is asked now and then which processes are meant.

    *engine* says who looks: pydamon, `"sampling"` with a *probe*, or the `"kernel"` with its own
    DAMON, which costs least and disturbs nothing, but tells less and has one user at a time.
    `"auto"` samples single pages where that works here; else it is the kernel, where its DAMON is
    there, free, and does what is asked; else it samples whatever can be sampled. `Monitor.engine`
    says which it became, and `Monitor.passed_over` why.

    Intervals that are not named start at DAMON's defaults and are stretched as far as
    *cpu_budget_percent* of one CPU asks for (`None`: no bound). *ranges* limits monitoring to
    those bytes of a single process. With a *goal* the intervals are tuned as DAMON does.

    The rest is for sampling, which an `"auto"` engine then is: *probe* names what checks for
    accesses; *regions_from* `"three"` starts from DAMON's three regions (as the kernel always does)
    instead of following the `"gaps"` between mappings; *plain* is the kernel's algorithm, random
    samples and random splits alone, without exact surveys; *seed* makes the random choices
    repeatable.

    Raises `UsageError`, `TargetError` (no such process, not allowed, a kernel thread) and
    `ProbeUnavailable`.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", hint=f"choose from {', '.join(ENGINES)}")
    for_sampling = {
        f"the probe {probe}": probe != "auto",
        "plain": plain,
        "a seed": seed is not None,
    }
    only_sampling = [name for name, asked in for_sampling.items() if asked]
    if engine == "kernel" and only_sampling:
        raise UsageError(
            f"{only_sampling[0]} is for sampling, not for the kernel's DAMON",
            hint='leave it out, or use the engine "sampling"',
        )
    # An iterator can be gone through once only, but there may be several attempts.
    pids = [pids] if isinstance(pids, int) else pids if callable(pids) else list(pids)

    def by_sampling(probe: str) -> Monitor:
        return sampling_monitor(
            pids,
            sample=sample,
            aggr=aggr,
            update=update,
            min_regions=min_regions,
            max_regions=max_regions,
            probe=probe,
            cpu_budget_percent=cpu_budget_percent,
            children=children,
            ranges=ranges,
            regions_from=regions_from,
            goal=goal,
            plain=plain,
            seed=seed,
        )

    def by_kernel() -> Monitor:
        from pydamon._observe.kernel import kernel_monitor  # noqa: PLC0415

        return kernel_monitor(
            pids,
            sample=sample,
            aggr=aggr,
            update=update,
            min_regions=min_regions,
            max_regions=max_regions,
            cpu_budget_percent=cpu_budget_percent,
            children=children,
            ranges=ranges,
            goal=goal,
        )

    if engine == "kernel":
        return by_kernel()
    if engine == "sampling" or only_sampling:
        return by_sampling(probe)
    best = PROBES[0].name
    passed_over: dict[str, ProbeUnavailable] = {}
    for name, attempt in ((best, partial(by_sampling, best)), ("kernel", by_kernel)):
        try:
            chosen = attempt()
            break
        except ProbeUnavailable as error:
            passed_over[name] = error
    else:
        chosen = by_sampling("auto")
    chosen.passed_over = passed_over | chosen.passed_over
    return chosen


def monitor_physical(
    *,
    nodes: Iterable[int] = (),
    cgroup: str | None = None,
    sample: str | timedelta | None = None,
    aggr: str | timedelta | None = None,
    update: str | timedelta | None = None,
    min_regions: int | None = None,
    max_regions: int | None = None,
    cpu_budget_percent: float | None = 1.0,
    goal: IntervalGoal | None = None,
) -> Monitor:
    """Monitor the machine's physical memory, or that of some *nodes*, with the kernel's DAMON.

    Reports tell the memory nodes apart. With a *cgroup* (a name below /sys/fs/cgroup) only memory
    counts as touched that it is charged for, page cache included. Addresses are physical.

    Raises `UsageError`, `TargetError` (no such node or cgroup), and `ProbeUnavailable`: there is no
    other engine that could do it.
    """
    from pydamon._observe.kernel import kernel_monitor  # noqa: PLC0415

    return kernel_monitor(
        None,
        nodes=nodes,
        cgroup=cgroup,
        sample=sample,
        aggr=aggr,
        update=update,
        min_regions=min_regions,
        max_regions=max_regions,
        cpu_budget_percent=cpu_budget_percent,
        goal=goal,
    )


_LOOK_S = 0.5
_LONGEST_REST_S = 30.0


def throttled_restarts(
    cpu_budget_percent: Callable[[], float], is_over: Callable[[], bool]
) -> Iterator[None]:
    """Yields whenever a monitor may be started (again), until *is_over*.

    Where all processes come and go at once, starting is what costs. So that this is within the
    budget too, it rests between two starts for as long as what this thread spent since the last
    one demands: half a second at least, 30 s at most.
    """
    while not is_over():
        begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        yield
        spent_ns = time.thread_time_ns() - cpu_ns
        now_ns = time.monotonic_ns()
        rest_s = (begin_ns + 100 * spent_ns / cpu_budget_percent() - now_ns) / 1e9
        until_ns = now_ns + int(min(max(rest_s, _LOOK_S), _LONGEST_REST_S) * 1e9)
        while not is_over() and (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / 1e9, _LOOK_S))
