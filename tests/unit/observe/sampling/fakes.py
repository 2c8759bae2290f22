"""Targets whose processes and memory change with the clock of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from pydamon._model.attrs import Attrs
from pydamon._model.mappings import Mapping, MappingTable
from pydamon._model.ranges import Ranges
from pydamon._model.snapshot import Footprint, Target
from pydamon._observe.linux.process import Process
from pydamon._observe.pace import Pacer
from pydamon._observe.probes.simulation import TraceSession, VirtualClock
from pydamon._observe.probes.trace import Phase, Trace
from pydamon._observe.targets import Layout

MIB, SECOND = 1 << 20, 10**9
BASE = 0x7F00_0000_0000
IDLE = Trace((Phase(SECOND),))


def ranges(*mib: tuple[int, int]) -> Ranges:
    """Ranges in MiB from BASE on."""
    return np.array(mib, np.int64).reshape(-1, 2) * MIB + BASE


@dataclass(eq=False)
class FakeProcess:
    """A process of which only the footprint is known."""

    rss_bytes: int = 0
    footprints: int = 0

    def major_faults(self) -> int:
        return 0

    def footprint(self) -> Footprint:
        self.footprints += 1
        return Footprint(2 * self.rss_bytes, self.rss_bytes)


def layout(*targets: tuple[FakeProcess, Ranges]) -> Layout:
    """Targets, each with one mapping for each of its ranges."""
    tables = [
        MappingTable(tuple(Mapping(low, high, "rw-p", "[heap]") for low, high in bounds.tolist()))
        for _, bounds in targets
    ]
    return Layout(
        tuple(Target(1 + i, f"target {i}", table) for i, table in enumerate(tables)),
        cast("Sequence[Process]", [process for process, _ in targets]),
        tables,
        [bounds for _, bounds in targets],
    )


@dataclass
class Plan:
    """What holds from each time on."""

    clock: VirtualClock
    layouts: list[tuple[int, Layout]]
    populated: list[tuple[int, list[Ranges]]] = field(default_factory=list)


class PlannedSpace:
    """The layouts of a plan."""

    def __init__(self, plan: Plan, *, follows_memory: bool = True) -> None:
        self._plan = plan
        self.follows_memory = follows_memory
        self.alive = True
        self.updates = 0

    def update(self, max_ranges: int) -> Layout:
        del max_ranges
        self.updates += 1
        now_ns = self._plan.clock.now_ns()
        return [entry for at, entry in self._plan.layouts if at <= now_ns][-1]

    def close(self) -> None:
        """There is nothing to release."""


class PlannedSession(TraceSession):
    """A simulated session whose targets have memory as planned."""

    def __init__(self, trace: Trace = IDLE) -> None:
        super().__init__(trace, 0)
        self.plan = Plan(self.clock, [])
        self.set_targets_calls = 0

    def set_targets(self, processes: Sequence[Process], mappings: Sequence[MappingTable]) -> None:
        super().set_targets(processes, mappings)
        self.set_targets_calls += 1

    def populated(self) -> list[Ranges] | None:
        now_ns = self.plan.clock.now_ns()
        known = [entry for at, entry in self.plan.populated if at <= now_ns]
        return known[-1] if known else None


def pacer(attrs: Attrs | None = None) -> Pacer:
    """A pacer without a budget."""
    return Pacer(
        attrs or Attrs(), None, sampling_is_named=True, aggregation_is_named=True, min_samples=5
    )
