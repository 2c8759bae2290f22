"""Start monitoring with the kernel's DAMON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from pydamon._model.attrs import Attrs, IntervalGoal
from pydamon._model.errors import UsageError
from pydamon._model.schemes import Scheme
from pydamon._observe.kernel.claim import STATE, Claim, check_free
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.kernel.monitor import KernelMonitor
from pydamon._observe.linux.maps import Rule
from pydamon._observe.pace import Pacer
from pydamon._observe.targets import Members, PaddrSpace, Space, VaddrSpace

__all__ = ["kernel_monitor"]

_MIN_SAMPLES = 5


def kernel_monitor(
    pids: int | Iterable[int] | Members | None = None,
    *,
    sample: str | timedelta | None = None,
    aggr: str | timedelta | None = None,
    update: str | timedelta | None = None,
    min_regions: int | None = None,
    max_regions: int | None = None,
    cpu_budget_percent: float | None = 1.0,
    children: bool = True,
    ranges: Sequence[tuple[int, int]] | None = None,
    goal: IntervalGoal | None = None,
    schemes: Iterable[Scheme] = (),
    nodes: Iterable[int] = (),
    cgroup: str | None = None,
    events: bool = True,
    files: Files | None = None,
    state: Path = STATE,
) -> KernelMonitor:
    """Monitor processes with the kernel's DAMON; or physical memory, where *pids* is `None`.

    Physical memory can be limited to *nodes*, and what is counted as touched to the pages of a
    *cgroup*. *schemes* are carried out by the kernel. *events* off asks for snapshots through files
    even where the tracepoint can be had. *files* and *state* are the kernel's files, and where it
    is noted what is ours. The rest is as in `pydamon.monitor`.

    Raises `UsageError`, `TargetError`, and `ProbeUnavailable` where the kernel's DAMON is not
    there, is in use, or lacks what was asked for.
    """
    attrs = Attrs.of(sample, aggr, update, min_regions, max_regions)
    if pids is None and ranges is not None:
        raise UsageError("address ranges are those of one process")
    if pids is not None and (nodes or cgroup):
        raise UsageError("memory nodes and cgroups are parts of physical memory, not of processes")
    files = files or Files(ADMIN)
    check_free(files, state)
    space: Space = (
        PaddrSpace(tuple(nodes))
        if pids is None
        else VaddrSpace(
            [pids] if isinstance(pids, int) else pids,
            rule=Rule.THREE,
            children=children,
            ranges=ranges,
        )
    )
    operations = "paddr" if pids is None else "vaddr" if ranges is None else "fvaddr"
    pacer = Pacer(
        attrs,
        None if cpu_budget_percent is None else cpu_budget_percent / 100,
        sampling_is_named=sample is not None,
        aggregation_is_named=aggr is not None,
        min_samples=_MIN_SAMPLES,
    )
    try:
        claim = Claim(files, state=state)
    except BaseException:
        space.close()
        raise
    return KernelMonitor(
        space,
        operations,
        pacer,
        claim,
        goal=goal,
        schemes=tuple(schemes),
        cgroup=cgroup,
        events=events,
    )
