"""Start monitoring: choose an engine, and say why the preferred ones do not work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

from pydamon._model.errors import ProbeUnavailable, UsageError
from pydamon._observe.kernel.engine import KernelEngine
from pydamon._observe.monitor import Engine, Monitor, PhysicalMemory, Processes, Selection
from pydamon._observe.options import CommonOptions, MonitorOptions, with_common
from pydamon._observe.probes.registry import PROBES
from pydamon._observe.sampling import SamplingEngine
from pydamon._observe.targets import Members

if TYPE_CHECKING:
    from pydamon._observe.targets.selection import TargetSelection

__all__ = ["AUTO", "ENGINES", "monitor", "monitor_physical", "throttled_restarts"]

AUTO = "auto"
ENGINES: dict[str, Engine] = {
    KernelEngine.name: KernelEngine(),
    SamplingEngine.name: SamplingEngine(),
}
"""Every engine by name."""


def monitor(
    pids: int | Iterable[int] | Members | TargetSelection = (),
    *,
    engine: str = AUTO,
    options: MonitorOptions | None = None,
    children: bool = True,
    ranges: Sequence[tuple[int, int]] | None = None,
    **common: Unpack[CommonOptions],
) -> Monitor:
    """Monitor the memory of processes.

    Parameters
    ----------
    pids
        A pid, several, a `TargetSelection` (a container, a cgroup, a user, ...), or a function that
        lists the pids of a group; it is called at each update.
        With `join` it may be left out: then it is all that the kdamond monitors.
    engine
        ``"sampling"``: pydamon samples pages itself, with a probe. ``"kernel"``: the kernel's
        DAMON monitors, which costs least and does not disturb the target, but tells less and has
        one user at a time. ``"auto"``: pydamon samples single pages if that works here; otherwise
        the kernel's DAMON monitors, if it is there, free, and has what is asked for; otherwise
        pydamon samples with any probe that works.
    options
        All options of monitoring.
    children
        Monitor processes that these start, too.
    ranges
        Monitor only these (start, end) addresses of a single process.
    **common
        The common options as keywords, which win over *options*: `sample`, `aggr`, `update`,
        `min_regions`, `max_regions`, `cpu_budget_percent`, `probe`, `join` (see `MonitorOptions`).

    Returns
    -------
    Monitor
        `Monitor.engine` names the engine, and `Monitor.fallback_reasons` says why preferred ones
        do not work.

    Raises
    ------
    UsageError
        For an engine, option or range that makes no sense.
    TargetError
        For a process that does not exist, may not be watched, or is a kernel thread.
    ProbeUnavailable
        Where no engine works.

    Examples
    --------
    Watch a process for ten seconds:

    ```python
    with pydamon.monitor(pid, sample="5ms", aggr="100ms") as mon:
        for snapshot in mon.run("10s"):
            print(snapshot.working_set(), snapshot.hottest(5))
    ```

    Watch a container for as long as it runs:

    ```python
    with pydamon.monitor(pydamon.TargetSelection(container="web")) as mon:
        for snapshot in mon:
            print(snapshot.working_set())
    ```

    Look on at a DAMON that somebody else runs, such as DAMON_STAT:

    ```python
    with pydamon.monitor(engine="kernel", join=True) as mon:
        print(mon.joined)
        for snapshot in mon.run("10s"):
            print(snapshot.working_set())
    ```

    Unknown engines are refused before anything starts:

    >>> import pydamon
    >>> try:
    ...     pydamon.monitor(1, engine="steam")
    ... except pydamon.UsageError as error:
    ...     print(f"{error}: {error.hint}")
    there is no engine 'steam': choose from auto, kernel, sampling
    """
    selection = Processes.of(pids, children=children, ranges=ranges)
    return _open_first(selection, _attempts(engine, with_common(options, common)))


def monitor_physical(
    *,
    nodes: Iterable[int] = (),
    cgroup: str | None = None,
    options: MonitorOptions | None = None,
    **common: Unpack[CommonOptions],
) -> Monitor:
    """Monitor physical memory, with the kernel's DAMON.

    Parameters
    ----------
    nodes
        The memory nodes to monitor; all by default. Reports tell nodes apart.
    cgroup
        A name below /sys/fs/cgroup: only memory that is charged to this cgroup, page cache
        included, counts as touched.
    options, **common
        As for `monitor`.

    Returns
    -------
    Monitor
        A monitor of one target with physical addresses and a mapping for each node.

    Raises
    ------
    UsageError
        For options that only sampling has, and for a node that does not exist.
    TargetError
        For a cgroup that does not exist, or without the right to see physical addresses.
    ProbeUnavailable
        Where the kernel's DAMON is missing or in use: no other engine can do it.

    Examples
    --------
    ```python
    with pydamon.monitor_physical(nodes=[1]) as mon:
        *_, snapshot = mon.run("10s")
    ```
    """
    selection = PhysicalMemory(tuple(nodes), cgroup)
    return ENGINES[KernelEngine.name].open(selection, with_common(options, common))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An engine with options; `name` is that of the engine or of its probe."""

    name: str
    engine: Engine
    options: MonitorOptions


def _attempts(engine: str, options: MonitorOptions) -> list[_Attempt]:
    """What to try for an engine's name, best first."""
    if engine not in (AUTO, *ENGINES):
        hint = f"choose from {', '.join((AUTO, *ENGINES))}"
        raise UsageError(f"there is no engine {engine!r}", hint=hint)
    if options.join is not False and engine == AUTO:
        engine = KernelEngine.name
    if engine != AUTO:
        return [_Attempt(engine, ENGINES[engine], options)]
    sampling, kernel = ENGINES[SamplingEngine.name], ENGINES[KernelEngine.name]
    anything = _Attempt(sampling.name, sampling, options)
    if options.sampling_only:
        return [anything]
    if options.kernel_only:
        return [_Attempt(kernel.name, kernel, options)]
    best = PROBES[0].name
    return [
        _Attempt(best, sampling, replace(options, probe=best)),
        _Attempt(kernel.name, kernel, options),
        anything,
    ]


def _open_first(selection: Selection, attempts: Sequence[_Attempt]) -> Monitor:
    """Open the first attempt that works; the last one raises if none does."""
    reasons: dict[str, ProbeUnavailable] = {}
    for attempt in attempts[:-1]:
        try:
            mon = attempt.engine.open(selection, attempt.options)
            break
        except ProbeUnavailable as error:
            reasons[attempt.name] = error
    else:
        mon = attempts[-1].engine.open(selection, attempts[-1].options)
    mon.fallback_reasons = reasons | mon.fallback_reasons
    return mon


_MIN_REST_S = 0.5
_MAX_REST_S = 30.0


def throttled_restarts(
    cpu_budget_percent: Callable[[], float], is_over: Callable[[], bool]
) -> Iterator[None]:
    """Yield whenever a monitor may start (again), until *is_over*.

    Where all processes come and go at once, starting is the main cost. To keep it within the
    budget, rest between two starts for as long as the CPU time of this thread since the last
    start demands: half a second at least, 30 s at most.
    """
    while not is_over():
        begin_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        yield
        spent_ns = time.thread_time_ns() - cpu_ns
        now_ns = time.monotonic_ns()
        rest_s = (begin_ns + 100 * spent_ns / cpu_budget_percent() - now_ns) / 1e9
        until_ns = now_ns + int(min(max(rest_s, _MIN_REST_S), _MAX_REST_S) * 1e9)
        while not is_over() and (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / 1e9, _MIN_REST_S))
