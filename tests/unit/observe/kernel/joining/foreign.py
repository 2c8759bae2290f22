"""A kdamond of somebody else's on files, threads and events that tests make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pydamon import Attrs, MonitorOptions
from pydamon._observe.kernel import (
    JoinedMonitor,
    Kdamond,
    KdamondSettings,
    KernelTarget,
    RunningKdamond,
    running_kdamonds,
)
from pydamon._observe.kernel.join import open_joined
from pydamon._observe.kernel.reader import Aggregation, Reader
from pydamon._observe.monitor import Processes, Selection
from tests.unit.observe.kernel.fake import FakeFiles

__all__ = [
    "EVENTS",
    "KDAMOND",
    "KTHREAD",
    "MS",
    "OTHERS",
    "PHYSICAL",
    "READERS",
    "FakeReader",
    "Joining",
    "add_module",
    "add_thread",
    "aggregation",
    "made",
    "needs_addresses",
    "start_foreign",
]

MS = 10**6
KTHREAD, OTHERS = 0x200000, 0x400000
KDAMOND = 1
"""The pid of the kdamond of `FakeFiles`."""


class FakeReader(Reader):
    """Gives the aggregations of `EVENTS`, one at each call."""

    waits = False

    def __init__(self, pid: int, targets: int) -> None:
        self.pid = pid
        self.left = list(EVENTS)
        self.is_open = True
        READERS.append(self)

    def read(self) -> Sequence[Aggregation]:
        return [self.left.pop(0)] if self.left else []

    def close(self) -> None:
        self.is_open = False


EVENTS: list[Aggregation] = []
READERS: list[FakeReader] = []


def aggregation(
    end_ms: int, *regions: tuple[int, int, int, int, int], lost: int = 0
) -> Aggregation:
    """An aggregation that ended after *end_ms*: target, start, end, accesses and age of regions."""
    columns = np.array(regions, np.int64).reshape(-1, 5).T
    target, start, end, nr_accesses, age = columns
    return Aggregation(end_ms * MS, target.astype(np.int32), start, end, nr_accesses, age, lost)


def made(path: Path) -> Path:
    """An empty directory."""
    path.mkdir()
    return path


def add_thread(proc: Path, pid: int, name: str = "kdamond.0", flags: int = KTHREAD) -> None:
    fields = f"{pid} ({name}) S 2 0 0 0 -1 {flags} " + "0 " * 12 + "1234 0"
    made(proc / str(pid)).joinpath("stat").write_text(fields)


def add_module(modules: Path, name: str, **parameters: object) -> None:
    place = modules / name / "parameters"
    place.mkdir(parents=True)
    for parameter, value in parameters.items():
        (place / parameter).write_text(f"{value}\n")


def start_foreign(files: FakeFiles, *targets: KernelTarget, **settings: Any) -> None:
    """Somebody else starts a kdamond; what was written until then does not count."""
    operations = settings.pop("operations", "vaddr")
    attrs = settings.pop("attrs", Attrs.of("10ms", "200ms"))
    files.write("nr_kdamonds", 1)
    kdamond = Kdamond(files)
    kdamond.configure(KdamondSettings(operations, targets, attrs, **settings))
    kdamond.start()
    files.written.clear()


class Joining:
    """Joins what runs by these files."""

    def __init__(self, files: FakeFiles, modules: Path, proc: Path) -> None:
        self.files, self.modules, self.proc = files, modules, proc

    def __call__(
        self, selection: Selection | None = None, join: bool | int | str = True
    ) -> JoinedMonitor:
        return open_joined(
            selection or Processes(()),
            MonitorOptions(join=join),
            files=self.files,
            modules=self.modules,
            proc=self.proc,
        )

    def running(self) -> list[RunningKdamond]:
        return running_kdamonds(self.files, self.modules, self.proc)


PHYSICAL = KernelTarget(0, ((0, 1 << 30),))
needs_addresses = pytest.mark.skipif(
    "00000000-00000000" in Path("/proc/iomem").read_text(), reason="only root may see addresses"
)
