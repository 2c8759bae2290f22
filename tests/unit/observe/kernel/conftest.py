"""The kernel's DAMON in tests: on files that look like it, and in a virtual machine for real."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pydamon import MonitorOptions
from pydamon._observe.kernel import KernelEngine, KernelMonitor
from pydamon._observe.kernel.files import Files
from pydamon._observe.kernel.kdamond import ADMIN
from pydamon._observe.monitor import PhysicalMemory, Processes

FREE = os.environ.get("PYDAMON_VM") == "1" and (ADMIN / "nr_kdamonds").exists()
needs_damon = pytest.mark.skipif(
    not FREE, reason="the kernel's DAMON may be somebody's here: `make test-vm` has one of its own"
)


def kernel_monitor(
    pid: int | None = None,
    *,
    ranges: Sequence[tuple[int, int]] | None = None,
    nodes: Iterable[int] = (),
    files: Files | None = None,
    state: Path | None = None,
    events: bool = True,
    **options: Any,
) -> KernelMonitor:
    """A monitor of the kernel's, of a process or (without a pid) of physical memory."""
    physical = PhysicalMemory(tuple(nodes))
    selection = physical if pid is None else Processes.of(pid, ranges=ranges)
    mon = KernelEngine(files, state, events).open(selection, MonitorOptions(**options))
    assert isinstance(mon, KernelMonitor)
    return mon


def kdamonds() -> int:
    """How many kdamonds are set up."""
    return int((ADMIN / "nr_kdamonds").read_text())


def kernel_threads() -> int:
    """How many kernel threads of DAMON run."""
    return sum(
        (process.info["name"] or "").startswith("kdamond")
        for process in psutil.process_iter(["name"])
    )
