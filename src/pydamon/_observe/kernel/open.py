"""Start monitoring with the kernel's DAMON."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from pydamon._observe.kernel.claim import STATE, Claim, check_free
from pydamon._observe.kernel.driver import Driver
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.kernel.monitor import KernelMonitor
from pydamon._observe.kernel.targets import KernelTargets
from pydamon._observe.linux.maps import Rule
from pydamon._observe.options import MonitorOptions
from pydamon._observe.pace import Pacer
from pydamon._observe.selection import PhysicalMemory, Selection
from pydamon._observe.targets import Space
from pydamon._observe.targets.physical import CgroupPages

__all__ = ["open_monitor"]

_MIN_SAMPLES = 5


def open_monitor(
    selection: Selection,
    options: MonitorOptions,
    *,
    files: Files | None = None,
    state: Path | None = None,
    events: bool = True,
) -> KernelMonitor:
    """Take the kernel's DAMON and start it; see `KernelEngine`."""
    files, state = files or Files(ADMIN), state or STATE
    pacer = Pacer(
        options.attrs,
        options.budget,
        sampling_is_named=options.sample is not None,
        aggregation_is_named=options.aggr is not None,
        min_samples=_MIN_SAMPLES,
    )
    check_free(files, state)
    with ExitStack() as stack:
        space, operations = _opened(selection)
        stack.callback(space.close)
        claim = stack.enter_context(Claim(files, state=state))
        targets = KernelTargets(space, operations)
        pages = None
        if isinstance(selection, PhysicalMemory) and selection.cgroup:
            pages = CgroupPages(selection.cgroup, targets.layout.ranges[0])
        driver = Driver(claim, targets, pacer.effective, options.goal, events=events)
        stack.callback(driver.close)
        return KernelMonitor(targets, driver, pacer, stack.pop_all(), pages=pages)


def _opened(selection: Selection) -> tuple[Space, str]:
    """The memory of a selection, and the kernel's name for the operations on it."""
    if isinstance(selection, PhysicalMemory):
        return selection.open(), "paddr"
    operations = "vaddr" if selection.ranges is None else "fvaddr"
    return selection.open(Rule.THREE), operations
